"""How many bytes the file of a model takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from sop_keras.core.disk_rows import rows_on_disk

# What HDF5 adds to the numbers of each variable, generously, and to a file.
_BYTES_PER_VARIABLE = 8_192
_BYTES_PER_FILE = 65_536


def file_size(model: keras.Model, with_rows: bool = True) -> int:
    """At most how many bytes a file of the model, or of its weights, takes.

    Args:
        model: any.
        with_rows: whether rows on disk are in it, which are written beside it before.
            Defaults to `True`.

    These are the variables of the model and of every optimizer among its attributes, or
    in a list or dict that is one: Keras saves them all.
    """
    size = _BYTES_PER_FILE
    rows = rows_on_disk(model) if with_rows else []
    for variable in (*_saved_variables(model), *rows, *rows):
        num_elements = tf.TensorShape(variable.shape).num_elements()
        size += num_elements * tf.as_dtype(variable.dtype).size + _BYTES_PER_VARIABLE
    return size


def _saved_variables(model: keras.Model) -> list[keras.Variable]:
    variables = list(model.variables)
    # Each once, whatever names it has.
    for optimizer in {id(one): one for one in _optimizers(vars(model))}.values():
        variables += optimizer.variables
    return variables


def _optimizers(value: Any) -> Iterator[keras.optimizers.Optimizer]:
    if isinstance(value, keras.optimizers.Optimizer):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _optimizers(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _optimizers(one)
