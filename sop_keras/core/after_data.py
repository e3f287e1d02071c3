"""Nothing of a training step runs ahead of its data."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from sop_keras.core.training_data import unpack


def after_data(train_step: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Decorate a `train_step`: it starts when its labels have come.

    What needs no data, like the step counters of optimizers and the seeds of dropout,
    would otherwise move although the checks of the input pipeline refused the batch, or
    there was none left: TensorFlow runs a graph's operations as soon as their own
    inputs are there.
    """

    @functools.wraps(train_step)
    def step(self: Any, data: Any) -> Any:
        _, labels, _, _ = unpack(data)
        with tf.control_dependencies([labels]):
            return train_step(self, data)

    return step
