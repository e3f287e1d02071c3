"""Truncated GCE (Zhang and Sabuncu 2018, Algorithm 1): L_q of what is not given up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import keras
import numpy as np

from sop_keras.core.batch import Batch, Outputs, Tensor
from sop_keras.core.method import Look
from sop_keras.core.probabilities import log_probabilities
from sop_keras.core.table import Table
from sop_keras.losses.gce import generalized_cross_entropy
from sop_keras.methods.probability_scores import ProbabilityScored
from sop_keras.validation import check_fraction, check_integer


@keras.saving.register_keras_serializable(package="sop_keras")
@dataclass(frozen=True)
class TruncatedGCE(ProbabilityScored):
    """GCE without the examples whose labels the network gives at most probability k.

    Every example owns a weight w_i, 1 at first. Before some epochs the network looks at
    all examples, and w_i is 1 where p_y > k and 0 elsewhere: an example may come back.
    The objective is the mean over the whole batch of

        w (L_q - L_q(k)),    L_q = (1 - p_y^q) / q,    L_q(k) = (1 - k^q) / q.

    With all w of a batch 0 it is 0, and so is its gradient.

    The weights are of the network as it is. The published code takes the epoch that was
    best on the test set; its weights are also of augmented images, and here of images
    as evaluation sees them.

    Args:
        q: in [0, 1]. Defaults to `0.7`.
        k: in [0, 1], above 0 where q is 0. Defaults to `0.5`.
        start: the first epoch, counted from 1, before which the network looks. Defaults
            to `40`, the paper's for CIFAR-10; 80 for CIFAR-100.
        every: epochs from one look to the next. Defaults to `10`.

    Raises:
        ValueError: for a number out of range.

    Reference: Zhang, Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural
    Networks with Noisy Labels", NeurIPS 2018, eqs. 10 to 12 and Algorithm 1.
    """

    q: float = 0.7
    k: float = 0.5
    start: int = 40
    every: int = 10

    def __post_init__(self) -> None:
        check_fraction("q", self.q)
        check_fraction("k", self.k)
        if self.q == self.k == 0:
            raise ValueError(
                "`k` must be above 0 where q is 0: L_q(k) = -log k is infinite. "
                "Received: q=0, k=0."
            )
        check_integer("start", self.start, 1)
        check_integer("every", self.every, 1)

    def tables(self, num_classes: int) -> tuple[Table, ...]:
        """The weights w."""
        return (Table("kept", 1, initial=1.0),)

    def looks_before(self, epoch: int) -> bool:
        """Before the epochs `start`, `start + every` and so on, counted from 1."""
        since = epoch + 1 - self.start
        return since >= 0 and since % self.every == 0

    def before_epoch(self, look: Look) -> Mapping[str, np.ndarray]:
        """A weight of 1 where p_y > k, else 0."""
        return {"kept": np.exp(-look.losses[0].astype(np.float64)) > self.k}

    def loss(
        self, outputs: Outputs, rows: Mapping[str, Tensor], batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean of w (L_q - L_q(k))."""
        log_probs = log_probabilities(outputs.views[0], outputs.from_logits)
        losses = generalized_cross_entropy(batch.labels, log_probs, self.q)
        kept = rows["kept"][:, 0]
        return batch.mean_loss(kept * (losses - self._loss_at_k)), {}

    @property
    def _loss_at_k(self) -> float:
        if self.q == 0:
            return float(-np.log(self.k))
        return float(1.0 - self.k**self.q) / self.q
