"""Probabilities of a network's outputs, and their logarithms."""

from __future__ import annotations

from typing import Any

from keras import ops

LOG_FLOOR = 1e-30
"""The floor of a probability whose logarithm is taken where nothing else bounds it.

float32 goes on to 1e-38, but the gradient of the logarithm, 1/p, must not overflow.
"""


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
