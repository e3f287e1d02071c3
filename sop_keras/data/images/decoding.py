"""Encoded images to crops of pixels, whatever they hold.

Pillow decodes; what it leaves open is settled here. All images come out as RGB, upright
and with their first frame:

- grey images, palettes, CMYK and YCCK are converted (colour profiles are ignored);
- what is transparent lies on white;
- 16-bit grey keeps its top byte;
- the EXIF orientation is applied;
- JPEGs much larger than what is asked for are decoded at a half, a quarter or an eighth
  of their size (`decode` says when).

All that cannot be decoded ends in an `UnreadableImageError`, whatever went wrong, and
without Pillow's warnings. Any number of threads may decode at once.
"""

from __future__ import annotations

import io
import math
import re
import threading
import warnings
from collections.abc import Sequence

import numpy as np
from PIL import ExifTags, Image, ImageChops, UnidentifiedImageError
from PIL.Image import Resampling, Transpose

# Not all that Pillow opens: for some formats it would start other programs.
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")

MAX_PIXELS = 89_478_485
"""The size of the largest image that is read: Pillow's own limit, 358 MB decoded."""

# What undoes each EXIF orientation but the upright one.
_UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}

_PILLOW = r"PIL\."
_PILLOW_IGNORED = ("ignore", None, Warning, re.compile(_PILLOW), 0)
_filters_lock = threading.Lock()


class UnreadableImageError(ValueError):
    """An encoded image that cannot be decoded; the text is a short reason."""


def decode(data: bytes, shorter_side: int | None = None) -> Image.Image:
    """The image, RGB and upright.

    A JPEG whose shorter side has at least 6 times `shorter_side` pixels is decoded at
    1/2, 1/4 or 1/8 of its size, the smallest at which it keeps 3 times `shorter_side`:
    then a resize to `shorter_side` hardly shows the difference (it is Pillow's
    `reducing_gap=3`), and the time and memory of the full size are saved.

    Args:
        data: the encoded image, one of `FORMATS`.
        shorter_side: the length in pixels, at least 1, that the shorter side will be
            resized to. Defaults to `None`: the image is decoded at its full size.

    Raises:
        UnreadableImageError: if it cannot be decoded, has more than `MAX_PIXELS`
            pixels (none of them is read then), or has pixels of floating point or more
            than 16 bits.
    """
    if not data:
        raise UnreadableImageError("empty file")
    _ignore_warnings_of_pillow()
    try:
        return _decode(data, shorter_side)
    except UnreadableImageError:
        raise
    # A broken file makes Pillow raise nearly anything, TypeError and the like too.
    except Exception as error:
        raise UnreadableImageError(_reason(error)) from error


def resized_size(width: int, height: int, resize: int) -> tuple[int, int]:
    """The size of an image after its shorter side was made `resize` pixels long.

    The longer side is rounded down, as torchvision's `Resize` does it.

    Args:
        width: of the image, at least 1.
        height: of the image, at least 1.
        resize: the length of the shorter side afterwards, at least 1.

    Returns:
        `(width, height)`.
    """
    longer = int(resize * max(width, height) / min(width, height))
    return (resize, longer) if width <= height else (longer, resize)


def crop(
    image: Image.Image, resize: int, image_size: int, top: int, left: int
) -> np.ndarray:
    """A crop of the resized image.

    Args:
        image: an RGB image.
        resize: the length of the shorter side, in pixels, before the crop is cut out.
        image_size: the side of the crop, in pixels, at most `resize`.
        top: the row of the crop's first pixel, in the resized image.
        left: its column.

    Returns:
        uint8, shape `(image_size, image_size, 3)`: the pixels of Pillow's bilinear
        `resize` of the whole image, bit for bit. Not to be written to.
    """
    box = (left, top, left + image_size, top + image_size)
    return np.asarray(_resized_part(image, resized_size(*image.size, resize), box))


def decode_crops(
    data: bytes,
    resize: int,
    image_size: int,
    draws: Sequence[tuple[int, int] | None],
) -> list[np.ndarray]:
    """Crops of an image, which is decoded and resized once for all of them.

    Args:
        data: the encoded image.
        resize: the length of the shorter side, in pixels, before crops are cut out.
        image_size: the side of a crop, in pixels, at most `resize`.
        draws: one for each crop, at least one: a pair of integers in `[0, 2**32)`,
            which choose its first row and column, equally likely all; or None for the
            crop in the centre, where torchvision's `CenterCrop` has it.

    Returns:
        uint8 arrays of shape `(image_size, image_size, 3)`. Not to be written to: they
        may share their pixels.

    Raises:
        UnreadableImageError: if the image cannot be decoded, or is so long that it has
            more than `MAX_PIXELS` pixels after the resize.
    """
    image = decode(data, resize)
    size = width, height = resized_size(*image.size, resize)
    if width * height > MAX_PIXELS:
        raise UnreadableImageError(
            f"{image.width}x{image.height} pixels, too long: {width}x{height} when "
            f"resized, more than {MAX_PIXELS} pixels"
        )
    corners = [_corner(draw, width, height, image_size) for draw in draws]
    first_row = min(top for top, _ in corners)
    first_column = min(left for _, left in corners)
    end_row = max(top for top, _ in corners) + image_size
    end_column = max(left for _, left in corners) + image_size
    part = np.asarray(
        _resized_part(image, size, (first_column, first_row, end_column, end_row))
    )
    return [
        part[top - first_row :, left - first_column :][:image_size, :image_size]
        for top, left in corners
    ]


