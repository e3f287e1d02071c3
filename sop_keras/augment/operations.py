"""The fifteen operations of UDA and AutoAugment, by name and level.

Levels are whole numbers from 0 to 10. Their magnitudes are those of the published
policies (Xie et al. 2020, "UDA"; Cubuk et al. 2019, "AutoAugment"); everything that
depends on an operation's level is a row of a table made when the graph is built.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from sop_keras.augment import geometric, photometric
from sop_keras.augment.cutout import FILL, cutout
from sop_keras.augment.geometric import fixed_point
from sop_keras.augment.images import check_colors, check_images
from sop_keras.validation import check_choice_of

OPERATIONS = (
    *("Invert", "Cutout", "Sharpness", "AutoContrast", "Posterize", "ShearX"),
    *("TranslateX", "TranslateY", "ShearY", "Rotate", "Equalize", "Contrast"),
    *("Color", "Solarize", "Brightness"),
)
"""Their names, in the order of UDA's list."""

NONE = len(OPERATIONS)
"""In place of a position in `OPERATIONS`: nothing is done to this image."""

NUM_LEVELS = 11
"""Levels are 0 to 10."""

GEOMETRIC = ("ShearX", "TranslateX", "TranslateY", "ShearY", "Rotate")
"""Those that move pixels; all others change values."""


def magnitude(name: str, level: int) -> float:
    """The strength of an operation at a level.

    Of shears: the slope, 0.3 l/10; of translations: pixels, l; of Rotate: degrees,
    30 l/10; of Solarize: the threshold, 256 - 256 l/10; of Posterize: bits kept,
    4 - int(4 l/10); of Color, Contrast, Brightness and Sharpness: the factor,
    1.8 l/10 + 0.1; of Cutout: the side in pixels, 2 l. The others have none: 0.
    """
    strength = {
        **dict.fromkeys(("ShearX", "ShearY"), 0.3 * level / 10),
        **dict.fromkeys(("TranslateX", "TranslateY"), float(level)),
        **dict.fromkeys(
            ("Color", "Contrast", "Brightness", "Sharpness"), 1.8 * level / 10 + 0.1
        ),
        "Rotate": 30.0 * level / 10,
        "Solarize": 256.0 - 256 * level / 10,
        "Posterize": 4.0 - int(4 * level / 10),
        "Cutout": 2.0 * level,
    }
    return strength.get(name, 0.0)


class Drawn(NamedTuple):
    """One operation for each image of a batch; int32 tensors, shape `(batch_size,)`.

    Args:
        operations: positions in `OPERATIONS`, or `NONE`.
        levels: in [0, 10].
        signs: 1 or -1, the direction in which pixels move.
        rows: the row of Cutout's centre.
        columns: its column.
    """

    operations: tf.Tensor
    levels: tf.Tensor
    signs: tf.Tensor
    rows: tf.Tensor
    columns: tf.Tensor

    def take(self, where: tf.Tensor) -> Drawn:
        """Those of the images at these positions."""
        return Drawn(*tf.unstack(tf.gather(tf.stack(self, axis=1), where), axis=1))

    def are(self, *names: str) -> tf.Tensor:
        """Where the operation is one of these: bool `(batch_size,)`."""
        table = [name in names for name in OPERATIONS]
        return tf.gather(tf.constant([*table, False]), self.operations)

    def by_level(self, entry: Callable[[str, int], Any], dtype: tf.DType) -> tf.Tensor:
        """What `entry(name, level)` is for each image's operation and level."""
        table = [[entry(name, k) for k in range(NUM_LEVELS)] for name in OPERATIONS]
        flat = np.asarray(table).reshape(NONE * NUM_LEVELS, -1)
        places = self.operations * NUM_LEVELS + self.levels
        return tf.gather(tf.constant(flat, dtype), places)

    def maps(self, height: int, width: int) -> tf.Tensor:
        """Affine maps in fixed point, int32 `(batch_size, 6)`; else the identity."""
        strengths = range(1 - NUM_LEVELS, NUM_LEVELS)
        table = [
            [fixed_point(affine_map(name, k, height, width)) for k in strengths]
            for name in (*OPERATIONS, None)
        ]
        places = self.operations * len(strengths) + self.levels * self.signs
        return tf.gather(np.reshape(table, (-1, 6)), places + NUM_LEVELS - 1)


def affine_map(
    name: str | None, strength: int, height: int, width: int
) -> geometric.Map:
    """The map of a geometric operation at a level times a sign; else the identity."""
    sign = -1 if strength < 0 else 1
    amount = sign * magnitude(name or "", abs(strength))
    if name == "ShearX":
        return geometric.shear_x(amount)
    if name == "ShearY":
        return geometric.shear_y(amount)
    if name == "TranslateX":
        return geometric.translate_x(amount)
    if name == "TranslateY":
        return geometric.translate_y(amount)
    if name == "Rotate":
        return geometric.rotate(amount, height, width)
    return geometric.IDENTITY


def _change_bits(images: tf.Tensor, drawn: Drawn, fill: Any) -> tf.Tensor:
    def entry(name: str, level: int) -> tuple[int, int, int]:
        """Threshold, bits to flip, bits to keep."""
        if name == "Posterize":
            return 0, 0, 256 - 2 ** (8 - int(magnitude(name, level)))
        # Values are whole, and no value reaches the threshold of level 0.
        threshold = math.ceil(magnitude(name, level))
        return min(threshold, 255), 255 if threshold < 256 else 0, 255

    thresholds, flips, masks = tf.unstack(drawn.by_level(entry, tf.uint8), axis=1)
    return photometric.change_bits(images, thresholds, flips, masks)


