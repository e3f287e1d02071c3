"""Which examples an epoch has, and in what order."""

from __future__ import annotations

from typing import Any, SupportsIndex

import numpy as np
import tensorflow as tf

from sop_keras.randomness.keyed_tensors import random_bits_tensor


def num_in_epoch(labels: np.ndarray, num_classes: int, examples_per_class: int) -> int:
    """How many examples an epoch has.

    Args:
        labels: the given labels, integers in `[0, num_classes)`, shape `(n,)`.
        num_classes: the number of classes K.
        examples_per_class: how many of each class; 0: all there are.

    Raises:
        ValueError: if a class has fewer.
    """
    if not examples_per_class:
        return len(labels)
    counts = np.bincount(labels, minlength=num_classes)
    if examples_per_class < 0 or counts.min() < examples_per_class:
        raise ValueError(
            "`examples_per_class` must be at most the size of the smallest class, "
            f"here {counts.min()} (class {counts.argmin()}), or 0 for all examples. "
            f"Received: examples_per_class={examples_per_class}."
        )
    return num_classes * examples_per_class


def epoch_order(
    seed: SupportsIndex,
    epoch: Any,
    ids: tf.Tensor,
    labels: tf.Tensor,
    examples_per_class: int = 0,
) -> tf.Tensor:
    """The places of an epoch's examples, shuffled over the whole data set.

    A pure function of its arguments: an example's turn depends on (seed, epoch, id).

    Args:
        seed: an integer in `[0, 2**64)`.
        epoch: int64, a scalar.
        ids: int64 `(n,)`, all different.
        labels: int64 `(n,)`: the given labels.
        examples_per_class: for a class-balanced subset, drawn anew in each epoch, the
            number of examples of every class: those whose turn comes first. Defaults
            to `0`: all examples.

    Returns:
        int32 tensor of places in `ids`, no two alike.
    """
    # Different ids have different bits, so there are no ties to break.
    bits = random_bits_tensor(seed, "epoch_order", epoch, ids)
    order = tf.argsort(bits, stable=True)
    if not examples_per_class:
        return order
    ordered_labels = tf.gather(labels, order)
    by_class = tf.argsort(ordered_labels, stable=True)  # turns, class after class
    sorted_labels = tf.gather(ordered_labels, by_class)
    first = tf.searchsorted(sorted_labels, sorted_labels)
    is_chosen = tf.range(tf.size(order)) - first < examples_per_class
    return tf.gather(order, tf.sort(tf.boolean_mask(by_class, is_chosen)))
