"""Cutout: a square of one colour (DeVries & Taylor 2017, arXiv 1708.04552)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from sop_keras.augment.images import check_images

FILL = (125, 122, 113)
"""The mean colour of CIFAR-10, Cutout's colour in the published policies."""


def cutout(
    images: Any, rows: Any, columns: Any, sizes: Any, fill: Sequence[int] = FILL
) -> tf.Tensor:
    """Paint a square over each image.

    The square covers rows `row - size // 2` up to but not `row + size // 2`, columns
    likewise, as far as they are in the image.

    Args:
        images: uint8, shape `(batch_size, height, width, channels)`.
        rows: the row of each square's centre, integers `(batch_size,)`.
        columns: its column.
        sizes: the squares' sides in pixels, integers `(batch_size,)` or one number.
        fill: red, green and blue of the square, each 0 to 255. Grey images get its grey
            level. Defaults to the mean colour of CIFAR-10.

    Returns:
        uint8 tensor of the shape of `images`.
    """
    images = check_images(images)
    height, width, channels = images.shape[1:]
    in_rows, in_columns = spans(rows, columns, sizes, height, width)
    covered = tf.expand_dims(in_rows, 2) & tf.expand_dims(in_columns, 1)
    return tf.where(tf.expand_dims(covered, 3), fill_color(fill, channels), images)


def spans(
    rows: Any, columns: Any, sizes: Any, height: int, width: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Which rows and which columns squares cover: bool `(batch_size, height)`, ..."""
    half = tf.cast(sizes, tf.int32) // 2

    def span(centres: Any, length: int) -> tf.Tensor:
        distance = tf.range(length) - tf.reshape(tf.cast(centres, tf.int32), (-1, 1))
        reach = tf.reshape(half, (-1, 1))
        return (distance >= -reach) & (distance < reach)

    return span(rows, height), span(columns, width)


def fill_color(fill: Sequence[int], channels: int) -> tf.Tensor:
    """A colour as uint8 of shape `(channels,)`: for grey images, its grey level.

    Raises:
        ValueError: if it is not three numbers (or one for grey images), each 0 to 255.
    """
    color = np.asarray(fill)
    if color.shape == (3,) and channels == 1:
        # ITU-R 601-2 luma, as Pillow converts to grey.
        color = (color @ [19595, 38470, 7471] + 32768)[None] // 65536
    if color.shape != (channels,) or color.min() < 0 or color.max() > 255:
        raise ValueError(
            f"`fill` must be {channels} numbers from 0 to 255. Received: {fill}."
        )
    return tf.constant(color.astype(np.uint8))
