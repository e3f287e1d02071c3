"""A scan: one pass over the training record and the tables, for those who watch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


class PredictionScan:
    """What the last prediction in training says of each label: its probability.

    Methods that know more derive from it.

    Args:
        labels: the given labels of all examples that are looked at, integers `(n,)`.

    Attributes:
        labels: as given.
        quality: float64, `(n,)`, in [0, 1], higher is cleaner: the probability of the
            given label in the last batch that the example was in; NaN for those that
            were in no batch yet.
        predictions: the class predicted there, integers; -1 for these.
        suggested: the class to look at if the label is wrong.
    """

    takes_slots = False
    """Whether `add` takes rows of slots as `SlotRows`, not whole."""

    def __init__(self, labels: np.ndarray):
        self.labels = labels
        self.quality = np.empty(len(labels))
        self.predictions = np.empty(len(labels), np.int64)
        self.suggested = np.empty(len(labels), np.int64)

    def add(
        self,
        chunk: slice,
        rows: Mapping[str, Any],
        predictions: np.ndarray,
        given_probs: np.ndarray,
    ) -> None:
        """Take some examples into account.

        Args:
            chunk: their places in `labels`.
            rows: theirs, of every table, by name; those of slots as `SlotRows` where
                the scan `takes_slots`.
            predictions: as of `TrainingRecord.read`.
            given_probs: likewise.
        """
        self.predictions[chunk] = self.suggested[chunk] = predictions
        self.quality[chunk] = np.where(predictions >= 0, given_probs, np.nan)

    def figures(self) -> dict[str, float]:
        """What is known of the rows, by the names of TensorBoard's scalars."""
        return {}

    def histograms(self) -> dict[str, np.ndarray]:
        """Buckets by name: left end, right end and count of each, `(k, 3)`."""
        return {}

    @property
    def noise_scores(self) -> np.ndarray:
        """`noise_score` of label issues, as far as rows say it alone; NaN if not."""
        return np.full(len(self.labels), np.nan)

    @property
    def is_known(self) -> np.ndarray:
        """Which examples have been in a batch, bool, `(n,)`."""
        return self.predictions >= 0

    @property
    def is_issue(self) -> np.ndarray:
        """Which labels count as wrong, bool, `(n,)`: those of quality below 1/2."""
        return self.quality < 0.5  # NaN is not

    @property
    def likely_labels(self) -> np.ndarray:
        """The given labels with the suggested ones where they count as wrong."""
        return np.where(self.is_issue, self.suggested, self.labels)
