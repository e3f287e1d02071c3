"""Looks at what a traced function does to a variable."""

from __future__ import annotations

import keras
import tensorflow as tf


def operations_on(variable: keras.Variable, graph: tf.Graph) -> set[str]:
    """The types of the operations on the variable's resource."""
    resource = variable.value.handle
    (handle,) = (inner for outer, inner in graph.captures if outer is resource)
    return {operation.type for operation in handle.consumers()}
