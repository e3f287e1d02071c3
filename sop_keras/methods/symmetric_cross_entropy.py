"""SL, symmetric cross entropy (Wang et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import keras

from sop_keras.core.batch import Batch, Outputs, Tensor
from sop_keras.core.probabilities import log_probabilities
from sop_keras.losses.symmetric_cross_entropy import symmetric_cross_entropy
from sop_keras.methods.probability_scores import ProbabilityScored
from sop_keras.methods.symmetric_cross_entropy_record import (
    SymmetricCrossEntropySettings,
)


@keras.saving.register_keras_serializable(package="sop_keras")
@dataclass(frozen=True)
class SymmetricCrossEntropy(ProbabilityScored, SymmetricCrossEntropySettings):
    """SL: cross entropy, and cross entropy with labels and predictions in turn.

    The objective is the mean of alpha CE + beta RCE with RCE = -A (1 - p_y), and A =
    log 1e-4 in place of log 0, as in the authors' code
    (YisenWang/symmetric_cross_entropy_for_noisy_labels at ec778df); the paper's text
    has -4.

    Args:
        alpha: the weight of cross entropy, not negative. Defaults to `0.1`, the paper's
            for CIFAR-10; 6.0 for CIFAR-100.
        beta: the weight of its reverse, not negative. Defaults to `1.0`, likewise; 0.1
            for CIFAR-100.

    Raises:
        ValueError: if a weight is negative or not finite.

    Reference: Wang, Ma, Chen, Luo, Yi, Bailey, "Symmetric Cross Entropy for Robust
    Learning with Noisy Labels", ICCV 2019, eqs. 7 and 8.
    """

    def loss(
        self, outputs: Outputs, rows: Mapping[str, Tensor], batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean of alpha CE + beta RCE."""
        log_probs = log_probabilities(outputs.views[0], outputs.from_logits)
        losses = symmetric_cross_entropy(batch.labels, log_probs, self.alpha, self.beta)
        return batch.mean_loss(losses), {}
