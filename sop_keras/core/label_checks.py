"""Checks of labels, ids and weights, before anything is trained on them.

They run on the host, on whole arrays or in the input pipeline, and never in the
training step alone: XLA drops assertions and clamps out-of-range gathers, so that a
wrong id would silently train another example's row. Every check takes arrays (NumPy, or
whatever NumPy can read) as well as the symbolic tensors of `tf.data.Dataset.map`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sop_keras.core.data_errors import ASSERTION_MARK, DataError

INDEX_HELP = (
    "An index is an example's row in the noise table, an integer in [0, num_examples). "
    "Build the model with num_examples = the number of training examples."
)
LABEL_HELP = (
    "Labels are integers in [0, num_classes), or one-hot rows of num_classes entries."
)
TEXT_HELP = (
    "Number the classes: names, labels = np.unique(y, return_inverse=True); label i "
    "then is the class names[i]. The labels of other data must be numbered alike: "
    "np.searchsorted(names, y_test)."
)
SOFT_HELP = (
    "Every row of one-hot labels must hold a single 1 and zeros; soft labels have no "
    "place in s = u*u*y - v*v*(1-y). Pass the most likely class instead."
)


def check_indices(indices: Any, num_examples: int) -> Any:
    """Ids as int64, shape `(n,)`, all in `[0, num_examples)`.

    Raises:
        ValueError: for another dtype or rank, or an id out of range.
    """
    indices = _array(indices)
    if not np.issubdtype(_dtype(indices), np.integer):
        raise DataError(
            "The index must be of an integer dtype. Received: "
            f"{_dtype(indices).name}. {INDEX_HELP}"
        )
    if _rank("The index", indices) != 1:
        raise DataError(
            "The index must have one entry an example, shape (batch_size,). Received "
            f"shape {tuple(indices.shape)}."
        )
    # Compared before the cast, which would turn a huge uint64 into a negative number.
    outside = (indices < 0) | (indices > num_examples - 1)
    indices = _refuse(
        outside,
        indices,
        lambda bad: ("Index ", bad, f" is outside [0, {num_examples}). {INDEX_HELP}"),
    )
    return _cast(indices, "int64")


def check_labels(labels: Any, num_classes: int) -> Any:
    """Labels: int64 `(n,)`, or float32 `(n, num_classes)` if they are one-hot.

    Raises:
        ValueError: for NaN, fractions, labels out of range, soft labels, other shapes.
    """
    labels = _array(labels)
    if _is_text(labels):
        raise DataError(f"Labels are text. {TEXT_HELP}")
    if _dtype(labels).kind not in "iufb":
        raise DataError(
            f"Labels of dtype {_dtype(labels).name} are not numbers. {LABEL_HELP}"
        )
    rank, xp = _rank("The label", labels), _module(labels)
    if rank == 2 and labels.shape[1] == num_classes:
        labels = _cast(labels, "float32")
        is_binary = xp.all((labels == 0) | (labels == 1), axis=1)
        return _refuse(
            ~(is_binary & (xp.sum(labels, axis=1) == 1)),
            labels,
            lambda bad: ("The label row ", bad, f" is not one-hot. {SOFT_HELP}"),
        )
    if rank != 1 and not (rank == 2 and labels.shape[1] == 1):
        raise DataError(
            f"Labels of shape {tuple(labels.shape)} do not fit "
            f"num_classes={num_classes}. {LABEL_HELP}"
        )
    labels = xp.reshape(labels, (-1,))
    as_float = _cast(labels, "float64")
    is_class = (as_float >= 0) & (as_float < num_classes)
    is_class = is_class & (as_float == xp.floor(as_float))
    labels = _refuse(
        ~is_class,
        labels,
        lambda bad: ("Label ", bad, f" is not in [0, {num_classes}). {LABEL_HELP}"),
    )
    return _cast(labels, "int64")


def check_sample_weight(sample_weight: Any) -> Any:
    """Sample weights as float32, shape `(n,)`, from `(n,)` or `(n, 1)`.

    Raises:
        ValueError: for another shape, or a weight that is negative or not finite.
    """
    weights = _array(sample_weight)
    rank, xp = _rank("The sample weight", weights), _module(weights)
    if _dtype(weights).kind not in "iufb" or not (
        rank == 1 or (rank == 2 and weights.shape[1] == 1)
    ):
        raise DataError(
            "The sample weight must be one number an example. Received: "
            f"{_dtype(weights).name} of shape {tuple(weights.shape)}."
        )
    weights = _cast(xp.reshape(weights, (-1,)), "float32")
    return _refuse(
        ~(xp.isfinite(weights) & (weights >= 0)),
        weights,
        lambda bad: (
            "Sample weight ",
            bad,
            " is negative or not finite. Give an example the weight 0 to leave it out.",
        ),
    )


def check_sizes(labels: Any, others: Any, may_be_empty: bool = False) -> Any:
    """The labels, if there are as many of everything else, and at least one.

    Args:
        labels: checked labels, an entry an example.
        others: arrays in any structure: inputs, ids, weights.
        may_be_empty: whether 0 will do, as for a replica's part of a small batch.
            Defaults to `False`.

    Raises:
        ValueError: if the lengths differ, or are 0.
    """
    # What has no length is not for here to judge: Keras does.
    leaves = [leaf for leaf in keras.tree.flatten(others) if hasattr(leaf, "shape")]
    symbolic = tf.is_symbolic_tensor(labels)
    found = [
        tf.shape(array, tf.int64)[0] if symbolic else array.shape[0]
        for array in (labels, *leaves)
    ]
    lengths = tf.stack(found) if symbolic else np.array(found)
    is_bad = lengths != lengths[0]
    if not may_be_empty:
        is_bad |= lengths == 0
    lengths = _refuse(
        _module(labels).any(is_bad, keepdims=True),
        lengths[None],
        lambda bad: (
            "There must be as many inputs, indices and sample weights as labels, and "
            "at least one. Received the lengths ",
            bad,
            ".",
        ),
    )
    if not symbolic:
        return labels
    with tf.control_dependencies([lengths]):
        return tf.identity(labels)


def weights_of_classes(labels: Any, table: np.ndarray) -> Any:
    """The class weight of every (checked) label, shape `(n,)`."""
    xp = _module(labels)
    return xp.take(
        table, xp.argmax(labels, axis=-1) if len(labels.shape) == 2 else labels
    )


def _array(values: Any) -> Any:
    return values if tf.is_symbolic_tensor(values) else np.asarray(values)


def _is_text(values: Any) -> bool:
    kind = _dtype(values).kind
    if kind != "O":
        return kind in "US"
    if tf.is_symbolic_tensor(values):
        return True  # what tf.string is as a NumPy dtype
    return any(isinstance(value, (str, bytes)) for value in values.ravel())


def _module(values: Any) -> Any:
    """Where the functions for these values are: their names agree with NumPy's."""
    return keras.ops if tf.is_symbolic_tensor(values) else np


