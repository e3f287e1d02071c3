"""Pieces of pipelines that need nothing but TensorFlow."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

BATCHES_AT_ONCE = 16
"""How many batches are worked on at most: all of them wait in memory when done."""

BATCHES_READY = 2
"""How many batches wait to be asked for."""


def in_parallel(
    pipeline: tf.data.Dataset, function: Callable[..., Any]
) -> tf.data.Dataset:
    """The data set through a function of tensors, a batch on each core at a time."""
    at_once = min(os.cpu_count() or 1, BATCHES_AT_ONCE)
    pipeline = pipeline.map(function, num_parallel_calls=at_once, deterministic=True)
    return without_autotuning(pipeline.prefetch(BATCHES_READY))


def without_autotuning(pipeline: tf.data.Dataset) -> tf.data.Dataset:
    """The data set, which nothing tunes, and whose iterators end at once.

    TensorFlow wakes the thread that tunes before it says that the iterator is cancelled
    (`CancellationManager::StartCancel`, `Model::OptimizeLoop`; TensorFlow 2.21). A
    thread that looks too early sleeps on, and the end of the epoch, or of `evaluate`,
    waits for it: until 2.55 s, 5.11 s, 10.23 s and so on after its beginning, by a
    minute at most.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return pipeline.with_options(options)


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