def _brighten(images: tf.Tensor, drawn: Drawn, fill: Any) -> tf.Tensor:
    return photometric.brightness(images, drawn.by_level(magnitude, tf.float32))


def _contrast(images: tf.Tensor, drawn: Drawn, fill: Any) -> tf.Tensor:
    return photometric.contrast(images, drawn.by_level(magnitude, tf.float32))


def _color(images: tf.Tensor, drawn: Drawn, fill: Any) -> tf.Tensor:
    return photometric.color(images, drawn.by_level(magnitude, tf.float32))


def _sharpen(images: tf.Tensor, drawn: Drawn, fill: Any) -> tf.Tensor:
    return photometric.sharpness(images, drawn.by_level(magnitude, tf.float32))


def _stretch(images: tf.Tensor, drawn: Drawn, fill: Any) -> tf.Tensor:
    return photometric.auto_contrast(images)


def _equalize(images: tf.Tensor, drawn: Drawn, fill: Any) -> tf.Tensor:
    return photometric.equalize(images)


def _cut_out(images: tf.Tensor, drawn: Drawn, fill: Any) -> tf.Tensor:
    sizes = drawn.by_level(magnitude, tf.int32)
    return cutout(images, drawn.rows, drawn.columns, sizes, fill)


VALUE_GROUPS: dict[tuple[str, ...], Callable[[tf.Tensor, Drawn, Any], tf.Tensor]] = {
    ("Invert", "Solarize", "Posterize"): _change_bits,
    ("Brightness",): _brighten,
    ("Contrast",): _contrast,
    ("Color",): _color,
    ("Sharpness",): _sharpen,
    ("AutoContrast",): _stretch,
    ("Equalize",): _equalize,
    ("Cutout",): _cut_out,
}
"""What changes values, computed together as far as it computes alike."""


def change_values(images: tf.Tensor, drawn: Drawn, fill: Sequence[int]) -> tf.Tensor:
    """Apply what was drawn, as far as it is not geometric.

    Args:
        images: uint8, shape `(batch_size, height, width, channels)`.
        drawn: the operation of every image.
        fill: Cutout's colour.
    """
    stays = places_of(drawn.are(*GEOMETRIC) | (drawn.operations == NONE))
    wheres, changed = [stays], [tf.gather(images, stays)]
    for names, function in VALUE_GROUPS.items():
        where = places_of(drawn.are(*names))
        changed.append(function(tf.gather(images, where), drawn.take(where), fill))
        wheres.append(where)
    # Every image once: one copy, where to put what has changed into a batch is two.
    merged = tf.dynamic_stitch(wheres, changed)
    return tf.reshape(merged, tf.shape(images))


def places_of(mask: tf.Tensor) -> tf.Tensor:
    """The positions at which a mask `(batch_size,)` is True, int32."""
    return tf.cast(tf.where(mask)[:, 0], tf.int32)


def put(batch: tf.Tensor, where: tf.Tensor, changed: tf.Tensor) -> tf.Tensor:
    """The batch with what `changed` has in place of what is at these positions."""
    where = tf.expand_dims(where, 1)
    num_bytes = math.prod(batch.shape[1:]) if batch.dtype == tf.uint8 else 0
    if num_bytes == 0 or num_bytes % 8:
        return tf.tensor_scatter_nd_update(batch, where, changed)
    # TensorFlow copies element by element here, and eight bytes take the time of one.
    words = (-1, num_bytes // 8, 8)
    updated = tf.tensor_scatter_nd_update(
        tf.bitcast(tf.reshape(batch, words), tf.int64),
        where,
        tf.bitcast(tf.reshape(changed, words), tf.int64),
    )
    return tf.reshape(tf.bitcast(updated, tf.uint8), tf.shape(batch))


def apply_operation(
    images: Any,
    name: str,
    levels: Any,
    signs: Any = 1,
    centres: Any = None,
    fill: Sequence[int] = FILL,
) -> tf.Tensor:
    """One operation on every image of a batch.

    Args:
        images: uint8, shape `(batch_size, height, width, channels)` with 1 or 3
            channels.
        name: one of `OPERATIONS`.
        levels: integers in [0, 10], shape `(batch_size,)` or one number.
        signs: 1 or -1, the direction in which pixels move, likewise. Defaults to `1`.
        centres: the row and column of Cutout's centre, integers `(batch_size, 2)`.
            Defaults to `None`: the middle of the image.
        fill: Cutout's colour. Defaults to the mean colour of CIFAR-10.

    Returns:
        uint8 tensor of the shape of `images`.

    Raises:
        ValueError: for another name or other images.
    """
    images = check_images(images)
    check_colors(images)
    check_choice_of("name", name, OPERATIONS)
    height, width = images.shape[1:3]
    if centres is None:
        centres = [[height // 2, width // 2]]
    rows, columns = tf.unstack(tf.cast(centres, tf.int32), axis=1)
    numbers = (OPERATIONS.index(name), levels, signs, rows, columns)
    batch_size = tf.shape(images)[:1]
    drawn = Drawn(
        *(tf.broadcast_to(tf.cast(number, tf.int32), batch_size) for number in numbers)
    )
    if name in GEOMETRIC:
        return geometric.warp(images, drawn.maps(height, width))
    return change_values(images, drawn, fill)
