"""Augmentations by name, as launchers and data pipelines ask for them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, SupportsIndex

import tensorflow as tf

from sop_keras.augment.autoaugment import autoaugment
from sop_keras.augment.keras_layer import keras_cv_randaugment, keras_randaugment
from sop_keras.augment.uda import uda
from sop_keras.augment.weak import pad_crop_flip


def unchanged(images: Any, ids: Any, epoch: Any, seed: SupportsIndex) -> tf.Tensor:
    """The images themselves."""
    return tf.convert_to_tensor(images)


# Each is made for a padding, a Cutout size and a fill: uint8 batches in and out.
AUGMENTATIONS: dict[str, Callable[..., Callable[..., tf.Tensor]]] = {
    "weak": lambda padding, **_: functools.partial(pad_crop_flip, padding=padding),
    "flip": lambda **_: functools.partial(pad_crop_flip, padding=0),
    "none": lambda **_: unchanged,
    "uda": lambda **options: functools.partial(uda, **options),
    "autoaugment": lambda **options: functools.partial(autoaugment, **options),
    "keras_randaugment": lambda **_: keras_randaugment(),
    "keras_cv_randaugment": lambda **_: keras_cv_randaugment(),
}
"""What there is, by name."""


def augmentation(
    name: str, mean: Sequence[float], image_shape: Sequence[int]
) -> Callable[[Any, Any, Any, SupportsIndex], tf.Tensor]:
    """The augmentation of this name, fit for images of a data set.

    The published sizes belong to 32x32 pixels and grow and shrink with the shorter side
    of the image: crops shift by up to an eighth of it, Cutout's square is half of it.

    Args:
        name: a key of `AUGMENTATIONS`.
        mean: per-channel means of pixel values scaled to [0, 1]; Cutout paints with
            them.
        image_shape: `(height, width, channels)`.

    Returns:
        A function of `(images, ids, epoch, seed)`, as `pad_crop_flip`, `uda` and
        `autoaugment` take them, that gives images of the same type and shape.

    Raises:
        ValueError: for another name.
        ImportError: for keras-cv's, where that is not installed.
    """
    if name not in AUGMENTATIONS:
        raise ValueError(
            f"There is no augmentation {name!r}. There are: {', '.join(AUGMENTATIONS)}."
        )
    side = min(image_shape[:2])
    return AUGMENTATIONS[name](
        padding=side // 8,
        cutout_size=side // 2,
        fill=tuple(round(255 * channel) for channel in mean),
    )