def _ignore_warnings_of_pillow() -> None:
    """Put a filter for them before all others, unless it is there.

    They are about metadata that nobody asked for. Filters belong to the process, so
    `warnings.catch_warnings` in one thread would change them under the others; this one
    is meant to stay. Code that restores older filters takes it away again: hence it is
    looked for with each image.
    """
    with _filters_lock:
        if not warnings.filters or warnings.filters[0] != _PILLOW_IGNORED:
            warnings.filterwarnings("ignore", module=_PILLOW)


def _decode(data: bytes, shorter_side: int | None) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise UnreadableImageError(
            f"{width}x{height} pixels, more than {MAX_PIXELS} in all"
        )
    if shorter_side is not None:
        # Does nothing to other formats.
        image.draft(None, (3 * shorter_side, 3 * shorter_side))
    image.load()
    turn = _UPRIGHT.get(_orientation(image))
    rgb = _rgb(image)
    return rgb if turn is None else rgb.transpose(turn)


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"not an image, or its header is broken (read are {_listed(FORMATS)})"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {MAX_PIXELS} pixels"
    if isinstance(error, MemoryError):
        return "more memory needed than there is"
    text = str(error) or type(error).__name__
    return f"{'truncated' if 'truncated' in text.lower() else 'broken'}: {text}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + f" and {names[-1]}"


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 where there is none; TIFFs are upright once loaded."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        # Broken EXIF data do not make the pixels worse.
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    """Any image that is loaded, as RGB."""
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode == "F":
        raise UnreadableImageError("floating point pixels, of which white is unknown")
    if image.mode.startswith("I"):
        return _top_byte(image).convert("RGB")
    if image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        # Adobe's programs write the complements of CMYK to JPEGs. Pillow takes them all
        # for such, but those without Adobe's mark hold CMYK itself.
        image = ImageChops.invert(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    on_white = Image.new("RGB", image.size, "white")
    on_white.paste(image, mask=image.getchannel("A"))
    return on_white


def _top_byte(image: Image.Image) -> Image.Image:
    """16-bit grey, in a mode for 16 or 32 bits, as 8-bit grey."""
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise UnreadableImageError(
            f"grey values from {values.min()} to {values.max()}, not of 16 bits"
        )
    grey = (values >> 8).astype(np.uint8)
    transparent = image.info.get("transparency")
    if transparent is not None:
        grey[values == transparent] = 255
    return Image.fromarray(grey)


def _corner(
    draw: tuple[int, int] | None, width: int, height: int, image_size: int
) -> tuple[int, int]:
    """The first row and column of a crop in an image of `width` x `height`."""
    if draw is None:
        # Halves are rounded to the even neighbour, which torchvision does as well.
        return round((height - image_size) / 2), round((width - image_size) / 2)
    top, left = map(int, draw)
    return (
        (top * (height - image_size + 1)) >> 32,
        (left * (width - image_size + 1)) >> 32,
    )


def _resized_part(
    image: Image.Image, size: tuple[int, int], box: tuple[int, int, int, int]
) -> Image.Image:
    """`image.resize(size, BILINEAR).crop(box)`, bit for bit, in less time.

    Pillow resizes rows first, then columns, and rounds to bytes between. So do the two
    steps here, each only for what the box shows. Pillow's own argument `box` would save
    more, but its places are 32-bit floats: one value in about 1,000 comes out higher or
    lower by 1.

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
    # Each pixel is a mean over `reach` on both sides of its centre; one pixel more on
    # each side is for the rounding.
    scale = image.height / height
    reach = max(scale, 1.0)
    first = max(0, math.floor((top + 0.5) * scale - reach) - 1)
    end = min(image.height, math.ceil((bottom - 0.5) * scale + reach) + 1)
    rows = image.crop((0, first, image.width, end))
    rows = rows.resize((width, end - first), Resampling.BILINEAR)
    # The other rows are black; they keep those that count in their places.
    columns = rows.crop((left, -first, right, image.height - first))
    columns = columns.resize((right - left, height), Resampling.BILINEAR)
    return columns.crop((0, top, right - left, bottom))
