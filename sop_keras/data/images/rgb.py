"""Decoded images of any mode as RGB: grey, palettes, CMYK, transparency, 16 bits."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageChops

from sop_keras.data.images.image_limits import UnreadableImageError

# Rows of 16 bits that are made into bytes together.
_ROWS_AT_ONCE = 256

# Tags of TIFF: what zero is, and how many bits a value has.
_PHOTOMETRIC, _BITS_PER_SAMPLE = 262, 258
_WHITE_IS_ZERO = 0


def to_rgb(image: Image.Image) -> Image.Image:
    """Any image that is loaded, as RGB. What it was may be closed afterwards.

    Raises:
        UnreadableImageError: for pixels of floating point or more than 16 bits.
    """
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
    """16-bit grey, in a mode for 16 or 32 bits, as 8-bit grey.

    TIFFs may have values of 12 bits, and white as zero, which Pillow leaves as it is.
    """
    tags = getattr(image, "tag_v2", {})
    shift = 4 if tags.get(_BITS_PER_SAMPLE) == (12,) else 8
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise UnreadableImageError(
            f"grey values from {values.min()} to {values.max()}, not of 16 bits"
        )
    grey = np.empty(values.shape, np.uint8)
    for start in range(0, len(values), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        grey[rows] = values[rows] >> shift
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        np.subtract(255, grey, out=grey)
    transparent = image.info.get("transparency")
    if transparent is not None:
        grey[values == transparent] = 255
    return Image.fromarray(grey)
