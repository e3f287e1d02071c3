"""How large gradients are, for those who watch a training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tensorflow as tf
from keras import ops


def global_norm(gradients: Iterable[Any]) -> Any:
    """The Euclidean norm of all gradients as one vector, a float32 scalar.

    Args:
        gradients: tensors of any shapes; None for a weight that has no part.
    """
    # Those of an embedding come as slices, of which equal rows must be added first.
    dense = [tf.convert_to_tensor(g) for g in gradients if g is not None]
    squares = [ops.sum(ops.square(ops.cast(g, "float32"))) for g in dense]
    return ops.sqrt(sum(squares, start=ops.zeros((), "float32")))


def unscaled(norm: Any, optimizer: Any) -> Any:
    """The norm of gradients of a loss that the optimizer has scaled (float16).

    Args:
        norm: of the gradients of the scaled loss.
        optimizer: a Keras optimizer.
    """
    return norm / optimizer.scale_loss(ops.ones((), "float32"))
