"""Which examples a batch was made of."""

from __future__ import annotations

from typing import SupportsIndex

import numpy as np
import tensorflow as tf

from sop_keras.data.batches.epoch_order import epoch_order
from sop_keras.data.batches.epoch_size import num_in_epoch
from sop_keras.data.batches.pipelines import steps_per_epoch
from sop_keras.data.datasets.dataset import Dataset, Examples


def batch_ids(
    examples: Examples,
    dataset: Dataset,
    *,
    batch_size: int,
    seed: SupportsIndex,
    epoch: int,
    step: int,
    num_steps: int = 1,
    examples_per_class: int = 0,
) -> np.ndarray:
    """The ids of batches that `training_batches` gave, without making them again.

    For reports of what went wrong in a step. Images that could not be read are among
    them, and examples that stood in for those are not.

    Args:
        examples: as given to `training_batches`.
        dataset: likewise.
        batch_size: likewise.
        seed: likewise.
        epoch: the epoch, counted from 0.
        step: the first of the batches, counted from 0 in the epoch.
        num_steps: how many batches of the epoch. Defaults to `1`.
        examples_per_class: as given to `training_batches`. Defaults to `0`.

    Returns:
        int64 array, the ids of one whole batch after the other.

    Raises:
        ValueError: if the epoch has no such batches, or an argument is out of range.
    """
    num_examples = num_in_epoch(
        examples.labels, dataset.num_classes, examples_per_class
    )
    steps = steps_per_epoch(num_examples, batch_size)
    if not (epoch >= 0 and step >= 0 and 1 <= num_steps <= steps - step):
        raise ValueError(
            f"An epoch has {steps} batches, from 0 to {steps - 1}; at least one of "
            f"them must be asked for, and none beyond. Received: epoch={epoch}, step="
            f"{step}, num_steps={num_steps}. Epochs and steps count from 0."
        )
    with tf.device("CPU"):
        order = epoch_order(
            seed,
            tf.constant(epoch, tf.int64),
            tf.constant(examples.ids, tf.int64),
            tf.constant(examples.labels, tf.int64),
            examples_per_class,
        )
    begin, end = step * batch_size, (step + num_steps) * batch_size
    return examples.ids[order.numpy()[begin:end]].astype(np.int64)
