"""From examples to the batches that Keras trains and evaluates on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, SupportsIndex

import numpy as np
import tensorflow as tf

from sop_keras.augment import standardize
from sop_keras.augment.named import augmentation
from sop_keras.data.bad_images import BadImages
from sop_keras.data.encoded_images import EncodedImages
from sop_keras.data.epoch_order import epoch_order, num_in_epoch
from sop_keras.data.source import Examples, Source
from sop_keras.data.windows import WindowLoader
from sop_keras.randomness.keyed import random_bits

# How many finished batches of encoded images wait: AUTOTUNE would keep half of the
# memory full of them, at half a megabyte an image.
_DECODED_AHEAD = 2


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
    if batch_size < 1:
        raise ValueError(
            f"`batch_size` must be at least 1. Received: batch_size={batch_size}."
        )
    return -(-num_examples // batch_size)


def training_batches(
    examples: Examples,
    source: Source,
    *,
    batch_size: int,
    epochs: int,
    seed: SupportsIndex,
    initial_epoch: int = 0,
    augment: str = "weak",
    strong_augment: str | None = None,
    examples_per_class: int = 0,
    bad_images: BadImages | None = None,
) -> tf.data.Dataset:
    """Shuffled, augmented, standardised batches of several epochs in a row.

    The epochs follow each other in one data set, so that nothing stalls where they
    meet. An epoch's order and an example's view depend on (seed, epoch, id) alone: a
    run that starts at epoch k gets exactly the batches that a run from 0 gets from
    epoch k on.

        train = training_batches(
            source.train, source, batch_size=128, epochs=120, seed=0
        )
        model.fit(
            train,
            epochs=120,
            steps_per_epoch=steps_per_epoch(len(source.train), 128),
            shuffle=False,
        )

    `shuffle=False` keeps Keras from warning that it does not shuffle a data set.

    With `strong_augment`, every example comes as a pair of views, as SOP+ needs them.
    The strong one is drawn with another seed, `random_bits(seed, "strong_view")`: the
    views of a pair are independent whatever the two augmentations are, and the first is
    the view that a run without pairs sees.

    Encoded images are read, decoded and cut to windows at random places here, a batch
    on each core at a time, so that memory does not grow with the data set. Those that
    cannot be read are left out of their batch; a batch of nothing else gets one
    example from elsewhere, so that the number of batches is always the same.

    Args:
        examples: what to train on, such as `source.train`, a part of it, or the same
            under noisy labels.
        source: the data set that they are from, for its means, standard deviations
            and ranges of ids and labels.
        batch_size: the number of examples in a batch. The last batch of an epoch holds
            what is left.
        epochs: the epoch to stop before, as in Keras' `fit`.
        seed: an integer in `[0, 2**64)` that order and augmentation are drawn from.
        initial_epoch: the epoch to start at, in `[0, epochs]`. Defaults to `0`.
        augment: a key of `sop_keras.augment.named.AUGMENTATIONS`. Defaults to `"weak"`.
        strong_augment: another such key, for the second view of a pair. Defaults to
            `None`: no pairs.
        examples_per_class: how many examples of each given class an epoch has, drawn
            anew for each epoch. Defaults to `0`: all examples.
        bad_images: what images that cannot be read are reported to. Defaults to
            `None`: they are an error.

    Returns:
        A data set of `(images, {"label": labels, "index": ids})`: float32 of shape
        `(batch_size, height, width, channels)` and two int64 of shape `(batch_size,)`;
        `epochs - initial_epoch` times `steps_per_epoch` batches. With `strong_augment`,
        `images` is the pair `(weak, strong)` of two such tensors.

    Raises:
        ValueError: if there are no examples, an id or a label is out of the source's
            range, or an argument is.
    """
    _check_range("ids", examples.ids, source.num_examples)
    _check_range("labels", examples.labels, source.num_classes)
    steps = steps_per_epoch(
        num_in_epoch(examples.labels, source.num_classes, examples_per_class),
        batch_size,
    )
    if not 0 <= initial_epoch <= epochs:
        raise ValueError(
            "`initial_epoch` must be from 0 to `epochs`. Received: "
            f"initial_epoch={initial_epoch}, epochs={epochs}. `epochs` counts from 0, "
            "not from `initial_epoch`."
        )
    seeds = [int(seed)]
    views = [_view(augment, source, seed)]
    if strong_augment is not None:
        seeds.append(int(random_bits(seed, "strong_view")))
        views.append(_view(strong_augment, source, seeds[1]))
    with tf.device("CPU"):
        labels = tf.constant(examples.labels, tf.int64)
        ids = tf.constant(examples.ids, tf.int64)

    def order_of(epoch: Any) -> tf.Tensor:
        return epoch_order(seed, epoch, ids, labels, examples_per_class)

    def training_batch(
        epoch: tf.Tensor, originals: tuple[tf.Tensor, ...], positions: tf.Tensor
    ) -> tuple[Any, dict[str, tf.Tensor]]:
        index = tf.gather(ids, positions)
        seen = tuple(
            view(images, index, epoch)
            for view, images in zip(views, originals, strict=True)
        )
        targets = {"label": tf.gather(labels, positions), "index": index}
        return seen if len(seen) > 1 else seen[0], targets

    if isinstance(examples.images, EncodedImages):
        loader = WindowLoader(
            examples,
            "train",
            bad_images or BadImages(),
            seeds,
            _positions_in_epochs(order_of, batch_size, steps),
            never_empty=True,
        )
        dataset = loader.dataset(initial_epoch * steps, epochs * steps)
        # In turn: under op determinism TensorFlow would complain, and then do the same.
        dataset = dataset.map(training_batch).prefetch(_DECODED_AHEAD)
    else:
        dataset = _epochs_of_arrays(
            examples, range(initial_epoch, epochs), order_of, batch_size, len(views)
        )
        dataset = _in_parallel(dataset, training_batch)
    cardinality = steps * (epochs - initial_epoch)
    return dataset.apply(tf.data.experimental.assert_cardinality(cardinality))


def evaluation_batches(
    examples: Examples,
    source: Source,
    *,
    batch_size: int | None = None,
    part: str = "test",
    bad_images: BadImages | None = None,
    with_positions: bool = False,
) -> tf.data.Dataset:
    """Standardised batches in the order of `examples`, for `evaluate` and `predict`.

    Args:
        examples: what to evaluate, such as `source.test`.
        source: the data set that they are from, for its means, standard deviations
            and range of labels.
        batch_size: the number of examples in a batch; the last one may be smaller, and
            so are those with images that cannot be read. Defaults to `None`: 500, or 64
            for encoded images.
        part: what to call the examples in reports of bad images. Defaults to
            `"test"`.
        bad_images: what images that cannot be read are reported to. Defaults to
            `None`: they are an error.
        with_positions: whether to give places in `examples` in place of labels.
            Defaults to `False`.

    Returns:
        A data set of `(images, labels)`: float32 of shape `(batch_size, height, width,
        channels)` and int64 of shape `(batch_size,)`.

    Raises:
        ValueError: if there are no examples, a label is out of the source's range, or
            `batch_size` is less than 1.
    """
    is_encoded = isinstance(examples.images, EncodedImages)
    if batch_size is None:
        batch_size = 64 if is_encoded else 500
    steps = steps_per_epoch(len(examples), batch_size)
    _check_range("labels", examples.labels, source.num_classes)
    with tf.device("CPU"):
        labels = tf.constant(examples.labels, tf.int64)

    def evaluation_batch(
        epoch: tf.Tensor, originals: tuple[tf.Tensor], positions: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        (images,) = originals
        targets = positions if with_positions else tf.gather(labels, positions)
        return standardize(images, source.mean, source.std), targets

    def in_order(epoch: Any) -> tf.Tensor:
        return tf.range(len(examples))

    if not is_encoded:
        dataset = _epochs_of_arrays(examples, range(1), in_order, batch_size)
        dataset = _in_parallel(dataset, evaluation_batch)
        return dataset.apply(tf.data.experimental.assert_cardinality(steps))
    loader = WindowLoader(
        examples,
        part,
        bad_images or BadImages(),
        [None],
        _positions_in_epochs(in_order, batch_size, steps),
        never_empty=False,
    )
    dataset = loader.dataset(0, steps).map(evaluation_batch)
    dataset = dataset.filter(lambda images, targets: tf.size(targets) > 0)
    return dataset.prefetch(_DECODED_AHEAD)


def _positions_in_epochs(
    order_of: Callable[[Any], tf.Tensor], batch_size: int, steps: int
) -> Callable[[int], tuple[int, np.ndarray]]:
    """A function of the step, counted through all epochs: epoch and positions."""

    # Batches are begun ahead: at the end of an epoch two orders are in use.
    @functools.lru_cache(maxsize=2)
    def order(epoch: int) -> np.ndarray:
        with tf.device("CPU"):
            return order_of(tf.constant(epoch, tf.int64)).numpy()

    def positions_of(step: int) -> tuple[int, np.ndarray]:
        epoch, place = divmod(step, steps)
        return epoch, order(epoch)[place * batch_size : (place + 1) * batch_size]

    return positions_of


def _epochs_of_arrays(
    examples: Examples,
    epochs: range,
    order_of: Callable[[Any], tf.Tensor],
    batch_size: int,
    num_views: int = 1,
) -> tf.data.Dataset:
    """As `WindowLoader.dataset`, of images in memory: every view is the image."""
    with tf.device("CPU"):
        images = tf.constant(examples.images)

    def epoch_positions(epoch: tf.Tensor, order: tf.Tensor) -> tf.data.Dataset:
        positions = tf.data.Dataset.from_tensor_slices(order).batch(batch_size)
        return positions.map(lambda batch: (epoch, batch))

    def originals(
        epoch: tf.Tensor, positions: tf.Tensor
    ) -> tuple[tf.Tensor, tuple[tf.Tensor, ...], tf.Tensor]:
        return epoch, (tf.gather(images, positions),) * num_views, positions

    dataset = tf.data.Dataset.range(epochs.start, epochs.stop)
    # The order of the next epoch is drawn while this one is trained on.
    dataset = dataset.map(lambda epoch: (epoch, order_of(epoch))).prefetch(1)
    return _in_parallel(dataset.flat_map(epoch_positions), originals)


def _in_parallel(
    dataset: tf.data.Dataset, function: Callable[..., Any]
) -> tf.data.Dataset:
    """The data set through a function of tensors, several batches at a time."""
    dataset = dataset.map(
        function, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    return dataset.prefetch(tf.data.AUTOTUNE)


def _view(name: str, source: Source, seed: SupportsIndex) -> Callable[..., tf.Tensor]:
    """The named augmentation with the standardisation after it."""
    augment = augmentation(name, source.mean)

    def view(images: tf.Tensor, ids: tf.Tensor, epoch: tf.Tensor) -> tf.Tensor:
        augmented = augment(images, ids, epoch, seed)
        return standardize(augmented, source.mean, source.std)

    return view


def _check_range(name: str, values: np.ndarray, bound: int) -> None:
    # Inside a compiled step nothing would say so: gathers clamp, one-hots are zero.
    if len(values) and (values.min() < 0 or values.max() >= bound):
        raise ValueError(
            f"`examples.{name}` must be from 0 to {bound - 1} for this source. "
            f"Received: {values.min()} to {values.max()}. Pass the source that the "
            "examples are from."
        )
