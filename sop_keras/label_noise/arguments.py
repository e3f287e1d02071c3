"""What every kind of label noise asks of its arguments."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from sop_keras.randomness.ids import checked_ids
from sop_keras.validation import check_fraction


def checked_labels(labels: ArrayLike, num_classes: int) -> np.ndarray:
    """`labels` as an int64 array of class numbers.

    Args:
        labels: shape `(n,)`, n at least 1, integers in `[0, num_classes)`.
        num_classes: the number of classes.

    Returns:
        int64 array, shape `(n,)`.

    Raises:
        ValueError: if the shape, the type or a value is not as above.
    """
    array = np.asarray(labels)
    received = f"Received: dtype {array.dtype}, shape {array.shape}"
    if array.ndim != 1 or array.size == 0:
        raise ValueError(
            "`labels` must be a one-dimensional, non-empty array of class numbers. "
            f"{received}. Turn one-hot labels into numbers with "
            "np.argmax(labels, axis=-1) and a column into a vector with np.ravel."
        )
    if array.dtype.kind not in "iu":
        nan = array.dtype.kind == "f" and bool(np.isnan(array).any())
        mend = (
            "Drop the examples that have no label (NaN) first."
            if nan
            else "Cast class numbers to int64, map class names to numbers."
        )
        raise ValueError(f"`labels` must be integers. {received}. {mend}")
    if array.min() < 0 or array.max() >= num_classes:
        raise ValueError(
            f"`labels` must lie in [0, {num_classes}), one value a class. Received: "
            f"labels from {array.min()} to {array.max()}. Number the classes from 0 "
            "and check the number of classes."
        )
    return array.astype(np.int64)


def checked_rate(rate: float) -> float:
    """`rate` as a float, if it is a fraction.

    Raises:
        ValueError: if it is not a number in `[0, 1]`.
    """
    return check_fraction(
        "rate",
        rate,
        meaning="the fraction of labels to redraw",
        mend="Write 20% as 0.2.",
    )


def ids_of_labels(ids: ArrayLike | None, num_labels: int) -> np.ndarray:
    """One id a label, `0 .. num_labels - 1` where none are given.

    Args:
        ids: None, or distinct non-negative integers, shape `(num_labels,)`.
        num_labels: the number of labels.

    Returns:
        int64 array, shape `(num_labels,)`.

    Raises:
        ValueError: if there is not one id a label, or as for `checked_ids`.
    """
    if ids is None:
        return np.arange(num_labels)
    array = checked_ids(ids)
    if len(array) != num_labels:
        raise ValueError(
            "`ids` must hold one id a label. Received: "
            f"{len(array)} ids for {num_labels} labels."
        )
    return array
