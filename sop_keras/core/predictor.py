"""The network that predicts, as one that is deployed: of two, the mean of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


def mean_outputs(outputs: Sequence[Any]) -> Any:
    """The mean of outputs of networks, in float32 at least."""
    dtype = _dtype_of_mean(outputs[0].dtype)
    return ops.mean(ops.cast(ops.stack(list(outputs)), dtype), axis=0)


def predicting_network(networks: Sequence[keras.layers.Layer]) -> keras.layers.Layer:
    """The network itself; of two, a `keras.Model` that gives the mean of their outputs.

    It shares their weights, and a file of it needs nothing of this library.

    Args:
        networks: one, or two that take the same inputs, built.
    """
    if len(networks) == 1:
        return networks[0]
    first = networks[0]
    inputs = getattr(first, "input", None) if isinstance(first, keras.Model) else None
    if inputs is None:  # not of layers that were called on keras.Input
        (shape,) = first.get_build_config().values()
        inputs = keras.Input(shape[1:], dtype=first.input_dtype)
    outputs = [
        # In models of their own: both may have the same name.
        keras.Model(inputs, network(inputs), name=f"network_{number}")(inputs)
        for number, network in enumerate(networks, start=1)
    ]
    dtype = _dtype_of_mean(outputs[0].dtype)
    return keras.Model(inputs, keras.layers.Average(dtype=dtype)(outputs))


def _dtype_of_mean(dtype: Any) -> str:
    return keras.backend.result_type(dtype, "float32")
