"""What all pipelines of batches are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, SupportsIndex

import numpy as np
import tensorflow as tf

from sop_keras.augment.keyed_views import keyed_views
from sop_keras.augment.named import augmentation
from sop_keras.augment.names import ALTERNATING, RESIZED_CROP
from sop_keras.augment.standardize import standardize
from sop_keras.data.datasets.dataset import Dataset, Examples
from sop_keras.data.images.encoded_images import EncodedImages

BATCHES_AHEAD = 2
"""How many batches of encoded images are worked on before they are asked for."""

DECODED_AHEAD = 2
"""How many finished batches of encoded images wait.

AUTOTUNE would keep half of the memory full of them, at half a megabyte an image.
"""


def trained_on(
    examples: Examples,
    dataset: Dataset,
    names: Sequence[str],
    seed: SupportsIndex,
    by_pass: bool = False,
) -> Callable[..., tuple[Any, dict[str, tf.Tensor]]]:
    """A function that makes batches to train on of images.

    Args:
        examples: that the batches are of.
        dataset: that they are from.
        names: of the augmentation of each view, keys of
            `sop_keras.augment.names.AUGMENTATIONS`.
        seed: of augmentation, an integer in `[0, 2**64)`.
        by_pass: whether the number is not the epoch's but that of a pass of one of two
            networks, `2 * epoch + network`. Defaults to `False`.

    Returns:
        A function of the epoch (or another number that draws hang on), an int64
        scalar, of the images that each view is drawn from, and of the places of the
        examples. It gives `(images, {"label": labels, "index": ids})`, the images of
        two views as a pair.

    Raises:
        ValueError: if an id or a label is out of the data set's range, or an
            augmentation is for images in files.
    """
    if RESIZED_CROP in names and not isinstance(examples.images, EncodedImages):
        raise ValueError(
            f"The augmentation {RESIZED_CROP!r} cuts its crops out of images in files, "
            f"and those of {dataset.name} are in memory. Use 'weak' or 'flip' instead."
        )
    check_range("ids", examples.ids, dataset.num_examples)
    check_range("labels", examples.labels, dataset.num_classes)
    augmentations = [
        _by_epoch(augmentation(name, dataset.mean))
        if by_pass and name == ALTERNATING
        else augmentation(name, dataset.mean)
        for name in names
    ]
    with tf.device("CPU"):
        labels = tf.constant(examples.labels, tf.int64)
        ids = tf.constant(examples.ids, tf.int64)

    def batch(
        epoch: tf.Tensor, originals: tuple[tf.Tensor, ...], positions: tf.Tensor
    ) -> tuple[Any, dict[str, tf.Tensor]]:
        index = tf.gather(ids, positions)
        views = tuple(
            standardize(view, dataset.mean, dataset.std)
            for view in keyed_views(augmentations, originals, index, epoch, seed)
        )
        targets = {"label": tf.gather(labels, positions), "index": index}
        return views if len(views) > 1 else views[0], targets

    return batch


def _by_epoch(augment: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """Of passes: a network whose numbers are all even would see one side for ever."""

    def augmented(epoch: tf.Tensor, **others: Any) -> tf.Tensor:
        network = epoch % 2
        return augment(epoch=epoch // 2 + network * 2**40, **others)

    return augmented


def resized_crops(names: Sequence[str]) -> list[bool]:
    """For the augmentation of each view, whether its crops are resized ones."""
    return [name == RESIZED_CROP for name in names]


def check_range(name: str, values: np.ndarray, bound: int) -> None:
    """Check that ids or labels of examples are below a bound.

    Raises:
        ValueError: if they are not.
    """
    # Inside a compiled step nothing would say so: gathers clamp, one-hots are zero.
    if len(values) and (values.min() < 0 or values.max() >= bound):
        raise ValueError(
            f"`examples.{name}` must be from 0 to {bound - 1} for this data set. "
            f"Received: {values.min()} to {values.max()}. Pass the data set that the "
            "examples are from."
        )
