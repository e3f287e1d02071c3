"""From examples to the batches that Keras trains and evaluates on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, SupportsIndex

import numpy as np
import tensorflow as tf

from sop_keras.augment.keyed_views import view_seeds
from sop_keras.augment.standardize import standardize
from sop_keras.data.batches.crop_loader import CropLoader
from sop_keras.data.batches.epoch_order import epoch_order
from sop_keras.data.batches.epoch_size import num_in_epoch
from sop_keras.data.batches.pipeline_parts import (
    BATCHES_AHEAD,
    DECODED_AHEAD,
    check_range,
    resized_crops,
    trained_on,
)
from sop_keras.data.batches.shards import WHOLE_BATCHES, BatchShards
from sop_keras.data.batches.tensors import in_parallel, with_cardinality
from sop_keras.data.datasets.dataset import Dataset, Examples
from sop_keras.data.images.bad_images import BadImages
from sop_keras.data.images.encoded_images import EncodedImages
from sop_keras.validation import check_integer


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
    """How many batches an epoch has; the last one may be smaller.

    Args:
        num_examples: the number of examples trained on, at least 1.
        batch_size: the number of examples in a batch, at least 1.

    Raises:
        ValueError: if there are no examples or `batch_size` is less than 1.
    """
    if num_examples < 1:
        raise ValueError(
            f"There must be examples to batch. Received: {num_examples} of them. Check "
            "the split or subset they come from."
        )
    return -(-num_examples // check_integer("batch_size", batch_size, 1))


def training_batches(
    examples: Examples,
    dataset: Dataset,
    *,
    batch_size: int,
    epochs: int,
    seed: SupportsIndex,
    initial_epoch: int = 0,
    initial_step: int = 0,
    augment: str = "weak",
    strong_augment: str | None = None,
    examples_per_class: int = 0,
    bad_images: BadImages | None = None,
    shards: BatchShards = WHOLE_BATCHES,
) -> tf.data.Dataset:
    """Shuffled, augmented, standardised batches of several epochs in a row.

    The epochs follow each other in one data set, so that nothing stalls where they
    meet. An epoch's order and an example's view depend on (seed, epoch, id) alone: a
    run that starts at a step of an epoch gets exactly the batches that a run from the
    beginning gets from there on.

        train = training_batches(
            dataset.train, dataset, batch_size=128, epochs=120, seed=0
        )
        model.fit(
            train,
            epochs=120,
            steps_per_epoch=steps_per_epoch(len(dataset.train), 128),
            shuffle=False,
        )

    `shuffle=False` keeps Keras from warning that it does not shuffle a data set.

    With `strong_augment`, every example comes as a pair of views, as SOP+ needs them.
    The strong one is drawn with another seed, as `view_seeds` says: the views of a pair
    are independent whatever the two augmentations are, and the first is the view that a
    run without pairs sees.

    Encoded images are read, decoded and cut to crops at random places here, a batch
    on each core at a time, so that memory does not grow with the data set. Those that
    cannot be read are left out of their batch; a batch (or a shard of one) of nothing
    else gets one example from elsewhere, so that the number of batches is always the
    same.

    Args:
        examples: what to train on, such as `dataset.train`, some of it, or the same
            under noisy labels.
        dataset: the data set that they are from, for its means, standard deviations
            and ranges of ids and labels.
        batch_size: the number of examples in a batch. The last batch of an epoch holds
            what is left.
        epochs: the epoch to stop before, as in Keras' `fit`.
        seed: an integer in `[0, 2**64)` that order and augmentation are drawn from.
        initial_epoch: the epoch to start at, in `[0, epochs]`. Defaults to `0`.
        initial_step: how many batches of that epoch to leave out, in
            `[0, steps_per_epoch)`. Defaults to `0`.
        augment: a key of `sop_keras.augment.names.AUGMENTATIONS`. Defaults to `"weak"`.
        strong_augment: another such key, for the second view of a pair. Defaults to
            `None`: no pairs.
        examples_per_class: how many examples of each given class an epoch has, drawn
            anew for each epoch. Defaults to `0`: all examples.
        bad_images: what images that cannot be read are reported to. Defaults to
            `None`: they are an error.
        shards: the shards of every batch that are given, one after another, in place of
            the batch. Defaults to `BatchShards()`: whole batches.

    Returns:
        A data set of `(images, {"label": labels, "index": ids})`: float32 of shape
        `(batch_size, height, width, channels)` and two int64 of shape `(batch_size,)`;
        `epochs - initial_epoch` times `steps_per_epoch` batches, less `initial_step`.
        With `strong_augment`, `images` is the pair `(weak, strong)` of two such
        tensors. With `shards`, every batch is `shards.count` elements, maybe empty
        ones.

    Raises:
        ValueError: if there are no examples, an id or a label is out of the data set's
            range, or an argument is.
    """
    steps = steps_per_epoch(
        num_in_epoch(examples.labels, dataset.num_classes, examples_per_class),
        batch_size,
    )
    if not 0 <= initial_epoch <= epochs:
        raise ValueError(
            "`initial_epoch` must be from 0 to `epochs`. Received: "
            f"initial_epoch={initial_epoch}, epochs={epochs}. `epochs` counts from 0, "
            "not from `initial_epoch`."
        )
    if not 0 <= initial_step < (steps if initial_epoch < epochs else 1):
        raise ValueError(
            f"`initial_step` must be from 0 to {steps - 1}, as an epoch has {steps} "
            f"batches, and 0 where no epoch is left. Received: initial_step="
            f"{initial_step}, initial_epoch={initial_epoch}, epochs={epochs}. After "
            "the last batch of an epoch, start at step 0 of the next."
        )
    names = [augment] if strong_augment is None else [augment, strong_augment]
    training_batch = trained_on(examples, dataset, names, seed)
    with tf.device("CPU"):
        labels = tf.constant(examples.labels, tf.int64)
        ids = tf.constant(examples.ids, tf.int64)

    def order_of(epoch: Any) -> tf.Tensor:
        return epoch_order(seed, epoch, ids, labels, examples_per_class)

    if isinstance(examples.images, EncodedImages):
        loader = CropLoader(
            examples,
            "train",
            bad_images or BadImages(),
            view_seeds(seed, len(names)),
            _positions_in_epochs(order_of, batch_size, steps, shards),
            never_empty=True,
            ahead=BATCHES_AHEAD * shards.count,
            is_resized=resized_crops(names),
        )
        first_step = initial_epoch * steps + initial_step
        pipeline = loader.pipeline(
            first_step * shards.count, epochs * steps * shards.count
        )
        # In turn: under op determinism TensorFlow would complain, and then do the same.
        pipeline = pipeline.map(training_batch).prefetch(DECODED_AHEAD * shards.count)
    else:
        pipeline = _epochs_of_arrays(
            examples,
            range(initial_epoch, epochs),
            order_of,
            batch_size,
            shards,
            num_views=len(names),
            first_step=initial_step,
        )
        pipeline = in_parallel(pipeline, training_batch)
    num_batches = steps * (epochs - initial_epoch) - initial_step
    return with_cardinality(pipeline, num_batches * shards.count)


def evaluation_batches(
    examples: Examples,
    dataset: Dataset,
    *,
    batch_size: int | None = None,
    split: str = "test",
    bad_images: BadImages | None = None,
    with_positions: bool = False,
    shards: BatchShards = WHOLE_BATCHES,
) -> tf.data.Dataset:
    """Standardised batches in the order of `examples`, for `evaluate` and `predict`.

    Args:
        examples: what to evaluate, such as `dataset.test`.
        dataset: the data set that they are from, for its means, standard deviations
            and range of labels.
        batch_size: the number of examples in a batch; the last one may be smaller, and
            so are those with images that cannot be read. Defaults to `None`: 500, or 64
            for encoded images.
        split: what to call the examples in reports of bad images. Defaults to
            `"test"`.
        bad_images: what images that cannot be read are reported to. Defaults to
            `None`: they are an error.
        with_positions: whether to give places in `examples` in place of labels.
            Defaults to `False`.
        shards: the shards of every batch that are given, one after another, in place of
            the batch. Defaults to `BatchShards()`: whole batches.

    Returns:
        A data set of `(images, labels)`: float32 of shape `(batch_size, height, width,
        channels)` and int64 of shape `(batch_size,)`. Whole batches are never empty.
        With `shards`, every batch is `shards.count` elements, maybe empty ones, so that
        all pipelines give the same number of them.

    Raises:
        ValueError: if there are no examples, a label is out of the data set's range, or
            `batch_size` is less than 1.
    """
    is_encoded = isinstance(examples.images, EncodedImages)
    if batch_size is None:
        batch_size = 64 if is_encoded else 500
    steps = steps_per_epoch(len(examples), batch_size)
    check_range("labels", examples.labels, dataset.num_classes)
    with tf.device("CPU"):
        labels = tf.constant(examples.labels, tf.int64)

    def evaluation_batch(
        epoch: tf.Tensor, originals: tuple[tf.Tensor], positions: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        (images,) = originals
        targets = positions if with_positions else tf.gather(labels, positions)
        return standardize(images, dataset.mean, dataset.std), targets

    def in_order(epoch: Any) -> tf.Tensor:
        return tf.range(len(examples))

    if not is_encoded:
        pipeline = _epochs_of_arrays(examples, range(1), in_order, batch_size, shards)
        pipeline = in_parallel(pipeline, evaluation_batch)
        return with_cardinality(pipeline, steps * shards.count)
    loader = CropLoader(
        examples,
        split,
        bad_images or BadImages(),
        [None],
        _positions_in_epochs(in_order, batch_size, steps, shards),
        never_empty=False,
        ahead=BATCHES_AHEAD * shards.count,
    )
    pipeline = loader.pipeline(0, steps * shards.count).map(evaluation_batch)
    if shards.of == 1:
        pipeline = pipeline.filter(lambda images, targets: tf.size(targets) > 0)
    return pipeline.prefetch(DECODED_AHEAD * shards.count)


def _positions_in_epochs(
    order_of: Callable[[Any], tf.Tensor],
    batch_size: int,
    steps: int,
    shards: BatchShards,
) -> Callable[[int], tuple[int, np.ndarray]]:
    """Epoch and positions of a shard, by its place in the shards of all epochs."""

    # Batches are begun ahead: at the end of an epoch two orders are in use.
    @functools.lru_cache(maxsize=2)
    def order(epoch: int) -> np.ndarray:
        with tf.device("CPU"):
            return order_of(tf.constant(epoch, tf.int64)).numpy()

    def positions_of(place: int) -> tuple[int, np.ndarray]:
        step, place = divmod(place, shards.count)
        epoch, step = divmod(step, steps)
        batch = order(epoch)[step * batch_size : (step + 1) * batch_size]
        begin, end = shards.bounds(len(batch), shards.numbers[place])
        return epoch, batch[begin:end]

    return positions_of


def _epochs_of_arrays(
    examples: Examples,
    epochs: range,
    order_of: Callable[[Any], tf.Tensor],
    batch_size: int,
    shards: BatchShards,
    *,
    num_views: int = 1,
    first_step: int = 0,
) -> tf.data.Dataset:
    """As `CropLoader.pipeline`, of images in memory: every view is the image."""
    with tf.device("CPU"):
        images = tf.constant(examples.images)

    def epoch_positions(epoch: tf.Tensor, order: tf.Tensor) -> tf.data.Dataset:
        positions = tf.data.Dataset.from_tensor_slices(order).batch(batch_size)
        return positions.map(lambda batch: (epoch, batch))

    def in_shards(epoch: tf.Tensor, batch: tf.Tensor) -> tf.data.Dataset:
        def positions(shard: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            begin, end = shards.bounds(tf.size(batch, tf.int64), shard)
            return epoch, batch[begin:end]

        return tf.data.Dataset.range(shards.numbers.start, shards.numbers.stop).map(
            positions
        )

    def originals(
        epoch: tf.Tensor, positions: tf.Tensor
    ) -> tuple[tf.Tensor, tuple[tf.Tensor, ...], tf.Tensor]:
        return epoch, (tf.gather(images, positions),) * num_views, positions

    pipeline = tf.data.Dataset.range(epochs.start, epochs.stop)
    # The order of the next epoch is drawn while this one is trained on.
    pipeline = pipeline.map(lambda epoch: (epoch, order_of(epoch))).prefetch(1)
    pipeline = pipeline.flat_map(epoch_positions)
    if first_step:
        pipeline = pipeline.skip(first_step)
    if shards.of > 1:
        pipeline = pipeline.flat_map(in_shards)
    return in_parallel(pipeline, originals)
