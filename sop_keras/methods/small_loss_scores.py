"""What small losses say of labels: label issues, and what those who watch are shown."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sop_keras.core.scan import PredictionScan

VISITS, PICKS, PROBS = range(3)
"""Columns of the rows `visits`: how many, and of these the sums of two things.

What was picked (1; by one network of two 1/2; or 0), and the mean of both networks'
probabilities of the given label.
"""


class SmallLossScan(PredictionScan):
    """What both networks say of some labels; `quality` is as in label issues.

    Args:
        labels: the given labels, integers `(n,)`.
    """

    def __init__(self, labels: np.ndarray):
        super().__init__(labels)
        self._noise_scores = np.empty(len(labels))
        self._shares = np.empty(len(labels))

    def add(
        self,
        chunk: slice,
        rows: Mapping[str, np.ndarray],
        predictions: np.ndarray,
        given_probs: np.ndarray,
    ) -> None:
        """Take some examples into account."""
        super().add(chunk, rows, predictions, given_probs)
        is_known = predictions >= 0
        quality, score = quality_of(rows), noise_score_of(rows)
        self.quality[chunk] = np.where(is_known, quality, np.nan)
        self._noise_scores[chunk] = np.where(is_known, score, np.nan)
        self._shares[chunk] = picked_share(rows)

    @property
    def noise_scores(self) -> np.ndarray:
        """The mean of both cross entropies at the last visit; NaN of no visit."""
        return self._noise_scores

    def figures(self) -> dict[str, float]:
        """How often labels that count as wrong were picked, and how often others."""
        is_visited = ~np.isnan(self._shares)
        figures = {}
        for name, chosen in (("issues", self.is_issue), ("others", ~self.is_issue)):
            shares = self._shares[chosen & is_visited]
            if len(shares):
                figures[f"noise/picked_share_of_{name}"] = float(shares.mean())
        return figures


def quality_of(rows: Mapping[str, np.ndarray]) -> np.ndarray:
    """How far both networks believe in labels, in [0, 1], `(n,)`.

    The mean of both probabilities of the label at all visits that count; where there is
    none yet, at the last visit.

    Args:
        rows: `cross_entropy` and `visits` of n examples.
    """
    visits = rows["visits"].astype(np.float64)
    last = np.exp(-rows["cross_entropy"].astype(np.float64)).mean(axis=-1)
    mean = visits[:, PROBS] / np.maximum(visits[:, VISITS], 1.0)
    return np.where(visits[:, VISITS] > 0, mean, last)


def noise_score_of(rows: Mapping[str, np.ndarray]) -> np.ndarray:
    """The mean of both cross entropies at the last visit, `(n,)`.

    Args:
        rows: as of `quality_of`.
    """
    return rows["cross_entropy"].astype(np.float64).mean(axis=-1)


def picked_share(rows: Mapping[str, np.ndarray]) -> np.ndarray:
    """The share of picks in the visits that count, `(n,)`; NaN of no such visit.

    Args:
        rows: as of `quality_of`.
    """
    visits = rows["visits"].astype(np.float64)
    share = visits[:, PICKS] / np.maximum(visits[:, VISITS], 1.0)
    return np.where(visits[:, VISITS] > 0, share, np.nan)
