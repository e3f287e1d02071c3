"""Forward correction (Patrini et al. 2017): cross entropy after the labels' noise."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from sop_keras.core.batch import Batch, Outputs, Tensor
from sop_keras.core.look import Look
from sop_keras.core.method import Method
from sop_keras.core.probabilities import log_probabilities
from sop_keras.core.scan import PredictionScan
from sop_keras.core.table import Table
from sop_keras.losses.forward import (
    LEAST_PROBABILITY,
    check_size,
    checked_transition,
    forward_cross_entropy,
    probability_right,
)
from sop_keras.methods.anchor_points import (
    check_examples_of_each,
    check_percentile,
    estimate_transition,
    suitable_percentile,
)

logger = logging.getLogger(__name__)

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

    Where T is not known, it is estimated in a first training: `fit(epochs=2 * n)`
    trains n epochs with T = I, reads T off the anchors that the network then finds
    among all examples (of the epoch of the lowest `val_loss` where `fit` has
    validation data, under given labels), and trains n epochs of the network as it was
    at first, its optimizer and schedule too; of one epoch, there is the first training
    alone. It goes on from any batch; beside T, the weights are kept twice for that.

    Args:
        transition: T, shape `(num_classes, num_classes)`: rows sum to 1. Defaults to
            `None`: estimated.
        anchor_percentile: in (0, 100], of the anchors where T is estimated: 97 as
            published, 100 for such as CIFAR-100, of whose examples a class is 1%
            (`anchor_points`); 100 is also taken, with a warning, where the smallest
            class is less than 1.5 times the share above the percentile. Defaults to
            `None`: T is given.

    Raises:
        ValueError: for a matrix that is not square, singular, or whose rows do not sum
            to 1; of another size, when a model is made with it; for a percentile out of
            range; unless one of the two is given. In training, for a class without an
            example to be its anchor.

    Reference: Patrini, Rozza, Menon, Nock, Qu, "Making Deep Neural Networks Robust to
    Label Noise: a Loss Correction Approach", CVPR 2017, Theorem 2 and Section 4.1.
    """

    transition: Any = None
    anchor_percentile: float | None = None

    averages_equal_ids = True
    finds_label_issues = True

    def __post_init__(self) -> None:
        if (self.transition is None) == (self.anchor_percentile is None):
            raise ValueError(
                "Give methods.Forward either `transition`, if you know it, or "
                "`anchor_percentile`, such as 97, to have it estimated. Received: "
                f"{'both' if self.anchor_percentile is not None else 'neither'}."
            )
        if self.anchor_percentile is not None:
            check_percentile(self.anchor_percentile)
            return
        # Tuples, so that methods of equal numbers are equal.
        object.__setattr__(self, "transition", checked_transition(self.transition))

    @property
    def _estimates(self) -> bool:
        return self.anchor_percentile is not None

    def check(self, num_classes: int) -> None:
        """Check the size of T."""
        if not self._estimates:
            check_size(self.transition, num_classes)

    def state(self, num_classes: int) -> Mapping[str, np.ndarray]:
        """T where it is estimated: before, all the same, which tells of no label."""
        if not self._estimates:
            return {}
        return {"transition": np.full((num_classes, num_classes), 1.0 / num_classes)}

    def begin(
        self,
        labels: np.ndarray | None,
        num_classes: int,
        state: Mapping[str, np.ndarray],
        num_seen: Callable[[], int] | None = None,
    ) -> Mapping[str, np.ndarray]:
        """Look for classes without an example, where labels are known."""
        if self._estimates and labels is not None:
            labels = np.asarray(labels)
            labels = labels.argmax(-1) if labels.ndim == 2 else labels
            check_examples_of_each(labels.astype(np.int64), num_classes)
        return {}

    def schedule(self, epoch: int, epochs: int) -> Mapping[str, float]:
        """Whether T is known, where it is estimated."""
        if not self._estimates:
            return {}
        return {"corrects": float(epoch >= _first_epochs(epochs))}

    def fresh_start(self, epochs: int) -> int | None:
        """In the middle, where T is estimated."""
        return _first_epochs(epochs) if self._estimates else None

    def before_epoch(self, look: Look) -> Mapping[str, np.ndarray]:
        """Estimate T of what the first training made of all examples."""
        probs = np.exp(look.log_probs[0].astype(np.float64))
        num_classes, given = probs.shape[1], self.anchor_percentile or 100
        check_examples_of_each(look.labels, num_classes)
        percentile = suitable_percentile(given, look.labels, num_classes)
        if percentile != given:
            logger.warning(
                "The smallest class has %.3g%% of the given labels: above the %gth "
                "percentile there may be all of it, and the anchors are read off as "
                "with anchor_percentile=100.",
                *(100 * np.bincount(look.labels).min() / len(look.labels), given),
            )
        found = estimate_transition(probs, percentile)
        logger.info(
            "The transition matrix is read off %d examples: %.2f on its diagonal on "
            "average, condition number %.3g.",
            *(len(probs), np.diag(found).mean(), np.linalg.cond(found)),
        )
        return {"transition": found}

    def tables(self, num_classes: int) -> tuple[Table, ...]:
        """How likely each label is right."""
        return (Table("right_prob", 1, initial=1.0),)

    def loss(
        self, outputs: Outputs, rows: Mapping[str, Tensor], batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean of -log (p T)_y."""
        log_probs = log_probabilities(outputs.views[0], outputs.from_logits)
        transition = self.transition
        if self._estimates:  # in the first training, I
            corrects = batch.scheduled["corrects"]
            eye = ops.eye(batch.labels.shape[-1], dtype="float32")
            transition = ops.where(corrects > 0, batch.state["transition"], eye)
        losses = forward_cross_entropy(batch.labels, log_probs, transition)
        return batch.mean_loss(losses), {}

    def row_steps(
        self, outputs: Outputs, rows: Mapping[str, Tensor], batch: Batch
    ) -> Mapping[str, Tensor]:
        """Each example brings P(label right | x, label)."""
        log_probs = log_probabilities(outputs.views[0], outputs.from_logits)
        transition = batch.state["transition"] if self._estimates else self.transition
        right = probability_right(batch.labels, log_probs, transition)
        return {"right_prob": right[:, None]}

    def updated_rows(
        self,
        rows: Mapping[str, Tensor],
        steps: Mapping[str, Tensor],
        rates: Mapping[str, Tensor],
    ) -> Mapping[str, Tensor]:
        """The last visit's."""
        return {"right_prob": steps["right_prob"]}

    def knowing(self, state: Mapping[str, np.ndarray]) -> Method:
        """The method with the T that was estimated."""
        if not self._estimates:
            return self
        known = copy.copy(self)
        object.__setattr__(known, "transition", state["transition"])
        return known

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
        """The arguments, the matrix as lists."""
        rows = self.transition
        return {
            "transition": None if rows is None else [list(row) for row in rows],
            "anchor_percentile": self.anchor_percentile,
        }


def _first_epochs(epochs: int) -> int:
    """How many epochs the first training has: a half, one at least."""
    return max(1, epochs // 2)


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
