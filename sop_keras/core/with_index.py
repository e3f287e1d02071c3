"""Stable ids for the examples of a tf.data.Dataset."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np
import tensorflow as tf

# Examples read, twice, to see whether they come in the same order.
_PEEK = 32


def with_index(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Give every example its position in `dataset` as its id.

    Ids are given before shuffle, repeat and batch, because an example must own the same
    row of the noise table in every epoch:

    ```python
    model.fit(with_index(dataset).shuffle(50_000).batch(128))
    ```

    Args:
        dataset: an unbatched tf.data.Dataset of `(x, y)` or `(x, y, sample_weight)`
            that gives the same examples in the same order on every pass. Its first 32
            examples are read twice to see whether it does: other labels are an error,
            other inputs under the same labels (a random augmentation, or the shuffled
            examples of a class) a warning.

    Returns:
        A data set of `(x, {"label": y, "index": i}[, sample_weight])`, i int64 from 0.

    Raises:
        ValueError: if the data set is batched, endless, not in a fixed order, or gives
            other elements.
    """
    if not isinstance(dataset, tf.data.Dataset):
        raise ValueError(
            "with_index wraps an unbatched tf.data.Dataset. Received: "
            f"{type(dataset).__name__}. Arrays need no wrapping: fit(x, y)."
        )
    spec = dataset.element_spec
    if not isinstance(spec, tuple) or len(spec) not in (2, 3):
        raise ValueError(
            "with_index needs elements (x, y) or (x, y, sample_weight). Received "
            f"elements of: {spec}"
        )
    if isinstance(spec[1], dict):
        raise ValueError(
            "with_index needs plain labels as y. Received a dict with the keys "
            f"{sorted(spec[1])}."
        )
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError(
            "with_index needs a data set that ends: an endless one has no fixed number "
            "of examples. Use with_index(dataset).repeat(), in this order."
        )
    inputs, labels = _first_examples(dataset)
    if _looks_batched(spec, labels):
        raise ValueError(
            "with_index needs single examples, but the data set looks batched: y has "
            f"the shape {spec[1].shape}. Use with_index(dataset).batch(...), in this "
            "order, or dataset.unbatch() first."
        )
    inputs_again, labels_again = _first_examples(dataset)
    if not _equal(labels, labels_again):
        raise ValueError(
            "with_index needs a fixed order, but the data set gave other labels on a "
            "second pass: an id would belong to another example every epoch. Use "
            "with_index(dataset).shuffle(...), in this order; with tfds.load, pass "
            "shuffle_files=False."
        )
    if not _equal(inputs, inputs_again):
        warnings.warn(
            "with_index found other inputs on a second pass. If that is a random "
            "augmentation, map it after with_index to be rid of this warning; if the "
            "data set is shuffled, every id belongs to another example each epoch, and "
            "the training is meaningless: use with_index(dataset).shuffle(...).",
            stacklevel=2,
        )

    def number(index: tf.Tensor, element: tuple[Any, ...]) -> tuple[Any, ...]:
        x, y, *sample_weight = element
        return (x, {"label": y, "index": index}, *sample_weight)

    return dataset.enumerate().map(number, num_parallel_calls=tf.data.AUTOTUNE)


def _first_examples(
    dataset: tf.data.Dataset,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The arrays of the first inputs, and the first labels."""
    inputs, labels = [], []
    for x, y, *_ in dataset.take(_PEEK).as_numpy_iterator():
        inputs += [np.asarray(array) for array in keras.tree.flatten(x)]
        labels.append(np.asarray(y))
    return inputs, labels


def _equal(arrays: list[np.ndarray], others: list[np.ndarray]) -> bool:
    def same(one: np.ndarray, other: np.ndarray) -> bool:
        if one.dtype == object:
            return bool(np.array_equal(one, other))
        # As bytes: NaN, which `fit` names as a bad label, equals itself.
        return one.tobytes() == other.tobytes()

    return len(arrays) == len(others) and all(map(same, arrays, others))


def _looks_batched(spec: tuple[Any, ...], labels: list[np.ndarray]) -> bool:
    """Whether elements share a leading dimension that is no one-hot label's."""
    shapes = [leaf.shape for leaf in keras.tree.flatten(spec)]
    if any(shape.rank == 0 for shape in shapes):
        return False
    label_shape = spec[1].shape
    if label_shape.rank is None or label_shape.rank > 1 or label_shape[0] is None:
        return label_shape.rank is not None
    if any(shape.rank is None or shape[0] != label_shape[0] for shape in shapes):
        return False
    return not all(label.sum() == 1 and (label != 0).sum() == 1 for label in labels)