def _cast(values: Any, dtype: str) -> Any:
    if tf.is_symbolic_tensor(values):
        return tf.cast(values, dtype)
    return values.astype(dtype)


def _dtype(values: Any) -> np.dtype:
    dtype = values.dtype
    return np.dtype(getattr(dtype, "as_numpy_dtype", dtype))


def _rank(what: str, values: Any) -> int:
    if isinstance(values.shape, tf.TensorShape) and values.shape.rank is None:
        raise DataError(
            f"{what} has an unknown rank. Give its shape in the pipeline: "
            "tf.ensure_shape(tensor, [None])."
        )
    rank = len(values.shape)
    if rank == 0:
        raise DataError(
            f"{what} is a single number, so the data come example by example. Batch "
            "them: dataset.batch(128)."
        )
    return rank


def _refuse(
    is_bad: Any, values: Any, message: Callable[[Any], tuple[str, Any, str]]
) -> Any:
    """The values, unless one is bad: then an error about the first bad one."""
    if not tf.is_symbolic_tensor(values):
        if is_bad.any():
            before, bad, after = message(values[is_bad][0])
            raise DataError(before + np.array2string(bad, threshold=6) + after)
        return values

    def describe() -> tf.Tensor:
        before, bad, after = message(tf.boolean_mask(values, is_bad)[0])
        return tf.strings.format(before + "{}" + after, bad)

    any_bad = tf.reduce_any(is_bad)
    text = tf.cond(any_bad, describe, lambda: tf.constant(""))
    checked = tf.debugging.Assert(~any_bad, [ASSERTION_MARK, text])
    with tf.control_dependencies([checked]):
        return tf.identity(values)
