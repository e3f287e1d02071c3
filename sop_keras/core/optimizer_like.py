"""Another optimizer like one that there is."""

from __future__ import annotations

import warnings
from typing import Any

import keras


def optimizer_like(optimizer: keras.optimizers.Optimizer) -> Any:
    """A new optimizer of the same kind and settings, without its state.

    A schedule or a callable that gives the learning rate is the same object: Keras'
    configs can bring back only those that are registered with it, and no lambda.

    Args:
        optimizer: of Keras, also one that scales the loss.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a lambda, which is kept here
        kind, config = type(optimizer), optimizer.get_config()
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        del config["inner_optimizer"]
        return kind(optimizer_like(optimizer.inner_optimizer), **config)
    rate = optimizer._learning_rate
    if not isinstance(rate, keras.Variable):
        config["learning_rate"] = rate
    return kind.from_config(config)


def set_rate(optimizer: Any) -> float | None:
    """The learning rate, where it is a number that callbacks may set; else None."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    rate = inner._learning_rate
    if not isinstance(rate, keras.Variable):
        return None
    return float(keras.ops.convert_to_numpy(rate))
