"""The number of the pass over a tf.data.Dataset, told to every element of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, SupportsIndex

import tensorflow as tf

from sop_keras.validation import check_integer


def with_epoch(
    dataset: tf.data.Dataset, initial_epoch: SupportsIndex = 0
) -> tf.data.Dataset:
    """Tell every element which pass over `dataset` it belongs to.

    Views that are drawn by (seed, epoch, id) need the epoch in the pipeline, which
    Keras does not tell it. Here every new iteration counts one up: each epoch of `fit`,
    or each turn of a `repeat` that follows.

    ```python
    dataset = with_epoch(with_index(dataset).shuffle(50_000).batch(128))
    dataset = dataset.map(TwoViews(UDA()), num_parallel_calls=tf.data.AUTOTUNE)
    model.fit(dataset.prefetch(1), epochs=300)
    ```

    With `steps_per_epoch` below the cardinality, a pass is not an epoch: Keras goes on
    in the pass that it left, and the number counts passes.

    Counting starts when the data set is made, so a training that is resumed at epoch k
    says so twice: `with_epoch(dataset, initial_epoch=k)` and
    `fit(..., initial_epoch=k)`. Whatever iterates counts, a look at
    `next(iter(dataset))` too: look at another data set, or make this one anew.

    Args:
        dataset: a tf.data.Dataset of `(x, y)` or `(x, y, sample_weight)`, where y is a
            dict, as `with_index` gives it; it must end. Batch it before, so that the
            epoch is one number for the batch.
        initial_epoch: the number of the first pass, not negative. Defaults to `0`.

    Returns:
        A data set of the same elements and cardinality, whose y has the entry
        `"epoch"`, an int64 scalar.

    Raises:
        ValueError: if `dataset` is endless or gives other elements, y has an epoch
            already, or `initial_epoch` is negative or not an integer.
    """
    first = check_integer("initial_epoch", initial_epoch, 0, meaning="as in Keras' fit")
    _check_dataset(dataset)
    # On the CPU: input pipelines cannot reach what is on a GPU.
    with tf.device("CPU"):
        current = tf.Variable(first - 1, dtype=tf.int64, trainable=False)

    def one_pass(epoch: tf.Tensor) -> tf.data.Dataset:
        def add_epoch(x: Any, y: Mapping[str, Any], *sample_weight: Any) -> Any:
            return (x, {**y, "epoch": epoch}, *sample_weight)

        return dataset.map(add_epoch)

    # One element, an int64 1: each iteration makes it, and adds it.
    epochs = tf.data.Dataset.range(1, 2).map(current.assign_add)
    numbered = epochs.flat_map(one_pass)
    cardinality = dataset.cardinality()
    if cardinality == tf.data.UNKNOWN_CARDINALITY:
        return numbered
    return numbered.apply(tf.data.experimental.assert_cardinality(cardinality))


def _check_dataset(dataset: tf.data.Dataset) -> None:
    if not isinstance(dataset, tf.data.Dataset):
        raise ValueError(
            f"with_epoch wraps a tf.data.Dataset. Received: {type(dataset).__name__}."
        )
    spec = dataset.element_spec
    if not (
        isinstance(spec, tuple) and len(spec) in (2, 3) and isinstance(spec[1], Mapping)
    ):
        raise ValueError(
            'with_epoch needs elements (x, {"label": y, "index": i}[, sample_weight]). '
            "Use with_epoch(with_index(dataset).batch(...)), in this order. Received "
            f"elements of: {spec}"
        )
    if "epoch" in spec[1]:
        raise ValueError(
            'y has an "epoch" already. Call with_epoch once, or name the entry '
            f"otherwise. Received y with the keys {sorted(spec[1])}."
        )
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError(
            "with_epoch needs a data set that ends: an endless one is never begun "
            "again. Use with_epoch(dataset).repeat(), in this order."
        )
