"""Which examples an epoch has, and in what order."""

from __future__ import annotations

from typing import Any, SupportsIndex

import tensorflow as tf

from sop_keras.randomness.keyed_tensors import random_bits_tensor


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
