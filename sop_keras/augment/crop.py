"""Crops and flips as places of pixels: where each pixel of a view comes from.

A view is looked up in one step: `rows_and_columns` says which rows and columns of its
image it shows, `places` where these pixels lie in the whole batch laid end to end, and
`look_up` fetches them. Pixels outside the images are black.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def rows_and_columns(
    top: Any, left: Any, flipped: Any, height: int, width: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """The rows and columns that windows show, from -padding on.

    Args:
        top: the row of each window's first pixel, int32 `(batch_size,)`.
        left: its column.
        flipped: whether the window is mirrored left to right, bool `(batch_size,)`.
        height: of the windows, in pixels.
        width: of the windows, in pixels.

    Returns:
        int32 `(batch_size, height)` and `(batch_size, width)`.
    """
    columns = tf.range(width)
    columns = tf.where(tf.expand_dims(flipped, 1), columns[::-1], columns)
    top, left = tf.expand_dims(top, 1), tf.expand_dims(left, 1)
    return top + tf.range(height), left + columns


def places(rows: Any, columns: Any, height: int, width: int) -> tf.Tensor:
    """Where pixels lie in a batch laid end to end; black ones where the batch ends.

    Args:
        rows: int32 `(batch_size, view_height)`, maybe outside the image.
        columns: int32 `(batch_size, view_width)`, likewise.
        height: of the images, in pixels.
        width: of the images, in pixels.

    Returns:
        int32 `(batch_size, view_height, view_width)`.
    """
    batch_size = tf.shape(rows)[0]
    end = batch_size * height * width
    first = height * width * tf.expand_dims(tf.range(batch_size), 1)
    rows = tf.where((rows >= 0) & (rows < height), first + rows * width, end)
    columns = tf.where((columns >= 0) & (columns < width), columns, end)
    # Outside in either direction, the sum is past the end.
    return tf.minimum(tf.expand_dims(rows, 2) + tf.expand_dims(columns, 1), end)


def look_up(images: Any, pixels: Any, *colors: Any) -> tf.Tensor:
    """The pixels at `places`.

    Args:
        images: uint8 `(batch_size, height, width, channels)`.
        pixels: int32 `(batch_size, view_height, view_width)`. The end of the batch
            means black, the place after it the first of `colors`, and so on.
        *colors: uint8, shape `(channels,)` each.

    Returns:
        uint8 `(batch_size, view_height, view_width, channels)`.
    """
    channels = images.shape[-1]
    extra = [tf.zeros((channels,), tf.uint8), *colors]
    # gather_nd takes two thirds of the time of gather for pieces this small.
    flat = tf.concat([tf.reshape(images, (-1, channels)), tf.stack(extra)], axis=0)
    return tf.gather_nd(flat, tf.expand_dims(pixels, -1))
