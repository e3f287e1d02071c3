"""CORES2, the confidence-regularised sample sieve (Cheng et al. 2021), phase 1."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
from sop_keras.methods.cores2_schedules import (
    LISTING,
    SIEVE_START,
    rate_factors,
    regularization_weight,
    share_of,
)
from sop_keras.methods.sop_regularizers import (
    check_class_prior,
    empirical_class_prior,
    storable_class_prior,
)
from sop_keras.optimizers.schedules import ScaledByEpoch
from sop_keras.validation import check_integer, check_number

LEAST_PROBABILITY = 1e-8
"""What is added to probabilities in the regulariser, as in the authors' code."""


@keras.saving.register_keras_serializable(package="sop_keras")
@dataclass(frozen=True)
class CORES2(Method):
    """Cross entropy that rewards confidence, on the examples that a sieve keeps.

    With l = -log p_y and l_k = -log(p_k + 1e-8), the objective is the mean of

        l - beta sum_k r_k l_k

    over the examples of the batch that are kept; r is the prior of the given labels.
    From `sieve_start` on, one is kept where its statistic is not positive,

        s = l - mean_k l_k <= 0;

    before, all are. Of a batch of which none is kept, loss and gradient are 0. After an
    epoch, r becomes the share of each label among those that it kept; examples of
    weight 0 have no part in r. Every example owns s, of its last visit, and whether it
    was dropped in the epoch that phase 2 asks (40 of 100): 8 bytes an example.

    Follows the authors' code (UCSC-REAL/cores at cf0945e): the 1e-8, the uniform mean
    in s and the sieve by the training's own forward pass. Schedules are those of 100
    epochs, stretched to others. The published learning rate is divided by 1 + beta in
    each epoch; runs of the launcher do so, and `learning_rate` gives it to `compile`.

    Args:
        largest_regularization: beta at its largest, not negative. Defaults to `2.0`.
        sieve_start: the first epoch, of 100 and from 0, that drops examples; of other
            numbers of epochs, as many hundredths. From 0 to 100. Defaults to `31`.
        class_prior: r at first: `num_classes` numbers that sum to 1, `"uniform"`, or
            `"empirical"`, the shares of the labels of the first `fit` on arrays; of a
            stream, uniform in the first epoch and then as it was counted. Defaults to
            `"empirical"`.

    Raises:
        ValueError: for a number out of range, or a prior that is none.

    Example:
    ```python
    method = methods.CORES2()
    model = NoisyLabelModel(backbone, 50_000, 10, method=method)
    model.compile(keras.optimizers.SGD(method.learning_rate(0.1, 100, 782)))
    model.fit(x_train, y_noisy, batch_size=64, epochs=100)
    ids = methods.CORES2.dropped_ids(model)
    ```

    Reference: Cheng, Zhu, Li, Gong, Sun, Liu, "Learning with Instance-Dependent Label
    Noise: A Sample Sieve Approach", ICLR 2021.
    """

    largest_regularization: float = 2.0
    sieve_start: int = SIEVE_START
    class_prior: Any = "empirical"

    averages_equal_ids = True
    finds_label_issues = True

    def __post_init__(self) -> None:
        check_number("largest_regularization", self.largest_regularization)
        check_integer("sieve_start", self.sieve_start, 0, most=100)
        prior = storable_class_prior(self.class_prior)
        object.__setattr__(self, "class_prior", prior)

    @property
    def loss_parts(self) -> tuple[str, ...]:
        """Cross entropy and regulariser of what is kept, and the share of that."""
        return ("ce_loss", "regularization_loss", "kept")

    def tables(self, num_classes: int) -> tuple[Table, ...]:
        """The statistic s, and what phase 2 drops (1) or keeps (0)."""
        return (Table("sieve", 1), Table("dropped", 1))

    def check(self, num_classes: int) -> None:
        """The class prior must have an entry a class."""
        check_class_prior(self.class_prior, num_classes)

    def state(self, num_classes: int) -> Mapping[str, np.ndarray]:
        """The prior r, 0 until it is known, and what an epoch kept, by label.

        And whether the epoch has been that phase 2 asks: 1, and 1/2 within it.
        """
        zeros = np.zeros(num_classes, np.float32)
        prior = check_class_prior(self.class_prior, num_classes)
        prior = zeros if prior is None else prior
        return {"prior": prior, "kept_labels": zeros, "has_listed": np.zeros(())}

    def begin(
        self,
        labels: np.ndarray | None,
        num_classes: int,
        state: Mapping[str, np.ndarray],
        num_seen: Callable[[], int] | None = None,
    ) -> Mapping[str, np.ndarray]:
        """Count the labels for r, where it is not known yet."""
        if labels is None or state["prior"].any():
            return {}
        return {"prior": empirical_class_prior(labels, num_classes)}

    def schedule(self, epoch: int, epochs: int) -> Mapping[str, float]:
        """Beta, whether the sieve is at work, and whether phase 2 asks this epoch."""
        return {
            "regularization_weight": regularization_weight(
                epoch, epochs, self.largest_regularization
            ),
            "sieves": float(epoch >= share_of(self.sieve_start, epochs)),
            "lists": float(epoch == min(share_of(LISTING, epochs), epochs - 1)),
        }

    def loss(
        self, outputs: Outputs, rows: Mapping[str, Tensor], batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean of l - beta sum_k r_k l_k over what is kept."""
        losses, of_classes = self._losses(outputs, batch)
        prior, num_classes = batch.state["prior"], ops.shape(batch.labels)[-1]
        is_known = ops.sum(prior) > 0
        prior = ops.where(is_known, prior, 1.0 / ops.cast(num_classes, "float32"))
        kept = self._kept(losses, of_classes, batch)
        share = batch.mean(kept[:, None])[0]
        # A mean over what is kept in the whole batch, on whatever replica that is.
        kept = kept / ops.where(share > 0, share, 1.0)
        parts = {
            "ce_loss": batch.mean_loss(kept * losses),
            "regularization_loss": batch.mean_loss(
                kept * ops.sum(prior * of_classes, axis=-1)
            ),
            "kept": share,
        }
        weight = batch.scheduled["regularization_weight"]
        return parts["ce_loss"] - weight * parts["regularization_loss"], parts

    def updated_state(
        self, outputs: Outputs, rows: Mapping[str, Tensor], batch: Batch
    ) -> Mapping[str, Tensor]:
        """Count what is kept, by given label."""
        kept = self._kept(*self._losses(outputs, batch), batch)[:, None]
        if batch.weights is not None:
            kept = kept * ops.cast(batch.weights > 0, "float32")
        kept = ops.sum(batch.gather(kept * batch.labels), axis=0)
        # An epoch that was broken off has listed a part alone.
        has_listed = ops.floor(batch.state["has_listed"])
        has_listed = ops.where(batch.scheduled["lists"] > 0, 0.5, has_listed)
        kept_labels = batch.state["kept_labels"] + kept
        return {"kept_labels": kept_labels, "has_listed": has_listed}

    def after_epoch(self, state: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """R is the share of each label in what the epoch kept, if it kept any.

        And the epoch that phase 2 asks, if it was that, is over.
        """
        kept = state["kept_labels"]
        found = {"kept_labels": np.zeros_like(kept)}
        found["has_listed"] = np.ceil(state["has_listed"])
        return {**found, "prior": kept / kept.sum()} if kept.any() else found

    def row_steps(
        self, outputs: Outputs, rows: Mapping[str, Tensor], batch: Batch
    ) -> Mapping[str, Tensor]:
        """Each example brings its s, and whether that drops it in phase 2's epoch."""
        sieve = sieve_statistic(*self._losses(outputs, batch))[:, None]
        is_dropped = ops.cast(sieve > 0, "float32")
        lists = batch.scheduled["lists"]
        dropped = lists * is_dropped + (1.0 - lists) * rows["dropped"]
        return {"sieve": sieve, "dropped": dropped}

    def updated_rows(
        self,
        rows: Mapping[str, Tensor],
        steps: Mapping[str, Tensor],
        rates: Mapping[str, Tensor],
    ) -> Mapping[str, Tensor]:
        """What was brought; of equal ids, the mean."""
        return steps

    def scores(
        self,
        log_probs: np.ndarray,
        rows: Mapping[str, np.ndarray],
        labels: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """By the sieve: a label is an issue where its s is positive."""
        sieve = rows["sieve"][:, 0].astype(np.float64)
        others = log_probs.astype(np.float64)
        others[np.arange(len(labels)), labels] = -np.inf
        return {
            "suggested_label": others.argmax(axis=-1),
            "label_quality": sieve_quality(sieve),
            "noise_score": sieve,
        }

    def scan(self, labels: np.ndarray, num_classes: int) -> PredictionScan:
        """What the sieve says of all labels."""
        return SieveScan(labels)

    @staticmethod
    def dropped_ids(model: Any) -> np.ndarray:
        """The ids that phase 1 drops, rising, int64 `(n,)`: what phase 2 is made with.

        Args:
            model: a `NoisyLabelModel` of CORES2, trained through epoch 40 of 100, from
                0 (of others, as many hundredths; of one, through that).

        Raises:
            ValueError: if its method is another, or that epoch has not been trained to
                its end.
        """
        tables = model.tables.by_name()
        if not isinstance(model.method, CORES2):
            raise ValueError(
                "The examples that phase 2 of CORES2 drops are known to phase 1, a "
                "NoisyLabelModel of methods.CORES2(). Received one of "
                f"{type(model.method).__name__}."
            )
        if model.shared_values()["has_listed"] < 1:
            raise ValueError(
                "Phase 2 of CORES2 asks what the sieve drops in the epoch with 40% of "
                "all before it, and this model has not been trained so far, or not to "
                "the end of that epoch."
            )
        return np.flatnonzero(ops.convert_to_numpy(tables["dropped"])[:, 0] > 0.5)

    def learning_rate(
        self, learning_rate: Any, epochs: int, steps_per_epoch: int
    ) -> ScaledByEpoch:
        """A rate divided by 1 + beta in each epoch, as published.

        Args:
            learning_rate: a positive number, or a schedule over optimizer steps.
            epochs: of the whole training.
            steps_per_epoch: optimizer steps in an epoch.

        Returns:
            A Keras schedule over optimizer steps.

        Raises:
            ValueError: if an argument is out of range.
        """
        factors = rate_factors(epochs, self.largest_regularization)
        return ScaledByEpoch(learning_rate, factors, steps_per_epoch)

    def _losses(self, outputs: Outputs, batch: Batch) -> tuple[Tensor, Tensor]:
        """L of each example, `(n,)`, and its l_k, `(n, K)`."""
        log_probs = log_probabilities(outputs.views[0], outputs.from_logits)
        losses = -at_label(batch.labels, log_probs)
        return losses, -ops.log(ops.exp(log_probs) + LEAST_PROBABILITY)

    def _kept(self, losses: Tensor, of_classes: Tensor, batch: Batch) -> Tensor:
        """1 for what the sieve keeps, 0 else, `(n,)`."""
        is_kept = sieve_statistic(losses, of_classes) <= 0
        kept = ops.logical_or(is_kept, batch.scheduled["sieves"] == 0)
        return ops.cast(kept, "float32")


class SieveScan(PredictionScan):
    """What the sieve says of some labels; `quality` is its, as in label issues.

    Args:
        labels: the given labels, integers `(n,)`.
    """

    def __init__(self, labels: np.ndarray):
        super().__init__(labels)
        self._sieve = np.empty(len(labels))

    def add(
        self,
        chunk: slice,
        rows: Mapping[str, np.ndarray],
        predictions: np.ndarray,
        given_probs: np.ndarray,
    ) -> None:
        """Take some examples into account."""
        super().add(chunk, rows, predictions, given_probs)
        self._sieve[chunk] = sieve = rows["sieve"][:, 0]
        quality = sieve_quality(sieve)
        self.quality[chunk] = np.where(predictions >= 0, quality, np.nan)

    def figures(self) -> dict[str, float]:
        """The share of labels that the sieve drops."""
        return {"noise/dropped_by_the_sieve": float((self._sieve > 0).mean())}


def sieve_statistic(losses: Tensor, of_classes: Tensor) -> Tensor:
    """S = l - mean_k l_k, `(n,)`: an example is kept where it is not positive.

    Args:
        losses: l, the cross entropy of each given label, `(n,)`.
        of_classes: l_k = -log(p_k + 1e-8), `(n, num_classes)`.
    """
    return losses - ops.mean(of_classes, axis=-1)


def sieve_quality(sieve: np.ndarray) -> np.ndarray:
    """1 / (1 + e^s), `(n,)`: below 1/2 where the sieve drops the example.

    Args:
        sieve: s, `(n,)`.
    """
    return np.exp(-np.logaddexp(0.0, sieve.astype(np.float64)))
