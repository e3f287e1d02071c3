"""ELR+ (Liu et al. 2020): early learning held by the average of another network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import keras
import numpy as np
from keras import ops

from sop_keras.core.batch import Batch, Outputs, Tensor
from sop_keras.core.method import Method
from sop_keras.core.probabilities import log_probabilities
from sop_keras.core.table import Table
from sop_keras.methods import elr_plus_objective as objective
from sop_keras.methods.elr import TargetScan, score_targets
from sop_keras.methods.elr_plus_record import ELRPlusSettings
from sop_keras.methods.mixup import draws, mix_batch, mix_pairs

_TARGETS = ("target", "peer_target")  # by the place of the network that learns of them


@keras.saving.register_keras_serializable(package="sop_keras")
@dataclass(frozen=True)
class ELRPlus(Method, ELRPlusSettings):
    """Two networks in turn, each held to what the other's weight average predicted.

    Of every example, each network has a target t_i: a running average of what the
    running average of the other network's weights says of the example, unmixed. The
    network itself is trained on examples mixed in pairs, as by `MixUp`, on

        mean CE(y~, p) + ramp lambda mean log(1 - <p, t~>),

    in which t~ are the targets mixed like the labels y~. Equations and ramps are in
    `methods/elr_plus_objective.py`. Both networks predict together, by the mean of
    their outputs. The loss may be negative.

    Both learn of the same labels. (In the published code each has a noise draw and a
    split of its own: at 50% of symmetric noise, 45.1% of each one's labels are wrong,
    but only 20.6% in both.) Averages start as copies of the networks, and ask in the
    mode of training, without moving averages of BatchNormalization of their own.

    Args:
        target_momentum: beta, in [0, 1]. Published: 0.7; 0.9 with asymmetric noise and
            on CIFAR-100. Defaults to `0.7`.
        regularization_weight: lambda, not negative. Published: 3; 1 with asymmetric
            noise; 7 on CIFAR-100. Defaults to `3.0`.
        regularization_ramp: steps of its ramp; published: 0; 40,000 on CIFAR-100.
            Defaults to `0`.
        average_decay: gamma, in [0, 1]. Defaults to `0.997`.
        average_ramp: steps of its ramp; 0 for min(1 - 1 / (s + 1), gamma), published
            for Clothing1M and WebVision. Defaults to `40_000`.
        alpha: of the mixing, not negative; 0 mixes nothing. Defaults to `1.0`.
        reweight_labels: whether mixed labels are multiplied by mixed targets and
            divided by their sum; published for CIFAR-100. Defaults to `False`.

    Raises:
        ValueError: for a number out of range.

    Reference: Liu, Niles-Weed, Razavian, Fernandez-Granda, "Early-Learning
    Regularization Prevents Memorization of Noisy Labels", NeurIPS 2020, Section 5;
    shengliu66/ELR at 934af53, ELR_plus.
    """

    num_networks = 2
    in_turn = True
    predicts_together = True
    loss_sees_updated_rows = True
    averages_equal_ids = True
    finds_label_issues = True

    @property
    def mixes_inputs(self) -> bool:
        """Unless alpha is 0."""
        return self.alpha > 0

    @property
    def loss_parts(self) -> tuple[str, ...]:
        """Cross entropy and the regulariser."""
        return ("ce_loss", "regularization_loss")

    def tables(self, num_classes: int) -> tuple[Table, ...]:
        """The targets of both networks."""
        return tuple(Table(name, num_classes) for name in _TARGETS)

    def weight_average_decay(self, step: Tensor) -> Tensor:
        """gamma_s."""
        if self.average_ramp:
            return objective.ramped_decay(step, self.average_decay, self.average_ramp)
        return objective.averaging_decay(step, self.average_decay)

    def mix(self, batch: Batch, rows: Mapping[str, Tensor]) -> Batch:
        """Pairs; and what the other's average says of the examples as they are."""
        assert batch.ask is not None
        said = batch.ask(1 - batch.network, batch.views[0], averaged=True)
        probs = ops.softmax(said, axis=-1) if batch.from_logits else said
        extra = {"peer_probs": probs}
        if self.alpha == 0:
            return replace(batch, extra=extra)
        share, partners = self.draws(batch)
        extra |= {"share": share, "partners": partners}
        return replace(mix_batch(batch, share, partners), extra=extra)

    def draws(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The share and the partners of a step."""
        key = 2 * batch.step + batch.network
        return draws(self.alpha, batch.seed, key, ops.shape(batch.ids)[0])

    def row_steps(
        self, outputs: Outputs, rows: Mapping[str, Tensor], batch: Batch
    ) -> Mapping[str, Tensor]:
        """Each example brings the other average's prediction."""
        return {_TARGETS[batch.network]: batch.extra["peer_probs"]}

    def updated_rows(
        self,
        rows: Mapping[str, Tensor],
        steps: Mapping[str, Tensor],
        rates: Mapping[str, Tensor],
    ) -> Mapping[str, Tensor]:
        """Beta t + (1 - beta) p."""
        return {
            name: objective.updated_targets(rows[name], probs, self.target_momentum)
            for name, probs in steps.items()
        }

    def loss(
        self, outputs: Outputs, rows: Mapping[str, Tensor], batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """CE + ramp lambda log(1 - <p, t~>)."""
        log_probs = log_probabilities(outputs.views[0], outputs.from_logits)
        targets, labels = rows[_TARGETS[batch.network]], batch.labels
        if self.alpha:
            partners, share = batch.extra["partners"], batch.extra["share"]
            targets = mix_pairs(targets, targets, partners, share)
        if self.reweight_labels:
            labels = objective.reweighted_labels(labels, targets)
        parts = {
            "ce_loss": batch.mean_loss(
                objective.cross_entropy_losses(log_probs, labels)
            ),
            "regularization_loss": batch.mean_loss(
                objective.regularization_losses(log_probs, targets)
            ),
        }
        ramp = objective.ramp(batch.step + 1, self.regularization_ramp)
        weight = ramp * self.regularization_weight
        return parts["ce_loss"] + weight * parts["regularization_loss"], parts

    def scores(
        self,
        log_probs: np.ndarray,
        rows: Mapping[str, np.ndarray],
        labels: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """By the mean of both targets."""
        return score_targets(_mean_targets(rows), labels)

    def scan(self, labels: np.ndarray, num_classes: int) -> TargetScan:
        """What the mean of both targets says of all labels."""
        return TargetScan(labels, _mean_targets)


def _mean_targets(rows: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.mean([rows[name] for name in _TARGETS], axis=0)
