"""Co-teaching (Han et al. 2018): two networks pick what the other one learns from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from sop_keras.core.batch import Batch, Outputs, Tensor
from sop_keras.core.method import Method
from sop_keras.core.probabilities import log_probabilities
from sop_keras.core.scan import PredictionScan
from sop_keras.core.table import Table
from sop_keras.losses.label_loss import at_label
from sop_keras.methods.small_loss import forget_rate, num_kept, smallest
from sop_keras.methods.small_loss_scores import (
    SmallLossScan,
    noise_score_of,
    quality_of,
)
from sop_keras.validation import check_fraction, check_integer, check_positive


@keras.saving.register_keras_serializable(package="sop_keras")
@dataclass(frozen=True)
class CoTeaching(Method):
    """Cross entropy of each network on what its peer finds easiest in the batch.

    Both networks see the same batch of B examples. Each picks the n of the smallest
    cross entropy (of equal ones, the first), and the other one learns from these:

        L_1 = mean of l_1 over what network 2 picks, L_2 of l_2 over what 1 picks,
        n = max(1, floor(R B)),    R = 1 - tau min(e^c / T_k, 1)    in epoch e, from 0.

    Both losses are of the weights before the step; the objective is their sum, and each
    network descends along its own. B is the whole batch on however many replicas. What
    is picked is a constant, by losses without sample weights; these weight the picked
    losses, and n stays the divisor. A loss that is not finite is picked last.

    Every example owns its two cross entropies at the last visit and, of its visits
    since the forget rate is tau, their number, how often it was picked (by one network
    of two: 1/2) and the sum of both networks' mean probabilities of its label: 20 bytes
    an example. `label_quality` is the mean of these probabilities.

    Where the authors' code (bhanML/Co-teaching at 7c7fbe2) differs from the paper, the
    paper is followed: tau is reached at epoch T_k, not T_k - 1; n is never 0; the mean
    is not divided by n once more, which Adam hides and SGD does not.

    Args:
        noise_rate: tau, the share of labels that are wrong, in [0, 1].
        exponent: c, positive. Defaults to `1.0`.
        num_gradual: T_k, epochs until tau, at least 1. Defaults to `10`.

    Raises:
        ValueError: for a number out of range.

    Example:
    ```python
    method = methods.CoTeaching(noise_rate=0.4)
    model = NoisyLabelModel(backbone, 50_000, 10, method=method)
    ```

    Reference: Han, Yao, Yu, Niu, Xu, Hu, Tsang, Sugiyama, "Co-teaching: Robust Training
    of Deep Neural Networks with Extremely Noisy Labels", NeurIPS 2018, Algorithm 1.
    """

    noise_rate: float
    exponent: float = 1.0
    num_gradual: int = 10

    num_networks = 2
    averages_equal_ids = True
    finds_label_issues = True

    def __post_init__(self) -> None:
        check_fraction("noise_rate", self.noise_rate)
        check_positive("exponent", self.exponent)
        check_integer("num_gradual", self.num_gradual, 1)

    @property
    def loss_parts(self) -> tuple[str, ...]:
        """L_1 and L_2."""
        return ("ce_loss", "peer_ce_loss")

    def tables(self, num_classes: int) -> tuple[Table, ...]:
        """Cross entropies of both networks; visits since the forget rate is tau."""
        return (Table("cross_entropy", 2), Table("visits", 3))

    def schedule(self, epoch: int, epochs: int) -> Mapping[str, float]:
        """The forget rate, and whether it is tau."""
        rate = forget_rate(epoch, self.noise_rate, self.exponent, self.num_gradual)
        return {"forget_rate": rate, "counts": float(rate == self.noise_rate)}

    def loss(
        self, outputs: Any, rows: Mapping[str, Tensor], batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """L_1 + L_2."""
        losses = cross_entropies(outputs, batch)
        picked, count, size = self._picked(losses, outputs, batch)
        # The mean of a batch, made that of what is picked in the whole of it.
        losses = losses * (size / ops.maximum(count, 1.0))
        parts = {
            name: batch.mean_loss(ops.where(picked[:, peer], losses[:, own], 0.0))
            for name, own, peer in (("ce_loss", 0, 1), ("peer_ce_loss", 1, 0))
        }
        return parts["ce_loss"] + parts["peer_ce_loss"], parts

    def row_steps(
        self, outputs: Any, rows: Mapping[str, Tensor], batch: Batch
    ) -> Mapping[str, Tensor]:
        """Each example brings its losses and, where it counts, its visit."""
        losses = cross_entropies(outputs, batch)
        picked, _, _ = self._picked(losses, outputs, batch)
        visit = [
            ops.ones_like(losses[:, 0]),
            ops.mean(ops.cast(picked, "float32"), axis=-1),
            ops.mean(ops.exp(-losses), axis=-1),
        ]
        visits = batch.scheduled["counts"] * ops.stack(visit, axis=-1)
        return {"cross_entropy": losses, "visits": visits}

    def updated_rows(
        self,
        rows: Mapping[str, Tensor],
        steps: Mapping[str, Tensor],
        rates: Mapping[str, Tensor],
    ) -> Mapping[str, Tensor]:
        """The losses that were brought, and visits added up."""
        return {**steps, "visits": rows["visits"] + steps["visits"]}

    def scores(
        self,
        log_probs: np.ndarray,
        rows: Mapping[str, np.ndarray],
        labels: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """By both networks' probabilities of the label at its visits."""
        others = log_probs.astype(np.float64)
        others[np.arange(len(labels)), labels] = -np.inf
        return {
            "suggested_label": others.argmax(axis=-1),
            "label_quality": quality_of(rows),
            "noise_score": noise_score_of(rows),
        }

    def scan(self, labels: np.ndarray, num_classes: int) -> PredictionScan:
        """What both networks say of all labels."""
        return SmallLossScan(labels)

    def _is_candidate(self, outputs: Any, batch: Batch) -> Tensor:
        """Which of this part's examples may be picked, bool `(n,)`."""
        return ops.ones_like(batch.labels[:, 0], dtype="bool")

    def _picked(
        self, losses: Tensor, outputs: Any, batch: Batch
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What each network picks of this part, bool `(n, 2)`.

        And how many that is in the whole batch, and the size of that, float32 scalars.
        """
        is_candidate = ops.cast(self._is_candidate(outputs, batch), "float32")
        whole = batch.gather(
            ops.stop_gradient(ops.concatenate([losses, is_candidate[:, None]], axis=-1))
        )
        is_candidate = whole[:, 2] > 0
        num_candidates = ops.sum(whole[:, 2])
        count = num_kept(batch.scheduled["forget_rate"], num_candidates)
        picked = [smallest(whole[:, net], is_candidate, count) for net in (0, 1)]
        picked = ops.take(ops.stack(picked, axis=-1), batch.places(), axis=0)
        return picked, count, ops.cast(ops.shape(whole)[0], "float32")


def cross_entropies(outputs: tuple[Outputs, ...], batch: Batch) -> Tensor:
    """The cross entropy of each example by each network, `(n, 2)`.

    Args:
        outputs: of both networks.
        batch: with labels of both.
    """
    log_probs = [log_probabilities(one.views[0], one.from_logits) for one in outputs]
    losses = [-at_label(batch.labels, one) for one in log_probs]
    return ops.stack(losses, axis=-1)
