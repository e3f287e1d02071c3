"""Operations that move pixels: affine maps, sampled at the nearest pixel.

A map is six numbers (a, b, c, d, e, f), Pillow's convention: the output pixel at
(x, y), whose centre is (x', y') = (x + 1/2, y + 1/2), shows the input pixel that
contains (a x' + b y' + c, d x' + e y' + f). Outside the input is black. Graphs use it
as Pillow does, in fixed point, so that ties between pixels fall alike.

`follow` takes pixels through maps without touching an image, so that maps in a row, and
a crop and a flip after them, cost one look-up of pixels, and give what Pillow gives
when it makes an image after each of them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from sop_keras.augment.crop import black_place, first_places, look_up

Map = tuple[float, float, float, float, float, float]

IDENTITY: Map = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
"""The map that moves nothing."""


def shear_x(fraction: float) -> Map:
    """Shift each row to the left by `fraction` of its distance from the top."""
    return (1.0, fraction, 0.0, 0.0, 1.0, 0.0)


def shear_y(fraction: float) -> Map:
    """Shift each column up by `fraction` of its distance from the left."""
    return (1.0, 0.0, 0.0, fraction, 1.0, 0.0)


def translate_x(pixels: float) -> Map:
    """Shift the image to the left."""
    return (1.0, 0.0, pixels, 0.0, 1.0, 0.0)


def translate_y(pixels: float) -> Map:
    """Shift the image up."""
    return (1.0, 0.0, 0.0, 0.0, 1.0, pixels)


def rotate(degrees: float, height: int, width: int) -> Map:
    """Turn an image of `height` x `width` pixels counter-clockwise about its centre."""
    angle = -math.radians(degrees)
    a, b = math.cos(angle), math.sin(angle)
    x, y = width / 2, height / 2
    return (a, b, x - a * x - b * y, -b, a, y + b * x - a * y)


def fixed_point(affine: Map) -> np.ndarray:
    """A map in 16.16 fixed point, from whole x and y to 65536 times the input's place.

    Returns:
        int32, shape `(6,)`; exact enough for images below 32,768 pixels.
    """
    a, b, c, d, e, f = affine
    c, f = c + a / 2 + b / 2, f + d / 2 + e / 2
    return np.floor(np.array([a, b, c, d, e, f]) * 65536 + 0.5).astype(np.int32)


def warp(images: Any, maps: Any) -> tf.Tensor:
    """Each image through its map.

    Args:
        images: uint8 `(batch_size, height, width, channels)`.
        maps: int32 `(batch_size, 6)`, in fixed point.
    """
    height, width = images.shape[1:3]
    batch_size = tf.shape(images)[0]
    rows, columns = np.arange(height, dtype=np.int32)[:, None], tf.range(width)
    rows, columns, inside = follow(maps, rows, columns, height, width)
    first = tf.reshape(first_places(batch_size, height, width), (-1, 1, 1))
    black = black_place(batch_size, height, width)
    return look_up(images, tf.where(inside, first + rows * width + columns, black))


def follow(
    maps: Any, rows: Any, columns: Any, height: int, width: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Where the output pixels of maps come from.

    Args:
        maps: int32 `(batch_size, 6)`, in fixed point.
        rows: of output pixels, int32, to broadcast to `(batch_size, height, width)`.
        columns: of output pixels, likewise.
        height: of the input images, in pixels.
        width: of the input images, in pixels.

    Returns:
        Rows and columns of the input pixels, and whether they are inside the image.
    """
    a, b, c, d, e, f = tf.unstack(tf.reshape(maps, (-1, 6, 1, 1)), axis=1)
    # In this order, what is one number a row or a column is added before the rest.
    columns, rows = (
        tf.bitwise.right_shift((a * columns + c) + b * rows, 16),
        tf.bitwise.right_shift((d * columns + f) + e * rows, 16),
    )
    # As unsigned numbers, negative ones are large.
    inside = tf.bitcast(rows, tf.uint32) < np.uint32(height)
    inside &= tf.bitcast(columns, tf.uint32) < np.uint32(width)
    return rows, columns, inside
