"""Forward correction (Patrini et al. 2017): cross entropy after the labels' noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from sop_keras.core.example_tables import Table
from sop_keras.core.method import Batch, Method, Outputs, Tensor
from sop_keras.core.scan import PredictionScan
from sop_keras.losses.forward import (
    LEAST_PROBABILITY,
    check_size,
    checked_transition,
    forward_cross_entropy,
    probability_right,
)
from sop_keras.losses.label_loss import log_probabilities

_LEAST_QUALITY = 1e-30


@keras.saving.register_keras_serializable(package="sop_keras")
@dataclass(frozen=True)
class Forward(Method):
    """Cross entropy of the given labels, after the noise that made them.

    The network's p is of true classes; labels are drawn of q = p T, with

        T[i, j] = P(given j | true i),

    and the objective is the mean of -log q_y. p is clipped to [1e-7, 1 - 1e-7] before
    the product, as in the authors' code (giorgiop/loss-correction at 15a79de).
    Predictions are the network's p.

    Every example owns a number: the probability that its label is right, P(y | x, y
    given) = p_y T_yy / q_y, at its last visit. Of equal ids, it is the mean.

    Args:
        transition: T, shape `(num_classes, num_classes)`: rows sum to 1.

    Raises:
        ValueError: for a matrix that is not square, singular, or whose rows do not sum
            to 1; of another size, when a model is made with it.

    Reference: Patrini, Rozza, Menon, Nock, Qu, "Making Deep Neural Networks Robust to
    Label Noise: a Loss Correction Approach", CVPR 2017, Theorem 2.
    """

    transition: Any

    averages_equal_ids = True
    finds_label_issues = True

    def __post_init__(self) -> None:
        # Tuples, so that methods of equal numbers are equal.
        object.__setattr__(self, "transition", checked_transition(self.transition))

    def check(self, num_classes: int) -> None:
        """Check the size of T."""
        check_size(self.transition, num_classes)

    def tables(self, num_classes: int) -> tuple[Table, ...]:
        """How likely each label is right."""
        return (Table("right_prob", 1, initial=1.0),)

    def loss(
        self, outputs: Outputs, rows: Mapping[str, Tensor], batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean of -log (p T)_y."""
        log_probs = log_probabilities(outputs.views[0], outputs.from_logits)
        losses = forward_cross_entropy(batch.labels, log_probs, self.transition)
        return batch.mean_loss(losses), {}

    def row_steps(
        self, outputs: Outputs, rows: Mapping[str, Tensor], batch: Batch
    ) -> Mapping[str, Tensor]:
        """Each example brings P(label right | x, label)."""
        log_probs = log_probabilities(outputs.views[0], outputs.from_logits)
        right = probability_right(batch.labels, log_probs, self.transition)
        return {"right_prob": right[:, None]}

    def updated_rows(
        self,
        rows: Mapping[str, Tensor],
        steps: Mapping[str, Tensor],
        rates: Mapping[str, Tensor],
    ) -> Mapping[str, Tensor]:
        """The last visit's."""
        return {"right_prob": steps["right_prob"]}

    def scores(
        self,
        log_probs: np.ndarray,
        rows: Mapping[str, np.ndarray],
        labels: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """By the network's last word and T: which true class explains the label."""
        return score_by_transition(log_probs, np.array(self.transition), labels)

    def scan(self, labels: np.ndarray, num_classes: int) -> PredictionScan:
        """How likely all labels are right."""
        return RightScan(labels)

    def get_config(self) -> dict[str, Any]:
        """The matrix as lists."""
        return {"transition": [list(row) for row in self.transition]}


class RightScan(PredictionScan):
    """How likely some labels are right; `quality` is that, as in label issues.

    Args:
        labels: the given labels, integers `(n,)`.
    """

    def add(
        self,
        chunk: slice,
        rows: Mapping[str, np.ndarray],
        predictions: np.ndarray,
        given_probs: np.ndarray,
    ) -> None:
        """Take some examples into account."""
        super().add(chunk, rows, predictions, given_probs)
        right = rows["right_prob"][:, 0]
        self.quality[chunk] = np.where(predictions >= 0, right, np.nan)


def score_by_transition(
    log_probs: np.ndarray, transition: np.ndarray, labels: np.ndarray
) -> dict[str, np.ndarray]:
    """What the network and T say of labels, by column of the table of label issues.

    Args:
        log_probs: log p, shape `(n, num_classes)`; p is clipped as in training.
        transition: T, shape `(num_classes, num_classes)`.
        labels: the given labels y, integers `(n,)`.

    Returns:
        Arrays `(n,)`: `suggested_label`, the other class i of the largest p_i T_iy;
        `label_quality`, p_y T_yy / (p T)_y; and `noise_score`, -log10 of it.
    """
    probs = np.exp(log_probs.astype(np.float64))
    probs = probs.clip(LEAST_PROBABILITY, 1.0 - LEAST_PROBABILITY)
    joint = probs * transition.T[labels]
    places = np.arange(len(labels))
    quality = joint[places, labels] / joint.sum(axis=-1)
    joint[places, labels] = -1.0
    return {
        "suggested_label": joint.argmax(axis=-1),
        "label_quality": quality,
        "noise_score": -np.log10(np.maximum(quality, _LEAST_QUALITY)),
    }
