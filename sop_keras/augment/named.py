"""Augmentations by name, as launchers and data pipelines ask for them."""

from __future__ import annotations

import functools
import pkgutil
from collections.abc import Callable, Sequence
from typing import Any, SupportsIndex

import tensorflow as tf

from sop_keras.augment.autoaugment import autoaugment
from sop_keras.augment.crop_and_flip import pad_crop_flip
from sop_keras.augment.keras_layer import keras_cv_randaugment, keras_randaugment
from sop_keras.augment.names import AUGMENTATIONS, check_augmentation_name
from sop_keras.augment.shift_and_flip import shift_alternate_flip
from sop_keras.augment.uda import uda

Augmentation = Callable[..., tf.Tensor]
"""Of `(images, ids, epoch, seed)`, uint8 batches in and out."""


def augmentation(name: str, mean: Sequence[float]) -> Augmentation:
    """The augmentation of this name, fit for a data set.

    Args:
        name: a key of `names.AUGMENTATIONS`.
        mean: per-channel means of pixel values scaled to [0, 1]; Cutout paints with
            them.

    Returns:
        A function of `(images, ids, epoch, seed)`, as `pad_crop_flip`, `uda` and
        `autoaugment` take them, that gives images of the same type and shape.

    Raises:
        ValueError: for another name.
        ImportError: for keras-cv's, where that is not installed.
    """
    check_augmentation_name(name)
    make = pkgutil.resolve_name(AUGMENTATIONS[name])
    return make(tuple(round(255 * channel) for channel in mean))


def unchanged(images: Any, ids: Any, epoch: Any, seed: SupportsIndex) -> tf.Tensor:
    """The images themselves."""
    return tf.convert_to_tensor(images)


# What `names.AUGMENTATIONS` names: each for a fill, the colour of Cutout.


def cropped_and_flipped(fill: Sequence[int]) -> Augmentation:
    """`pad_crop_flip`, which has no use for a colour."""
    return pad_crop_flip


def shifted_and_flipped(fill: Sequence[int]) -> Augmentation:
    """`shift_alternate_flip`, likewise."""
    return shift_alternate_flip


def flipped(fill: Sequence[int]) -> Augmentation:
    """`pad_crop_flip` without the crop; one that was cut before may be mirrored."""
    return functools.partial(pad_crop_flip, padding=0)


def left_alone(fill: Sequence[int]) -> Augmentation:
    """`unchanged`."""
    return unchanged


def by_uda(fill: Sequence[int]) -> Augmentation:
    """`uda` that paints with this colour."""
    return functools.partial(uda, fill=fill)


def by_autoaugment(fill: Sequence[int]) -> Augmentation:
    """`autoaugment` that paints with this colour."""
    return functools.partial(autoaugment, fill=fill)


def by_keras(fill: Sequence[int]) -> Augmentation:
    """`keras_randaugment`, which has no use for a colour."""
    return keras_randaugment()


def by_keras_cv(fill: Sequence[int]) -> Augmentation:
    """`keras_cv_randaugment`, likewise."""
    return keras_cv_randaugment()
