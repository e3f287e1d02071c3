"""UDA, AutoAugment and the weak augmentation with Pillow, as published pipelines do.

An image at a time, one Pillow call an operation: what loaders of the published code run
in their workers. `augmentation.py` times it, and the tests take it for the truth.

What is drawn and what is done are apart: a policy is a function that turns numbered
random integers into `Draws`, and `view` carries them out. The timing draws from
Python's `random`, the tests from the library's keyed bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from sop_keras.augment.autoaugment import POLICY
from sop_keras.augment.operations import OPERATIONS

Integer = Callable[[int, int], int]
"""`integer(k, bound)` is random integer number k of an image, in `[0, bound)`."""


class Operation(NamedTuple):
    """An operation that is applied: its name, level, sign and Cutout's centre."""

    name: str
    level: int
    sign: int
    centre: tuple[int, int]


class Draws(NamedTuple):
    """All that is random in a view.

    Args:
        operations: those applied, in this order.
        top: the first row of the crop in the padded image.
        left: its first column.
        flipped: whether it is mirrored.
        centre: row and column of the last Cutout's centre; None for no Cutout.
    """

    operations: tuple[Operation, ...]
    top: int
    left: int
    flipped: bool
    centre: tuple[int, int] | None


def uda_draws(integer: Integer, height: int, width: int, padding: int) -> Draws:
    """UDA: two of fifteen operations, each half the time, at levels 1 to 9."""
    operations = []
    for slot in (0, 6):
        if integer(slot + 1, 10) < 5:
            name = OPERATIONS[integer(slot, len(OPERATIONS))]
            level = 1 + integer(slot + 2, 9)
            operations.append(_operation(integer, slot, name, level, height, width))
    return _strong(integer, operations, height, width, padding)


def autoaugment_draws(integer: Integer, height: int, width: int, padding: int) -> Draws:
    """AutoAugment: one of 25 pairs of operations with probabilities and levels."""
    operations = []
    pair = POLICY[integer(0, len(POLICY))]
    for slot, (name, probability, level) in zip((0, 6), pair, strict=True):
        if integer(slot + 1, 10) < round(10 * probability):
            operations.append(_operation(integer, slot, name, level, height, width))
    return _strong(integer, operations, height, width, padding)


def weak_draws(integer: Integer, height: int, width: int, padding: int) -> Draws:
    """The weak augmentation: a crop and a flip."""
    top, left = (integer(k, 2 * padding + 1) for k in (12, 13))
    return Draws((), top, left, integer(14, 2) == 1, None)


def _operation(
    integer: Integer, slot: int, name: str, level: int, height: int, width: int
) -> Operation:
    sign = -1 if integer(slot + 3, 2) == 1 else 1
    centre = integer(slot + 4, height), integer(slot + 5, width)
    return Operation(name, level, sign, centre)


def _strong(
    integer: Integer, operations: list[Operation], height: int, width: int, padding: int
) -> Draws:
    centre = integer(15, height), integer(16, width)
    weak = weak_draws(integer, height, width, padding)
    return weak._replace(operations=tuple(operations), centre=centre)


