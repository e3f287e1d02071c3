"""Copies of networks' weights, kept as variables that no optimizer trains."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


class WeightCopies(keras.layers.Layer):
    """A layer that holds such copies, saved with the model that it is part of.

    Args:
        **kwargs: `name`, as in Keras.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float32", "trainable": False})

    def _copy(self, name: str, variable: keras.Variable) -> keras.Variable:
        value = ops.convert_to_numpy(variable)
        return self.add_weight(
            name=name,
            shape=variable.shape,
            dtype=variable.dtype,
            initializer=lambda shape, dtype=None: ops.convert_to_tensor(value),
            trainable=False,
            autocast=False,
        )
