"""Label issues of methods that know no more of a label than its probability."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sop_keras.core.method import Method
from sop_keras.label_issues.find import LEAST_LOG_PROB


class ProbabilityScored(Method):
    """A method whose labels are judged by the network alone: `label_quality` is p_y."""

    finds_label_issues = True

    def scores(
        self,
        log_probs: np.ndarray,
        rows: Mapping[str, np.ndarray],
        labels: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """By the network's probability of each label."""
        return score_by_probability(log_probs, labels)


def score_by_probability(
    log_probs: np.ndarray, labels: np.ndarray
) -> dict[str, np.ndarray]:
    """What the network says of labels, by column of the table of label issues.

    Args:
        log_probs: log p, shape `(n, num_classes)`.
        labels: the given labels y, integers `(n,)`.

    Returns:
        Arrays `(n,)`: `suggested_label`, the other class of the largest p_j;
        `label_quality`, p_y; and `noise_score`, -log10 of p_y.
    """
    log_probs = np.maximum(log_probs.astype(np.float64), LEAST_LOG_PROB)
    places = np.arange(len(labels))
    log_given = log_probs[places, labels]
    others = log_probs.copy()
    others[places, labels] = -np.inf
    return {
        "suggested_label": others.argmax(axis=-1),
        "label_quality": np.exp(np.minimum(log_given, 0.0)),
        "noise_score": -log_given / np.log(10.0),
    }
