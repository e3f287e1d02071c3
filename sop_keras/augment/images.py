"""What every operation of this room takes: whole batches of uint8 images."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


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
