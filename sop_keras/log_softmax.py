"""The logarithm of softmax for arrays of NumPy; tensors have keras.ops.log_softmax."""

from __future__ import annotations

import numpy as np


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logarithms of the probabilities that logits stand for, in their own type.

    Args:
        logits: shape `(n, K)`; some of a row may be -inf, not all.

    Returns:
        The same shape, at most 0.
    """
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
