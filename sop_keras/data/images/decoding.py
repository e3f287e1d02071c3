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
without Pillow's warnings; so does what is too large or too slow, by its header, before
its pixels are decoded (`image_limits.py`). Where memory is short, it is a MemoryError,
never the image's fault. Any number of threads may decode at once.
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

from sop_keras.data.images.image_limits import (
    MAX_PIXELS,
    UnreadableImageError,
    check_header,
    check_memory,
    check_resized,
    check_scans,
    resized_size,
)

# Not all that Pillow opens: for some formats it would start other programs.
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")

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

# Rows of 16 bits that are made into bytes together.
_ROWS_AT_ONCE = 256

_PILLOW = r"PIL\."
_PILLOW_IGNORED = ("ignore", None, Warning, re.compile(_PILLOW), 0)
_filters_lock = threading.Lock()


def decode(data: bytes, shorter_side: int | None = None) -> Image.Image:
    """The image, RGB and upright.

    A JPEG whose shorter side has at least 6 times `shorter_side` pixels is decoded at
    1/2, 1/4 or 1/8 of its size, the smallest at which it keeps 3 times `shorter_side`:
    then a resize to `shorter_side` hardly shows the difference (it is Pillow's
    `reducing_gap=3`), and the time and memory of the full size are saved.

    Besides `data`, it takes at most 1.1 GB of memory at a time (`MAX_DECODING_BYTES`),
    12 bytes a pixel, 18 of a WebP.

    Args:
        data: the encoded image, one of `FORMATS`.
        shorter_side: the length in pixels, at least 1, that the shorter side will be
            resized to. Defaults to `None`: the image is decoded at its full size.

    Raises:
        UnreadableImageError: if it cannot be decoded, has more than `MAX_PIXELS`
            pixels, takes more than `MAX_DECODING_BYTES` or has more than `MAX_SCANS`
            scans (no pixel is decoded then), or has pixels of floating point or more
            than 16 bits.
        MemoryError: if there is less memory than it may take.
    """
    return _checked_decode(data, shorter_side, None)


def _checked_decode(
    data: bytes, shorter_side: int | None, resize: int | None
) -> Image.Image:
    if not data:
        raise UnreadableImageError("empty file")
    _ignore_warnings_of_pillow()
    check_scans(data)
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        check_header(image, resize)
    except (UnreadableImageError, MemoryError):
        raise
    # A broken file makes Pillow raise nearly anything, TypeError and the like too.
    except Exception as error:
        raise UnreadableImageError(_reason(error)) from error
    try:
        return _decode(image, shorter_side)
    except (UnreadableImageError, MemoryError):
        raise
    except Exception as error:
        check_memory(image)
        raise UnreadableImageError(_reason(error)) from error


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
        MemoryError: if there is less memory than it may take.
    """
    image = _checked_decode(data, resize, resize)
    check_resized(*image.size, resize)  # JPEGs may be a little longer at a half size
    size = width, height = resized_size(*image.size, resize)
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


def decode_resized(data: bytes, resize: int) -> Image.Image:
    """The whole image that `decode_crops` cuts crops out of.

    Args:
        data: the encoded image.
        resize: the length of the shorter side afterwards, in pixels, at least 1.

    Returns:
        RGB, of Pillow's bilinear `resize`; the longer side is rounded down.

    Raises:
        UnreadableImageError: as `decode_crops`.
        MemoryError: as `decode_crops`.
    """
    image = _checked_decode(data, resize, resize)
    check_resized(*image.size, resize)
    size = resized_size(*image.size, resize)
    return image if image.size == size else image.resize(size, Resampling.BILINEAR)


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


def _decode(image: Image.Image, shorter_side: int | None) -> Image.Image:
    if shorter_side is not None:
        # Does nothing to other formats.
        image.draft(None, (3 * shorter_side, 3 * shorter_side))
    image.load()
    turn = _UPRIGHT.get(_orientation(image))
    rgb = _rgb(image)
    if turn is None:
        return rgb
    if rgb is not image:
        image.close()  # its pixels are not needed any more
    return rgb.transpose(turn)


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"not an image, or its header is broken (read are {_listed(FORMATS)})"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {MAX_PIXELS} pixels"
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
    """Any image that is loaded, as RGB. What it was may be closed afterwards."""
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode == "F":
        raise UnreadableImageError("floating point pixels, of which white is unknown")
    if image.mode.startswith("I"):
        return _top_byte(image).convert("RGB")
    if image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        # Adobe's programs write the complements of CMYK to JPEGs. Pillow takes them all
        # for such, but those without Adobe's mark hold CMYK itself.
        image = _instead(image, ImageChops.invert(image))
    if not image.has_transparency_data:
        return image.convert("RGB")
    if image.mode != "RGBA":
        image = _instead(image, image.convert("RGBA"))
    on_white = Image.new("RGB", image.size, "white")
    on_white.paste(image, mask=image.getchannel("A"))
    return on_white


def _instead(old: Image.Image, new: Image.Image) -> Image.Image:
    """The new image, without the memory of the old one."""
    old.close()
    return new


def _top_byte(image: Image.Image) -> Image.Image:
    """16-bit grey, in a mode for 16 or 32 bits, as 8-bit grey."""
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise UnreadableImageError(
            f"grey values from {values.min()} to {values.max()}, not of 16 bits"
        )
    grey = np.empty(values.shape, np.uint8)
    for start in range(0, len(values), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        grey[rows] = values[rows] >> 8
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
