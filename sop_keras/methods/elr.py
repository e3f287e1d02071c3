"""ELR: early-learning regularisation (Liu et al. 2020, eqs. 6 to 9, Algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from sop_keras.core.batch import Batch, Outputs, Tensor
from sop_keras.core.method import Method
from sop_keras.core.scan import PredictionScan
from sop_keras.core.table import Table
from sop_keras.methods.elr_record import ELRSettings

LEAST_PROBABILITY = 1e-4
"""Probabilities are clipped to this and 1 less it, as in the authors' code."""

_LEAST_TARGET = 1e-30


@keras.saving.register_keras_serializable(package="sop_keras")
@dataclass(frozen=True)
class ELR(Method, ELRSettings):
    """Cross entropy, held to what the network predicted before it learnt by heart.

    Every example owns a target t_i, a running average of its predictions,

        t_i <- beta t_i + (1 - beta) p_i / ||p_i||_1,    t_i = 0 at first,

    and the objective is the mean of CE(p_i, y_i) + lambda log(1 - <t_i, p_i>), in which
    targets are constants, of after their update. p is clipped to [1e-4, 1 - 1e-4] in
    both, as in the authors' code (shengliu66/ELR at 934af53). Of equal ids in a batch,
    the mean of their predictions is one update.

    The loss may be negative: lambda log(1e-4) is its bound, not 0.

    Args:
        target_momentum: beta, in [0, 1]. Defaults to `0.7`.
        regularization_weight: lambda, not negative. Defaults to `3.0`.

    Raises:
        ValueError: for a number out of range.

    Reference: Liu, Niles-Weed, Razavian, Fernandez-Granda, "Early-Learning
    Regularization Prevents Memorization of Noisy Labels", NeurIPS 2020.
    """

    loss_sees_updated_rows = True
    averages_equal_ids = True
    finds_label_issues = True

    @property
    def loss_parts(self) -> tuple[str, ...]:
        """Cross entropy and the regulariser."""
        return ("ce_loss", "regularization_loss")

    def tables(self, num_classes: int) -> tuple[Table, ...]:
        """The targets t."""
        return (Table("target", num_classes),)

    def loss(
        self, outputs: Outputs, rows: Mapping[str, Tensor], batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """CE + lambda log(1 - <t, p>) (eq. 6)."""
        cross_entropy = self.evaluation_loss(
            outputs.views[0], batch.given_labels, batch.labels, outputs.from_logits
        )
        agreement = ops.sum(rows["target"] * _clipped(outputs.probs), axis=-1)
        parts = {
            "ce_loss": batch.mean_loss(cross_entropy),
            "regularization_loss": batch.mean_loss(ops.log(1.0 - agreement)),
        }
        weight = self.regularization_weight
        return parts["ce_loss"] + weight * parts["regularization_loss"], parts

    def row_steps(
        self, outputs: Outputs, rows: Mapping[str, Tensor], batch: Batch
    ) -> Mapping[str, Tensor]:
        """Each example brings p / ||p||_1."""
        probs = _clipped(outputs.probs)
        return {"target": probs / ops.sum(probs, axis=-1, keepdims=True)}

    def updated_rows(
        self,
        rows: Mapping[str, Tensor],
        steps: Mapping[str, Tensor],
        rates: Mapping[str, Tensor],
    ) -> Mapping[str, Tensor]:
        """Eq. 9: t <- beta t + (1 - beta) p / ||p||_1."""
        beta = self.target_momentum
        return {"target": beta * rows["target"] + (1.0 - beta) * steps["target"]}

    def scores(
        self,
        log_probs: np.ndarray,
        rows: Mapping[str, np.ndarray],
        labels: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """By the targets: a label is an issue where another class has a larger one."""
        return score_targets(rows["target"], labels)

    def scan(self, labels: np.ndarray, num_classes: int) -> PredictionScan:
        """What the targets say of all labels."""
        return TargetScan(labels, lambda rows: rows["target"])


class TargetScan(PredictionScan):
    """What targets say of some labels; `quality` is theirs, as in label issues.

    Args:
        labels: the given labels, integers `(n,)`.
        targets: gives the targets of some rows, `(n, num_classes)`.
    """

    def __init__(
        self,
        labels: np.ndarray,
        targets: Callable[[Mapping[str, np.ndarray]], np.ndarray],
    ):
        super().__init__(labels)
        self._targets = targets
        self._at_label = np.empty(len(labels))

    def add(
        self,
        chunk: slice,
        rows: Mapping[str, np.ndarray],
        predictions: np.ndarray,
        given_probs: np.ndarray,
    ) -> None:
        """Take some examples into account."""
        super().add(chunk, rows, predictions, given_probs)
        given, targets = self.labels[chunk], self._targets(rows)
        scores = score_targets(targets, given)
        is_known = predictions >= 0
        self.quality[chunk] = np.where(is_known, scores["label_quality"], np.nan)
        self.suggested[chunk] = scores["suggested_label"]
        self._at_label[chunk] = targets[np.arange(len(given)), given]

    def figures(self) -> dict[str, float]:
        """The mean of the targets at the labels."""
        return {"noise/mean_target_at_the_label": float(self._at_label.mean())}


def score_targets(targets: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """What targets say of labels, by column of the table of label issues.

    Args:
        targets: t, shape `(n, num_classes)`, not negative.
        labels: the given labels, integers `(n,)`.

    Returns:
        Arrays `(n,)`: `suggested_label`, the other class of the largest target t_j;
        `label_quality`, t_y / (t_y + t_j), below 1/2 where that is larger than t_y; and
        `noise_score`, -log10 of t_y / ||t||_1.
    """
    targets = np.maximum(targets.astype(np.float64), _LEAST_TARGET)
    places = np.arange(len(labels))
    own = targets[places, labels]
    others = targets.copy()
    others[places, labels] = -1.0
    suggested = others.argmax(axis=-1)
    return {
        "suggested_label": suggested,
        "label_quality": own / (own + others[places, suggested]),
        "noise_score": np.log10(targets.sum(axis=-1)) - np.log10(own),
    }


def _clipped(probs: Tensor) -> Tensor:
    return ops.clip(probs, LEAST_PROBABILITY, 1.0 - LEAST_PROBABILITY)
