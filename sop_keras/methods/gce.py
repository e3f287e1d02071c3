"""GCE, generalised cross entropy (Zhang and Sabuncu 2018): L_q."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import keras

from sop_keras.core.batch import Batch, Outputs, Tensor
from sop_keras.core.probabilities import log_probabilities
from sop_keras.losses.gce import generalized_cross_entropy
from sop_keras.methods.gce_record import GCESettings
from sop_keras.methods.probability_scores import ProbabilityScored


@keras.saving.register_keras_serializable(package="sop_keras")
@dataclass(frozen=True)
class GCE(ProbabilityScored, GCESettings):
    """L_q = (1 - p_y^q) / q, between cross entropy (q = 0) and 1 - p_y (q = 1).

    Its gradient is that of cross entropy times p_y^q: labels that the network does not
    believe in move it less. It is taken of logits, and never NaN.

    Args:
        q: in [0, 1]. Defaults to `0.7`, the paper's.

    Raises:
        ValueError: if q is not in [0, 1].

    Reference: Zhang, Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural
    Networks with Noisy Labels", NeurIPS 2018, eq. 6.
    """

    def loss(
        self, outputs: Outputs, rows: Mapping[str, Tensor], batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean of L_q."""
        log_probs = log_probabilities(outputs.views[0], outputs.from_logits)
        losses = generalized_cross_entropy(batch.labels, log_probs, self.q)
        return batch.mean_loss(losses), {}
