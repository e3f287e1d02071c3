"""From pixels to what a network is fed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf


def standardize(images: Any, mean: Sequence[float], std: Sequence[float]) -> tf.Tensor:
    """`(images / 255 - mean) / std`, channel by channel.

    Args:
        images: uint8, shape `(..., channels)`.
        mean: per-channel means of pixel values scaled to [0, 1].
        std: per-channel standard deviations of the same, all positive.

    Returns:
        float32 tensor of the shape of `images`.

    Raises:
        ValueError: if `images` are not uint8, there is not one mean and one standard
            deviation a channel, or a standard deviation is not positive.
    """
    images = tf.convert_to_tensor(images)
    if images.dtype != tf.uint8:
        raise ValueError(
            f"`images` must be uint8, values 0 to 255. Received: {images.dtype.name}."
        )
    channels = images.shape[-1]
    if len(mean) != channels or len(std) != channels or min(std) <= 0:
        raise ValueError(
            "`mean` and `std` must have one number for each channel of `images`, and "
            f"`std` positive ones. Received: mean={mean}, std={std} for {channels} "
            "channels."
        )
    # One multiplication and one addition a value, with constants rounded once. They are
    # tiled to whole rows: broadcasting over an axis of three takes eight times as long.
    width = images.shape[-2] or 1
    scale = np.tile(1 / (255 * np.asarray(std)), width).astype(np.float32)
    offset = np.tile(-np.asarray(mean) / np.asarray(std), width).astype(np.float32)
    rows = tf.reshape(images, (-1, width * channels))
    return tf.reshape(tf.cast(rows, tf.float32) * scale + offset, tf.shape(images))
