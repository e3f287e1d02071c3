"""What UDA and AutoAugment share: two drawn operations, crop, flip, Cutout.

Speed comes from touching with each operation only the images that drew it, and from
moving pixels once: affine maps that no change of values follows are not applied but
kept, and the look-up of the crop at the end goes through them. The result is what
Pillow gives when it makes an image after every operation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, SupportsIndex

import numpy as np
import tensorflow as tf

from sop_keras.augment import crop, geometric
from sop_keras.augment.cutout import fill_color, spans
from sop_keras.augment.operations import (
    GEOMETRIC,
    NONE,
    Drawn,
    change_values,
    places_of,
    put,
)
from sop_keras.randomness.keyed_tensors import random_bits_tensor


class OperationDraws(NamedTuple):
    """The draws of one operation; int32 tensors, shape `(batch_size,)`.

    Args:
        choice: which operation, or which pair of operations.
        tenth: in [0, 10): the operation is applied where it is below ten times its
            probability.
        level: which level.
        sign: 1 for the negative direction, else 0.
        row: the row of Cutout's centre.
        column: its column.
    """

    choice: tf.Tensor
    tenth: tf.Tensor
    level: tf.Tensor
    sign: tf.Tensor
    row: tf.Tensor
    column: tf.Tensor

    def drawn(self, operations: Any, tenths: Any, levels: Any) -> Drawn:
        """These operations and levels, applied with probability `tenths / 10`."""
        return Drawn(
            operations=tf.where(self.tenth < tenths, operations, NONE),
            levels=levels,
            signs=1 - 2 * self.sign,
            rows=self.row,
            columns=self.column,
        )


class ViewDraws(NamedTuple):
    """The draws of the crop, the flip and the last Cutout, likewise.

    Args:
        top: the first row of the crop, from 0 on in the padded image.
        left: its first column.
        flip: 1 for a flip, else 0.
        row: the row of Cutout's centre.
        column: its column.
    """

    top: tf.Tensor
    left: tf.Tensor
    flip: tf.Tensor
    row: tf.Tensor
    column: tf.Tensor


def draw(
    seed: SupportsIndex,
    stream: str,
    epoch: Any,
    ids: Any,
    *,
    num_choices: int,
    num_levels: int,
    padding: int,
    height: int,
    width: int,
) -> tuple[OperationDraws, OperationDraws, ViewDraws]:
    """All draws of a batch: the same for the same (seed, epoch, id).

    Args:
        seed: a Python integer in `[0, 2**64)`.
        stream: the policy's name.
        epoch: integer, a scalar, not negative.
        ids: integers, shape `(batch_size,)`, none negative.
        num_choices: the bound of `choice`.
        num_levels: the bound of `level`.
        padding: of the crop, in pixels.
        height: of the images, in pixels.
        width: of the images, in pixels.
    """
    of_operation = [num_choices, 10, num_levels, 2, height, width]
    of_view = [2 * padding + 1, 2 * padding + 1, 2, height, width]
    bounds = np.array([*of_operation, *of_operation, *of_view], np.uint64)
    ids = tf.reshape(tf.cast(ids, tf.int64), (-1, 1))
    bits = random_bits_tensor(seed, stream, epoch, ids, np.arange(len(bounds)))
    # As `keyed.random_integers` does, for all bounds at once.
    scaled = tf.bitwise.right_shift(bits, np.uint64(32)) * bounds
    numbers = tf.cast(tf.bitwise.right_shift(scaled, np.uint64(32)), tf.int32)
    columns = tf.unstack(numbers, num=len(bounds), axis=1)
    return (
        OperationDraws(*columns[:6]),
        OperationDraws(*columns[6:12]),
        ViewDraws(*columns[12:]),
    )


def augment(
    images: tf.Tensor,
    first: Drawn,
    second: Drawn,
    view: ViewDraws,
    *,
    padding: int,
    flip: bool,
    cutout_size: int,
    fill: Sequence[int],
) -> tf.Tensor:
    """Two operations in turn, then a crop, a flip and Cutout.

    Args:
        images: uint8, shape `(batch_size, height, width, channels)`.
        first: the first operation of every image.
        second: the second operation of every image.
        view: the draws of the rest.
        padding: of the crop, in pixels.
        flip: whether to flip at all.
        cutout_size: the side of Cutout's square in pixels; 0 for none.
        fill: the colour of both kinds of Cutout.
    """
    height, width, channels = images.shape[1:]
    batch_size = tf.shape(images)[0]
    black = crop.black_place(batch_size, height, width)
    first_maps, second_maps = first.maps(height, width), second.maps(height, width)
    first_moves, second_moves = first.are(*GEOMETRIC), second.are(*GEOMETRIC)
    # A change of values sees what was moved before it, black border included.
    changed_after = (second.operations != NONE) & ~second_moves
    images = change_values(images, first, fill)
    where = places_of(first_moves & changed_after)
    warped = geometric.warp(tf.gather(images, where), tf.gather(first_maps, where))
    images = put(images, where, warped)
    images = change_values(images, second, fill)

    rows, columns = crop.rows_and_columns(
        view.top - padding, view.left - padding, (view.flip == 1) & flip, height, width
    )
    pixels = crop.places(rows, columns, height, width)
    first_kept = first_moves & ~changed_after
    where = places_of(first_kept | second_moves)
    last_maps = tf.where(tf.expand_dims(second_moves, 1), second_maps, first_maps)
    moved = _places_through_maps(
        tf.gather(rows, where),
        tf.gather(columns, where),
        tf.gather(last_maps, where),
        tf.gather(first_maps, where),
        tf.gather(first_kept & second_moves, where),
        (height, width),
    )
    begin = tf.gather(crop.first_places(batch_size, height, width), where)
    moved = tf.where(moved >= 0, tf.reshape(begin, (-1, 1, 1)) + moved, black)
    pixels = put(pixels, where, moved)
    limit = black
    if cutout_size:  # in the square, place 0: the fill
        in_rows, in_columns = spans(view.row, view.column, cutout_size, height, width)
        row_limit = tf.expand_dims(tf.where(in_rows, 0, black), 2)
        limit = tf.maximum(row_limit, tf.expand_dims(tf.where(in_columns, 0, black), 1))
    pixels = tf.minimum(pixels, limit)
    return crop.look_up(images, pixels, fill_color(fill, channels))


def _places_through_maps(
    rows: tf.Tensor,
    columns: tf.Tensor,
    maps: tf.Tensor,
    maps_before: tf.Tensor,
    have_before: tf.Tensor,
    image_size: tuple[int, int],
) -> tf.Tensor:
    """Where the pixels of crops into images that went through maps come from.

    A pixel is followed back through the crop, the map and, where there is one, the
    map before it.

    Args:
        rows: that the crops show, int32 `(batch_size, height)`.
        columns: likewise, `(batch_size, width)`.
        maps: int32 `(batch_size, 6)`, in fixed point.
        maps_before: likewise.
        have_before: whether there is one, bool `(batch_size,)`.
        image_size: height and width.

    Returns:
        Places in their image, int32 `(batch_size, height, width)`; -1 for pixels that
        are outside of an image at any step.
    """
    height, width = image_size
    rows, columns = tf.expand_dims(rows, 2), tf.expand_dims(columns, 1)
    in_window = (rows >= 0) & (rows < height)
    in_window &= (columns >= 0) & (columns < width)
    rows, columns, inside = geometric.follow(maps, rows, columns, height, width)
    places = tf.where(inside & in_window, rows * width + columns, -1)

    again = places_of(have_before)
    rows, columns, inside = geometric.follow(
        tf.gather(maps_before, again),
        tf.gather(rows, again),
        tf.gather(columns, again),
        height,
        width,
    )
    inside &= tf.gather(places, again) >= 0
    return put(places, again, tf.where(inside, rows * width + columns, -1))
