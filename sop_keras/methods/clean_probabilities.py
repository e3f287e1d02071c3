"""Label issues of methods that keep a probability that each label is right."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from sop_keras.core.scan import PredictionScan
from sop_keras.methods.probability_scores import score_by_probability

Rows = Mapping[str, np.ndarray]


def clean_scores(
    clean_prob: np.ndarray, log_probs: np.ndarray, labels: np.ndarray
) -> dict[str, np.ndarray]:
    """What is said of labels, by column of the table of label issues.

    Args:
        clean_prob: how likely each label is right, shape `(n,)`.
        log_probs: the network's, shape `(n, num_classes)`.
        labels: the given labels, integers `(n,)`.

    Returns:
        Arrays `(n,)`: `suggested_label`, the other class of the largest probability;
        `label_quality`, `clean_prob`; and `noise_score`, 1 less that.
    """
    quality = clean_prob.astype(np.float64)
    return {
        **score_by_probability(log_probs, labels),
        "label_quality": quality,
        "noise_score": 1.0 - quality,
    }


class CleanProbabilityScan(PredictionScan):
    """What such probabilities say of some labels; `quality` is theirs.

    Args:
        labels: the given labels, integers `(n,)`.
        clean_prob: gives the probabilities of some rows, `(n,)`.
    """

    def __init__(self, labels: np.ndarray, clean_prob: Callable[[Rows], np.ndarray]):
        super().__init__(labels)
        self._clean_prob = clean_prob

    def add(
        self,
        chunk: slice,
        rows: Rows,
        predictions: np.ndarray,
        given_probs: np.ndarray,
    ) -> None:
        """Take some examples into account."""
        super().add(chunk, rows, predictions, given_probs)
        is_known = predictions >= 0
        self.quality[chunk] = np.where(is_known, self._clean_prob(rows), np.nan)

    def figures(self) -> dict[str, float]:
        """The mean probability, and the share of labels that count as right."""
        quality = self.quality[self.is_known]
        if not len(quality):
            return {}
        return {
            "noise/mean_clean_probability": float(quality.mean()),
            "noise/share_taken_for_clean": float((quality > 0.5).mean()),
        }
