"""Augmentations by name, as launchers and data pipelines ask for them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, SupportsIndex

import tensorflow as tf

from sop_keras.augment.autoaugment import autoaugment
from sop_keras.augment.crop_and_flip import pad_crop_flip
from sop_keras.augment.keras_layer import keras_cv_randaugment, keras_randaugment
from sop_keras.augment.uda import uda


def unchanged(images: Any, ids: Any, epoch: Any, seed: SupportsIndex) -> tf.Tensor:
    """The images themselves."""
    return tf.convert_to_tensor(images)


# Each is made for a fill, the colour of Cutout: uint8 batches in and out.
AUGMENTATIONS: dict[str, Callable[[Sequence[int]], Callable[..., tf.Tensor]]] = {
    "weak": lambda fill: pad_crop_flip,
    "flip": lambda fill: functools.partial(pad_crop_flip, padding=0),
    "none": lambda fill: unchanged,
    "uda": lambda fill: functools.partial(uda, fill=fill),
    "autoaugment": lambda fill: functools.partial(autoaugment, fill=fill),
    "keras_randaugment": lambda fill: keras_randaugment(),
    "keras_cv_randaugment": lambda fill: keras_cv_randaugment(),
}
"""What there is, by name."""


def augmentation(
    name: str, mean: Sequence[float]
) -> Callable[[Any, Any, Any, SupportsIndex], tf.Tensor]:
    """The augmentation of this name, fit for a data set.

    Args:
        name: a key of `AUGMENTATIONS`.
        mean: per-channel means of pixel values scaled to [0, 1]; Cutout paints with
            them.

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
    return AUGMENTATIONS[name](tuple(round(255 * channel) for channel in mean))
