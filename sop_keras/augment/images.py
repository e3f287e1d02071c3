"""What every operation of this room takes: whole batches of uint8 images."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from sop_keras.validation import check_integer


def check_images(images: Any) -> tf.Tensor:
    """`images` as a tensor, if they are a batch that can be augmented.

    Args:
        images: uint8, shape `(batch_size, height, width, channels)`; height, width and
            channels must be known when the graph is built.

    Raises:
        ValueError: if they are of another type or shape.
    """
    images = tf.convert_to_tensor(images)
    if images.dtype != tf.uint8 or images.shape.rank != 4 or None in images.shape[1:]:
        raise ValueError(
            "`images` must be uint8 of shape (batch_size, height, width, channels), "
            f"all but the first known. Received: {images.dtype.name} of shape "
            f"{images.shape}. Standardise after augmenting, so that the border is "
            "black; batch before it."
        )
    return images


def check_colors(images: tf.Tensor) -> None:
    """Check that images are grey or of three colours.

    Raises:
        ValueError: if they are not.
    """
    if images.shape[-1] not in (1, 3):
        raise ValueError(
            "`images` must have 1 or 3 channels: what happens to colours is defined "
            f"for grey and RGB alone. Received: shape {images.shape}."
        )


def check_ids(ids: Any, images: tf.Tensor) -> tf.Tensor:
    """`ids` as a tensor, if there is one for each image: else pixels would go astray.

    Raises:
        ValueError: if they are no integers, or of another shape. Where the graph does
            not know the numbers, `tf.errors.InvalidArgumentError` when it runs.
    """
    ids = tf.convert_to_tensor(ids)
    expected = images.shape[:1]
    if not ids.dtype.is_integer or not ids.shape.is_compatible_with(expected):
        raise ValueError(
            f"`ids` must be integers of shape {expected}, one for each image. "
            f"Received: {ids.dtype.name} of shape {ids.shape}."
        )
    if not (expected.is_fully_defined() and ids.shape.is_fully_defined()):
        check = tf.debugging.assert_equal(
            tf.shape(ids), tf.shape(images)[:1], "There must be one id for each image."
        )
        with tf.control_dependencies([check] if check is not None else []):
            ids = tf.identity(ids)
    return ids


def size_for(name: str, size: int | None, images: tf.Tensor, share: int) -> int:
    """A size in pixels: where not given, a part of the images' shorter side.

    Args:
        name: of the argument that gives it.
        size: the size, or None.
        images: shape `(batch_size, height, width, channels)`.
        share: the shorter side is divided by this.

    Raises:
        ValueError: if it is negative.
    """
    size = min(images.shape[1:3]) // share if size is None else size
    return check_integer(name, size, 0, mend="Pass 0 to leave that step out.")


def on_cpu(function: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """Decorate what must not run on a GPU, where matrix products have fewer bits."""

    @functools.wraps(function)
    def pinned(*args: Any, **kwargs: Any) -> tf.Tensor:
        with tf.device("CPU"):
            return function(*args, **kwargs)

    return pinned


def per_image(values: Any, dtype: tf.DType) -> tf.Tensor:
    """Numbers of shape `(batch_size,)` as `(batch_size, 1)`, to meet flat images."""
    return tf.reshape(tf.cast(values, dtype), (-1, 1))


def flatten(images: tf.Tensor) -> tf.Tensor:
    """Images as rows, `(batch_size, height * width * channels)`.

    Broadcasting a number an image over long rows takes a fraction of the time that it
    takes over axes of three.
    """
    height, width, channels = images.shape[1:]
    return tf.reshape(images, (-1, height * width * channels))
