"""Images in the bytes of files, and what decoding makes of them."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from sop_keras.data.images.decoding import (
    decode,
)

ORIENTATION = 0x0112


def encoded(image, image_format, **options):
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def random_pixels(height, width, channels=3, seed=0):
    shape = (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def flat(mode, colour, size=(16, 16)):
    return Image.new(mode, size, colour)


def pixels(data):
    image = decode(data)
    assert image.mode == "RGB"
    return np.asarray(image)


def colour_of(data):
    """The colour of an image that has just one, within what JPEG leaves of it."""
    array = pixels(data).astype(int)
    assert np.ptp(array, axis=(0, 1)).max() <= 1
    return array.mean(axis=(0, 1))


# Modes


def palette_image():
    """Pixels 0, 1, 2, 3 in a row: black, red, green, blue."""
    image = Image.fromarray(np.arange(4, dtype=np.uint8)[None]).convert("P")
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    return image


def exif(orientation):
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return tags


def png_chunk(name, content):
    checksum = struct.pack(">L", zlib.crc32(name + content))
    return struct.pack(">L", len(content)) + name + content + checksum
