"""Encoded images to crops of pixels, whatever they hold.

Pillow decodes; what it leaves open is settled here. All images come out as RGB, upright
and with their first frame:

- grey images, palettes, CMYK and YCCK are converted (colour profiles are ignored);
- what is transparent lies on white;
- grey of 12 or 16 bits keeps its top 8 bits, white as zero is turned round;
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
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.Image import Resampling, Transpose
from PIL.JpegImagePlugin import JpegImageFile

from sop_keras.data.images.crops import Draw, ResizedCrop, crop_corner
from sop_keras.data.images.encoded_images import DECODINGS, EXACT, FAST
from sop_keras.data.images.image_limits import (
    MAX_PIXELS,
    UnreadableImageError,
    check_header,
    check_memory,
    check_resized,
    check_scans,
    resized_size,
)
from sop_keras.data.images.resized_parts import exact_part, fast_part
from sop_keras.data.images.rgb import to_rgb
from sop_keras.validation import check_choice_of

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

_ON_ITS_SIDE = (
    *(Transpose.TRANSPOSE, Transpose.ROTATE_270),
    *(Transpose.TRANSVERSE, Transpose.ROTATE_90),
)

# How many times the length that it is resized to a JPEG keeps of its shorter side.
_GAP = 3
_FAST_GAP = 2.5

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
    return _checked_decode(data, shorter_side, None, is_fast=False).image


@dataclass(frozen=True)
class _Decoded:
    """A decoded image, and what of it is resized.

    Args:
        image: RGB and upright.
        size: the width and height that it has when decoded exactly.
        box: left, top, right and bottom, in pixels of `image`, of what stands for all
            of that.
    """

    image: Image.Image
    size: tuple[int, int]
    box: tuple[float, float, float, float]

    def source(
        self, box: tuple[int, int, int, int], size: tuple[int, int]
    ) -> tuple[float, float, float, float]:
        """Where a box of the image resized to `size` lies in the image."""
        left, top, right, bottom = self.box
        across, down = (right - left) / size[0], (bottom - top) / size[1]
        return (
            left + box[0] * across,
            top + box[1] * down,
            min(left + box[2] * across, self.image.width),
            min(top + box[3] * down, self.image.height),
        )


def _checked_decode(
    data: bytes, shorter_side: int | None, resize: int | None, is_fast: bool
) -> _Decoded:
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
        return _decode(image, shorter_side, is_fast)
    except (UnreadableImageError, MemoryError):
        raise
    except Exception as error:
        check_memory(image)
        raise UnreadableImageError(_reason(error)) from error


def decode_crops(
    data: bytes,
    resize: int,
    image_size: int,
    draws: Sequence[Draw],
    decoding: str = EXACT,
) -> list[np.ndarray]:
    """Crops of an image, which is decoded and resized once for all of them.

    Crops lie in the same places however they are decoded. Those of `"fast"` differ in
    their pixels:

    - they are resized alone, by places that are 32-bit floats: about one value in 1,000
      is another, by 1; up to 15 in 100, by at most 2, where the ratio of sizes has many
      values lie halfway between two, such as 256 to 320;
    - JPEGs are decoded at 1/2, 1/4 or 1/8 of their size from 5, 10 or 20 times `resize`
      on, where exact decoding asks for 6, 12 and 24 times.

    Args:
        data: the encoded image.
        resize: the length of the shorter side, in pixels, before crops are cut out.
        image_size: the side of a crop, in pixels, at most `resize`.
        draws: one for each crop, at least one: a pair of integers in `[0, 2**32)`,
            which choose its first row and column, equally likely all; None for the
            crop in the centre, where torchvision's `CenterCrop` has it; or a
            `ResizedCrop`, whose region of the decoded image is resized instead.
        decoding: one of `DECODINGS`. Defaults to `"exact"`.

    Returns:
        uint8 arrays of shape `(image_size, image_size, 3)`. Not to be written to: they
        may share their pixels.

    Raises:
        UnreadableImageError: if the image cannot be decoded, or is so long that it has
            more than `MAX_PIXELS` pixels after the resize.
        MemoryError: if there is less memory than it may take.
    """
    decoded = _resizable(data, resize, decoding)
    size = resized_size(*decoded.size, resize)
    corners = {
        place: crop_corner(draw, *size, image_size)
        for place, draw in enumerate(draws)
        if not isinstance(draw, ResizedCrop)
    }
    cut = {}
    if corners:
        first_row = min(top for top, _ in corners.values())
        first_column = min(left for _, left in corners.values())
        end_row = max(top for top, _ in corners.values()) + image_size
        end_column = max(left for _, left in corners.values()) + image_size
        box = (first_column, first_row, end_column, end_row)
        part = np.asarray(_part(decoded, size, box, decoding))
        cut = {
            place: part[top - first_row :, left - first_column :][
                :image_size, :image_size
            ]
            for place, (top, left) in corners.items()
        }
    for place, draw in enumerate(draws):
        if isinstance(draw, ResizedCrop):
            region = draw.region(*decoded.size)
            cut[place] = np.asarray(_resized_region(decoded, region, image_size))
    return [cut[place] for place in range(len(draws))]


def decode_resized(data: bytes, resize: int, decoding: str = EXACT) -> Image.Image:
    """The whole image that `decode_crops` cuts crops out of.

    Args:
        data: the encoded image.
        resize: the length of the shorter side afterwards, in pixels, at least 1.
        decoding: one of `DECODINGS`. Defaults to `"exact"`.

    Returns:
        RGB; the longer side is rounded down.

    Raises:
        UnreadableImageError: as `decode_crops`.
        MemoryError: as `decode_crops`.
    """
    decoded = _resizable(data, resize, decoding)
    size = resized_size(*decoded.size, resize)
    return _part(decoded, size, (0, 0, *size), decoding)


def _resizable(data: bytes, resize: int, decoding: str) -> _Decoded:
    """An image that is to be resized, and not too long for it."""
    check_choice_of("decoding", decoding, DECODINGS)
    decoded = _checked_decode(data, resize, resize, is_fast=decoding == FAST)
    check_resized(*decoded.size, resize)  # JPEGs may be a little longer at a half size
    return decoded


def _resized_region(
    decoded: _Decoded, region: tuple[int, int, int, int], image_size: int
) -> Image.Image:
    """A region of the image, in pixels of `decoded.size`, as a square."""
    image, size = decoded.image, (image_size, image_size)
    if image.size == decoded.size:
        return image.crop(region).resize(size, Resampling.BILINEAR)
    return image.resize(
        size, Resampling.BILINEAR, box=decoded.source(region, decoded.size)
    )


def _part(
    decoded: _Decoded,
    size: tuple[int, int],
    box: tuple[int, int, int, int],
    decoding: str,
) -> Image.Image:
    """A part of the image as it is after the resize to `size`."""
    if decoding == EXACT or decoded.image.size == size:
        return exact_part(decoded.image, size, box)
    return fast_part(decoded.image, size, box, decoded.source(box, size))


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


def _decode(image: Image.Image, shorter_side: int | None, is_fast: bool) -> _Decoded:
    scale = exact_scale = 1
    width, height = image.size
    if shorter_side is not None and isinstance(image, JpegImageFile):
        scale = exact_scale = _jpeg_scale(image.size, _GAP * shorter_side)
        if is_fast:
            scale = _jpeg_scale(image.size, math.ceil(_FAST_GAP * shorter_side))
            # Turned, the image would begin with the part of a pixel that it ends with.
            is_even = width % scale == 0 == height % scale
            if not is_even and _orientation(image) in _UPRIGHT:
                scale = exact_scale
        image.draft(None, (width // scale, height // scale))
    image.load()
    turn = _UPRIGHT.get(_orientation(image))
    rgb = to_rgb(image)
    # At a half size, the last pixel of an odd length stands for one and a half.
    size = (-(-width // exact_scale), -(-height // exact_scale))
    ratio = exact_scale / scale
    if scale == exact_scale:
        size = rgb.size  # also of what is turned as it is loaded
    end = (size[0] * ratio, size[1] * ratio)
    if turn is not None:
        if rgb is not image:
            image.close()  # its pixels are not needed any more
        rgb = rgb.transpose(turn)
        if turn in _ON_ITS_SIDE:
            size, end = size[::-1], end[::-1]
    return _Decoded(rgb, size, (0, 0, min(end[0], rgb.width), min(end[1], rgb.height)))


def _jpeg_scale(size: tuple[int, int], least: int) -> int:
    """At what part of its size a JPEG is decoded that keeps `least` pixels a side."""
    return max(scale for scale in (1, 2, 4, 8) if scale <= max(1, min(size) // least))


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