def apply(
    image: Image.Image,
    name: str,
    level: int,
    sign: int = 1,
    centre: tuple[int, int] = (0, 0),
    fill: Sequence[int] = (125, 122, 113),
) -> Image.Image:
    """One operation at a level of 0 to 10.

    Args:
        image: of mode RGB or L.
        name: one of UDA's fifteen.
        level: an integer from 0 to 10.
        sign: 1 or -1: the direction in which pixels move.
        centre: row and column of Cutout's centre.
        fill: Cutout's colour. A grey image gets its grey level, or the one number
            given.
    """
    strength = sign * level
    factor = 1.8 * level / 10 + 0.1
    if name == "Invert":
        return ImageOps.invert(image)
    if name == "AutoContrast":
        return ImageOps.autocontrast(image)
    if name == "Equalize":
        return ImageOps.equalize(image)
    if name == "Solarize":
        return ImageOps.solarize(image, 256 - int(256 * level / 10))
    if name == "Posterize":
        bits = 4 - int(4 * level / 10)
        # No bits are left at level 10: black up to Pillow 12, an error from 13 on.
        if bits == 0:
            return Image.new(image.mode, image.size)
        return ImageOps.posterize(image, bits)
    if name in ("Sharpness", "Contrast", "Color", "Brightness"):
        return getattr(ImageEnhance, name)(image).enhance(factor)
    if name == "Rotate":
        return image.rotate(30 * strength / 10)
    if name == "ShearX":
        return _affine(image, (1, 0.3 * strength / 10, 0, 0, 1, 0))
    if name == "ShearY":
        return _affine(image, (1, 0, 0, 0.3 * strength / 10, 1, 0))
    if name == "TranslateX":
        return _affine(image, (1, 0, strength, 0, 1, 0))
    if name == "TranslateY":
        return _affine(image, (1, 0, 0, 0, 1, strength))
    return _cutout_operation(image, int(20 * level / 10), centre, fill)


def _affine(image: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    # Nearest neighbour and black outside are Pillow's defaults.
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


def _cutout_operation(
    image: Image.Image, size: int, centre: tuple[int, int], fill: Sequence[int]
) -> Image.Image:
    rows, columns = _square(centre, size, image.height, image.width)
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return image
    color = tuple(fill)
    if image.mode == "L" and len(color) == 3:
        color = Image.new("RGB", (1, 1), color).convert("L").getpixel((0, 0))
    image = image.copy()
    # Pillow counts the last row and column in.
    corners = (columns.start, rows.start, columns.stop - 1, rows.stop - 1)
    ImageDraw.Draw(image).rectangle(corners, fill=color)
    return image


def _square(
    centre: tuple[int, int], size: int, height: int, width: int
) -> tuple[slice, slice]:
    half = size // 2
    row, column = centre
    return (
        slice(max(0, row - half), min(height, row + half)),
        slice(max(0, column - half), min(width, column + half)),
    )


def view(
    image: Image.Image, draws: Draws, padding: int, fill: Sequence[int]
) -> Image.Image:
    """The operations, the crop and the flip; the last Cutout comes after normalising.

    Args:
        image: of mode RGB or L.
        draws: what to do.
        padding: black pixels on each side of what the crop is cut from.
        fill: the colour of the operation Cutout.
    """
    for name, level, sign, centre in draws.operations:
        image = apply(image, name, level, sign, centre, fill)
    width, height = image.size
    image = ImageOps.expand(image, padding)
    left, top = draws.left, draws.top
    image = image.crop((left, top, left + width, top + height))
    if draws.flipped:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return image


def cut_out(
    array: np.ndarray, centre: tuple[int, int], size: int, value: object
) -> None:
    """The last Cutout: sets a square of `array`, `(height, width, ..)`, in place."""
    array[_square(centre, size, *array.shape[:2])] = value


def training_example(
    image: Image.Image,
    draws: Draws,
    mean: np.ndarray,
    std: np.ndarray,
    *,
    padding: int,
    cutout_size: int,
    fill: Sequence[int] = (125, 122, 113),
) -> np.ndarray:
    """What a network is fed: a view in float32, normalised, then Cutout with zeros.

    Args:
        image: of mode RGB or L.
        draws: what to do.
        mean: float32, one a channel, of values in [0, 1].
        std: likewise.
        padding: as in `view`.
        cutout_size: the side of the last Cutout's square.
        fill: the colour of the operation Cutout.
    """
    array = np.asarray(view(image, draws, padding, fill), np.float32)
    array = (array.reshape(*array.shape[:2], -1) / 255 - mean) / std
    if draws.centre is not None:
        cut_out(array, draws.centre, cutout_size, 0.0)
    return array
