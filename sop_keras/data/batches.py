"""From examples to the batches that Keras trains and evaluates on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, SupportsIndex

import tensorflow as tf

from sop_keras.augment import standardize
from sop_keras.augment.named import augmentation
from sop_keras.data.source import Examples, Source
from sop_keras.randomness.keyed import random_bits
from sop_keras.randomness.keyed_tensors import random_bits_tensor


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

    Returns:
        A data set of `(images, {"label": labels, "index": ids})`: float32 of shape
        `(batch_size, height, width, channels)` and two int64 of shape `(batch_size,)`;
        `epochs - initial_epoch` times `steps_per_epoch` batches. With `strong_augment`,
        `images` is the pair `(weak, strong)` of two such tensors.

    Raises:
        ValueError: if there are no examples, an id or a label is out of the source's
            range, or an argument is.
    """
    steps = steps_per_epoch(len(examples), batch_size)
    if not 0 <= initial_epoch <= epochs:
        raise ValueError(
            "`initial_epoch` must be from 0 to `epochs`. Received: "
            f"initial_epoch={initial_epoch}, epochs={epochs}. `epochs` counts from 0, "
            "not from `initial_epoch`."
        )
    views = [_view(augment, source, seed)]
    if strong_augment is not None:
        strong_seed = int(random_bits(seed, "strong_view"))
        views.append(_view(strong_augment, source, strong_seed))
    _check_range("ids", examples.ids, source.num_examples)
    _check_range("labels", examples.labels, source.num_classes)

    with tf.device("CPU"):
        images = tf.constant(examples.images)
        labels = tf.constant(examples.labels, tf.int64)
        ids = tf.constant(examples.ids, tf.int64)

    def epoch_order(epoch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # Different ids have different bits, so there are no ties to break.
        bits = random_bits_tensor(seed, "epoch_order", epoch, ids)
        return epoch, tf.argsort(bits, stable=True)

    def epoch_batches(epoch: tf.Tensor, order: tf.Tensor) -> tf.data.Dataset:
        positions = tf.data.Dataset.from_tensor_slices(order).batch(batch_size)
        return positions.map(lambda batch: (epoch, batch))

    def training_batch(
        epoch: tf.Tensor, positions: tf.Tensor
    ) -> tuple[Any, dict[str, tf.Tensor]]:
        index = tf.gather(ids, positions)
        originals = tf.gather(images, positions)
        seen = tuple(view(originals, index, epoch) for view in views)
        targets = {"label": tf.gather(labels, positions), "index": index}
        return seen if len(seen) > 1 else seen[0], targets

    dataset = tf.data.Dataset.range(initial_epoch, epochs)
    # The order of the next epoch is drawn while this one is trained on.
    dataset = dataset.map(epoch_order).prefetch(1).flat_map(epoch_batches)
    dataset = dataset.map(
        training_batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    cardinality = steps * (epochs - initial_epoch)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(cardinality))
    return dataset.prefetch(tf.data.AUTOTUNE)


def evaluation_batches(
    examples: Examples, source: Source, *, batch_size: int = 500
) -> tf.data.Dataset:
    """Standardised batches in the order of `examples`, for `evaluate` and `predict`.

    Args:
        examples: what to evaluate, such as `source.test`.
        source: the data set that they are from, for its means, standard deviations
            and range of labels.
        batch_size: the number of examples in a batch; the last one may be smaller.
            Defaults to `500`.

    Returns:
        A data set of `(images, labels)`: float32 of shape `(batch_size, height, width,
        channels)` and int64 of shape `(batch_size,)`.

    Raises:
        ValueError: if there are no examples, a label is out of the source's range, or
            `batch_size` is less than 1.
    """
    steps = steps_per_epoch(len(examples), batch_size)
    _check_range("labels", examples.labels, source.num_classes)

    with tf.device("CPU"):
        images = tf.constant(examples.images)
        labels = tf.constant(examples.labels, tf.int64)

    def evaluation_batch(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        here = slice(step * batch_size, (step + 1) * batch_size)
        return standardize(images[here], source.mean, source.std), labels[here]

    dataset = tf.data.Dataset.range(steps).map(
        evaluation_batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    return dataset.prefetch(tf.data.AUTOTUNE)


def _view(name: str, source: Source, seed: SupportsIndex) -> Callable[..., tf.Tensor]:
    """The named augmentation with the standardisation after it."""
    augment = augmentation(name, source.mean)

    def view(images: tf.Tensor, ids: tf.Tensor, epoch: tf.Tensor) -> tf.Tensor:
        augmented = augment(images, ids, epoch, seed)
        return standardize(augmented, source.mean, source.std)

    return view


def _check_range(name: str, values: Any, bound: int) -> None:
    # Inside a compiled step nothing would say so: gathers clamp, one-hots are zero.
    if values.min() < 0 or values.max() >= bound:
        raise ValueError(
            f"`examples.{name}` must be from 0 to {bound - 1} for this source. "
            f"Received: {values.min()} to {values.max()}. Pass the source that the "
            "examples are from."
        )
