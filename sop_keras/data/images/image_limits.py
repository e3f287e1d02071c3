"""How large an encoded image may be, told from its header before a pixel is decoded."""

from __future__ import annotations

import numpy as np
from PIL import Image

MAX_PIXELS = 89_478_485
"""The size of the largest image that is read: Pillow's own limit."""

MAX_DECODING_BYTES = 1_100_000_000
"""How much memory the decoding of one image may take, beside what is encoded.

An image of `MAX_PIXELS` fits in, at 12 bytes a pixel; a WebP of 61 megapixels does.
"""

MAX_SCANS = 100
"""How many scans a progressive JPEG may have; each takes as long as a whole image.

Encoders write about 10.
"""

# At the most: decoded, with the coefficients, strips or canvases that lead to it, and
# made RGB and upright, where older steps go when newer ones are there.
_BYTES_A_PIXEL = 12
_BYTES_A_PIXEL_OF = {"WEBP": 18}
# Pillow has a pointer to each row, and three images at a time.
_BYTES_A_ROW = 24

_TILE_WIDTH, _TILE_LENGTH = 322, 323

_START_OF_SCAN = b"\xff\xda"


class UnreadableImageError(ValueError):
    """An encoded image that cannot be decoded; the text is a short reason."""


def check_header(image: Image.Image, resize: int | None) -> None:
    """Check what an image that is opened, not loaded, says of its size.

    Args:
        image: as Pillow opened it.
        resize: the length in pixels that its shorter side will be made. Defaults to
            `None`: it stays as it is.

    Raises:
        UnreadableImageError: if it has more than `MAX_PIXELS` pixels, now or after the
            resize, or would take more than `MAX_DECODING_BYTES`.
    """
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise UnreadableImageError(
            f"{width}x{height} pixels, more than {MAX_PIXELS} in all"
        )
    if resize is not None:
        check_resized(width, height, resize)
    needed = decoding_bytes(image)
    if needed > MAX_DECODING_BYTES:
        raise UnreadableImageError(
            f"{width}x{height} pixels as {image.format}, whose decoding takes "
            f"{needed:,} bytes, more than {MAX_DECODING_BYTES:,}"
        )
    columns, rows = _tile(image)
    if columns * rows > MAX_PIXELS:
        raise UnreadableImageError(
            f"tiles of {columns}x{rows} pixels, more than {MAX_PIXELS}"
        )


def check_resized(width: int, height: int, resize: int) -> None:
    """Check the size of an image after its shorter side was made `resize` pixels long.

    Raises:
        UnreadableImageError: if it has more than `MAX_PIXELS` pixels then.
    """
    resized = resized_size(width, height, resize)
    if resized[0] * resized[1] > MAX_PIXELS:
        raise UnreadableImageError(
            f"{width}x{height} pixels, too long: {resized[0]}x{resized[1]} when "
            f"resized, more than {MAX_PIXELS} pixels"
        )


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


def decoding_bytes(image: Image.Image) -> int:
    """The most memory that the decoding of an image may take, in bytes."""
    a_pixel = _BYTES_A_PIXEL_OF.get(image.format or "", _BYTES_A_PIXEL)
    return image.height * (image.width * a_pixel + _BYTES_A_ROW)


def check_memory(image: Image.Image) -> None:
    """Check that there is as much memory as the decoding of an image may take.

    To be called after it failed: decoders say "broken" where they got none, and a good
    image would be left out.

    Raises:
        MemoryError: if there is not.
    """
    # Asked for and given back, not used: it takes no time.
    np.empty(min(decoding_bytes(image), MAX_DECODING_BYTES), np.uint8)


def check_scans(data: bytes) -> None:
    """Check that a JPEG has at most `MAX_SCANS` scans; of other formats, nothing.

    Raises:
        UnreadableImageError: if it has more.
    """
    if not data.startswith(b"\xff\xd8") or data.count(_START_OF_SCAN) <= MAX_SCANS:
        return
    # Metadata may have the two bytes by chance, or thumbnails.
    count = _num_scans(data)
    if count > MAX_SCANS:
        raise UnreadableImageError(f"a JPEG of {count} scans, more than {MAX_SCANS}")


def _num_scans(data: bytes) -> int:
    """The scans of a JPEG, whose segments are passed over; up to its end, or a break.

    Inside a scan, a byte 0xff is followed by a zero or the number of a restart.
    """
    count, place = 0, 2
    while (place := data.find(b"\xff", place)) >= 0 and place + 1 < len(data):
        marker = data[place + 1]
        if marker == 0xD9:  # end of image
            break
        if marker == 0xFF:  # fill
            place += 1
        elif marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:  # without a length
            place += 2
        else:
            count += marker == 0xDA
            place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return count


def _tile(image: Image.Image) -> tuple[int, int]:
    """Width and length of the tiles of a TIFF, which are decoded whole; 0 without."""
    tags = getattr(image, "tag_v2", None)
    if image.format != "TIFF" or tags is None:
        return 0, 0
    sizes = (tags.get(_TILE_WIDTH, 0), tags.get(_TILE_LENGTH, 0))
    columns, rows = (size if isinstance(size, int) else 0 for size in sizes)
    return columns, rows
