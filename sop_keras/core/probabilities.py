"""Probabilities of a network's outputs, and their logarithms."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops

from sop_keras.core.data_errors import ASSERTION_MARK, DataError

TOLERANCE = 0.02
"""How far a sum of probabilities may be from 1, and one of them below 0.

bfloat16 rounds each by up to 0.4%, all alike where they are equal, float16 by 0.05%.
"""

LOG_FLOOR = 1e-30
"""The floor of a probability whose logarithm is taken where nothing else bounds it.

float32 goes on to 1e-38, but the gradient of the logarithm, 1/p, must not overflow.
"""


def check_probabilities(outputs: Any, is_wanted: Any = True) -> Any:
    """The outputs of a network, if their rows are probabilities.

    NaN is for others to judge: it says nothing of what the network is made to give.

    Args:
        outputs: shape `(n, num_classes)`; in a graph, where the check becomes a part of
            it, or not.
        is_wanted: whether they are to be checked, a bool or a boolean scalar. Defaults
            to `True`.

    Raises:
        ValueError: if an output is negative, or a row does not sum to 1.
    """
    values = ops.cast(outputs, "float32")
    sums, least = ops.sum(values, axis=-1), ops.min(values, axis=-1)
    is_bad = (ops.abs(sums - 1.0) > TOLERANCE) | (least < -TOLERANCE)
    is_bad = ops.logical_and(is_bad, is_wanted)
    before = "The network gives values that are no probabilities: the row "
    after = (
        " is not of numbers in [0, 1] that sum to 1, as from_logits=False says. Pass "
        "from_logits=True if these are logits, or end the network in a softmax."
    )
    if not tf.is_symbolic_tensor(is_bad):
        found = ops.convert_to_numpy(is_bad)
        if found.any():
            row = ops.convert_to_numpy(values)[found.argmax()]
            raise DataError(f"{before}{np.array2string(row, threshold=6)}{after}")
        return outputs

    def describe() -> tf.Tensor:
        row = tf.boolean_mask(values, is_bad)[0]
        return tf.strings.format(before + "{}" + after, row)

    any_bad = tf.reduce_any(is_bad)
    text = tf.cond(any_bad, describe, lambda: tf.constant(""))
    checked = tf.debugging.Assert(~any_bad, [ASSERTION_MARK, text])
    with tf.control_dependencies([checked]):
        return tf.identity(outputs)


def log_probabilities(outputs: Any, from_logits: bool = True) -> Any:
    """Log p of the network's outputs; finite wherever they are.

    Args:
        outputs: shape `(n, num_classes)`.
        from_logits: whether they are logits (True) or probabilities, which count as
            `LOG_FLOOR` at least. Defaults to `True`.
    """
    if from_logits:
        return ops.log_softmax(outputs, axis=-1)
    return ops.log(ops.maximum(outputs, LOG_FLOOR))
