"""Co-teaching+ (Yu et al. 2019): Co-teaching on what two networks disagree about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from sop_keras.core.batch import Batch, Tensor
from sop_keras.methods.coteaching import CoTeaching
from sop_keras.validation import check_integer


@keras.saving.register_keras_serializable(package="sop_keras")
@dataclass(frozen=True)
class CoTeachingPlus(CoTeaching):
    """Co-teaching among the examples whose two predicted classes differ.

    The first `init_epochs` are Co-teaching. From then on each network picks, among the
    m examples of the batch that the networks predict different classes for, the n of
    the smallest cross entropy for its peer:

        n = max(1, floor(R m)),    R = 1 - tau min(e^c / T_k, 1)    in epoch e, from 0.

    A batch that the networks agree on moves no trained weights, no momentum, and not
    the place in a schedule of the learning rate, which counts the steps that are taken;
    BatchNormalization's averages follow it, as in the authors' code. Two networks of
    equal outputs never step. All else is as in `CoTeaching`.

    Where the authors' code (xingruiyu/coteaching_plus at a68ed61) differs from the
    paper, the paper is followed: its losses are cross entropies of the softmax of
    probabilities; a batch without disagreement is learnt from as a whole in the first
    epochs; an example of id 0 is never among those that differ, the last one being lost
    in its place; of n = 0, all that differ are taken. `init_epochs` is of the code
    alone.

    Args:
        noise_rate: tau, the share of labels that are wrong, in [0, 1].
        exponent: c, positive. Defaults to `1.0`.
        num_gradual: T_k, epochs until tau, at least 1. Defaults to `10`.
        init_epochs: epochs of plain Co-teaching, not negative. Defaults to `20`, the
            authors' for CIFAR-10; 5 for CIFAR-100, 100 for Tiny-ImageNet, 0 for MNIST.

    Raises:
        ValueError: for a number out of range.

    Reference: Yu, Han, Yao, Niu, Tsang, Sugiyama, "How does Disagreement Help
    Generalization against Label Corruption?", ICML 2019, Algorithm 1.
    """

    init_epochs: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("init_epochs", self.init_epochs, 0)

    @property
    def loss_parts(self) -> tuple[str, ...]:
        """L_1 and L_2, and the share of examples that the networks disagree about."""
        return (*super().loss_parts, "disagreement")

    def schedule(self, epoch: int, epochs: int) -> Mapping[str, float]:
        """As of Co-teaching, and whether all examples may be picked."""
        takes_all = float(epoch < self.init_epochs)
        return {**super().schedule(epoch, epochs), "takes_all": takes_all}

    def loss(
        self, outputs: Any, rows: Mapping[str, Tensor], batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """L_1 + L_2; 0 where nothing may be picked."""
        loss, parts = super().loss(outputs, rows, batch)
        differs = ops.cast(predicts_differently(outputs), "float32")
        return loss, {**parts, "disagreement": batch.mean(differs[:, None])[0]}

    def updates(self, outputs: Any, rows: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """Whether there is an example in the batch that may be picked."""
        is_candidate = ops.cast(self._is_candidate(outputs, batch), "float32")
        return batch.mean(is_candidate[:, None])[0] > 0

    def _is_candidate(self, outputs: Any, batch: Batch) -> Tensor:
        takes_all = batch.scheduled["takes_all"] > 0
        return ops.logical_or(predicts_differently(outputs), takes_all)


def predicts_differently(outputs: Any) -> Tensor:
    """Whether two networks predict different classes, bool `(n,)`.

    Args:
        outputs: of both networks.
    """
    first, second = (one.predictions for one in outputs)
    return ops.sum(first * second, axis=-1) < 0.5
