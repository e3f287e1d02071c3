"""Pieces of pipelines that need nothing but TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf


def in_parallel(
    pipeline: tf.data.Dataset, function: Callable[..., Any]
) -> tf.data.Dataset:
    """The data set through a function of tensors, several batches at a time."""
    pipeline = pipeline.map(
        function, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    return pipeline.prefetch(tf.data.AUTOTUNE)


def with_cardinality(pipeline: tf.data.Dataset, num_elements: int) -> tf.data.Dataset:
    """The data set, which is known to have so many elements."""
    return pipeline.apply(tf.data.experimental.assert_cardinality(num_elements))


def numbered_places(
    numbers: Sequence[int], places: Sequence[np.ndarray]
) -> tf.data.Dataset:
    """A data set of the number and the places of each batch, int64."""
    sizes = [len(one) for one in places]
    ends = np.cumsum(sizes, dtype=np.int64)
    with tf.device("CPU"):
        of_all = tf.constant(np.concatenate(places), tf.int64)
    bounds = (np.array(numbers, np.int64), ends - sizes, ends)
    return tf.data.Dataset.from_tensor_slices(bounds).map(
        lambda number, begin, end: (number, of_all[begin:end])
    )
