"""Example ids as keys of random draws."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def checked_ids(ids: ArrayLike) -> np.ndarray:
    """`ids` as an int64 array, if each of them can own a draw.

    Args:
        ids: shape `(n,)`, non-negative integers, all different.

    Returns:
        int64 array, shape `(n,)`, in the order given.

    Raises:
        ValueError: if `ids` is not one-dimensional, not of integers, has a negative
            one or the same one twice.
    """
    array = np.asarray(ids)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(
            "`ids` must be a one-dimensional array of integers. Received: dtype "
            f"{array.dtype}, shape {array.shape}. Pass one id an example, such as "
            "np.arange(n)."
        )
    array = array.astype(np.int64)
    if array.size and array.min() < 0:
        raise ValueError(
            f"`ids` must not be negative. Received: {array.min()} among them. Number "
            "the examples from 0."
        )
    distinct, counts = np.unique(array, return_counts=True)
    if len(distinct) < len(array):
        raise ValueError(
            "`ids` must be different from each other: examples of one id would share "
            f"one random draw. Received: id {distinct[counts > 1][0]} "
            f"{counts[counts > 1][0]} times. Give every example its own id."
        )
    return array
