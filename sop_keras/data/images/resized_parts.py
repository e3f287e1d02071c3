"""Parts of a resized image, made without the rest of it: exactly, or faster."""

from __future__ import annotations

import math

from PIL import Image
from PIL.Image import Resampling


def exact_part(
    image: Image.Image, size: tuple[int, int], box: tuple[int, int, int, int]
) -> Image.Image:
    """`image.resize(size, BILINEAR).crop(box)`, bit for bit, in less time.

    Pillow resizes rows first, then columns, and rounds to bytes between. So do the two
    steps here, each only for what the box shows.

    Args:
        image: RGB.
        size: the width and height to resize to, as `resized_size` gives them.
        box: left, top, right and bottom of the part, within `size`.
    """
    if image.size == size:
        return image.crop(box)
    if image.height > 2 * image.width:
        # From version 13 on, Pillow makes so tall images smaller columns first.
        return image.resize(size, Resampling.BILINEAR).crop(box)
    width, height = size
    left, top, right, bottom = box
    scale = image.height / height
    first, end = _reached(top * scale, bottom * scale, bottom - top, image.height)
    rows = image.crop((0, first, image.width, end))
    rows = rows.resize((width, end - first), Resampling.BILINEAR)
    # The other rows are black; they keep those that count in their places.
    columns = rows.crop((left, -first, right, image.height - first))
    columns = columns.resize((right - left, height), Resampling.BILINEAR)
    return columns.crop((0, top, right - left, bottom))


def fast_part(
    image: Image.Image,
    size: tuple[int, int],
    box: tuple[int, int, int, int],
    source: tuple[float, float, float, float],
) -> Image.Image:
    """Nearly `exact_part`, in less time: columns beside the box are not made either.

    Pillow's argument `box` does it. Its places are 32-bit floats, so that about one
    value in 1,000 comes out higher or lower by 1, and more where many lie halfway
    between two.

    Args:
        image: RGB.
        size: as for `exact_part`.
        box: as for `exact_part`.
        source: left, top, right and bottom of the part in pixels of `image`.
    """
    width, height = box[2] - box[0], box[3] - box[1]
    if image.height > 2 * image.width and image.height > size[1]:
        # `exact_part` may have columns first, and so has this.
        return image.resize((width, height), Resampling.BILINEAR, box=source)
    # In one step, Pillow would make columns first of parts of upright images, where
    # whole ones have rows first, and other values would be rounded between.
    left, top, right, bottom = source
    first_column, end_column = _reached(left, right, width, image.width)
    first_row, end_row = _reached(top, bottom, height, image.height)
    around = image.crop((first_column, first_row, end_column, end_row))
    rows = around.resize(
        (width, around.height),
        Resampling.BILINEAR,
        box=(left - first_column, 0, right - first_column, around.height),
    )
    return rows.resize(
        (width, height),
        Resampling.BILINEAR,
        box=(0, top - first_row, width, bottom - first_row),
    )


def _reached(start: float, stop: float, length: int, most: int) -> tuple[int, int]:
    """First and end of the pixels that count when a part is made `length` long.

    Each pixel is a mean over `reach` on both sides of its centre; one pixel more on
    each side is for the rounding.
    """
    reach = max((stop - start) / length, 1.0)
    first = max(0, math.floor(start - reach) - 1)
    return first, min(most, math.ceil(stop + reach) + 1)
