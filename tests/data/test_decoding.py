import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from encoded_images import (
    colour_of,
    encoded,
    flat,
    palette_image,
    pixels,
    png_chunk,
    random_pixels,
)
from PIL import Image

from sop_keras.data.images.decoding import (
    UnreadableImageError,
    decode,
)

ORIENTATION = 0x0112
BILINEAR = Image.Resampling.BILINEAR

GREY = np.array([[0, 7, 200, 255]], np.uint8)
RGB = random_pixels(5, 7)
IN_PALETTE = [[[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]]]


@pytest.mark.parametrize(
    ("image", "formats", "expected"),
    [
        (GREY, "PNG GIF BMP TIFF", np.repeat(GREY[..., None], 3, axis=-1)),
        (GREY > 100, "PNG TIFF", [[[0] * 3, [0] * 3, [255] * 3, [255] * 3]]),
        (RGB, "PNG WEBP BMP TIFF", RGB),
        (palette_image(), "PNG GIF BMP TIFF", IN_PALETTE),
    ],
)
def test_common_modes(image, formats, expected):
    for name in formats.split():
        options = {"lossless": True} if name == "WEBP" else {}
        data = encoded(image, name, **options)
        np.testing.assert_array_equal(pixels(data), expected)


def test_grey_jpeg():
    assert colour_of(encoded(flat("L", 77), "JPEG")).tolist() == [77, 77, 77]


WHITE = [255, 255, 255]
# 128 of 255 parts of 200 and 127 of white are 227.4; of 100, 177.2; of 0, 127.
RGBA = np.array([[[200, 100, 0, alpha] for alpha in (0, 128, 255)]], np.uint8)
RGBA_ON_WHITE = [WHITE, [227, 177, 127], [200, 100, 0]]
LA = np.array([[[200, 0], [200, 128], [100, 128], [0, 255]]], np.uint8)
LA_ON_WHITE = [WHITE, [227] * 3, [177] * 3, [0] * 3]
WITHOUT_GREEN = [[0] * 3, [255, 0, 0], WHITE, [0, 0, 255]]
# Black and red with alpha 128.
PALE = [[127] * 3, [255, 127, 127], WHITE, [0, 0, 255]]
NEARLY_EQUAL = np.array([[[1, 2, 3], [1, 2, 4]]], np.uint8)


@pytest.mark.parametrize(
    ("image", "image_format", "options", "expected"),
    [
        (RGBA, "PNG", {}, RGBA_ON_WHITE),
        (RGBA, "TIFF", {}, RGBA_ON_WHITE),
        (RGBA, "WEBP", {"lossless": True, "exact": True}, RGBA_ON_WHITE),
        (LA, "PNG", {}, LA_ON_WHITE),
        (palette_image(), "PNG", {"transparency": 2}, WITHOUT_GREEN),
        (palette_image(), "GIF", {"transparency": 2}, WITHOUT_GREEN),
        (palette_image(), "PNG", {"transparency": b"\x80\x80\x00"}, PALE),
        (NEARLY_EQUAL, "PNG", {"transparency": (1, 2, 3)}, [WHITE, [1, 2, 4]]),
        (GREY, "PNG", {"transparency": 7}, [[0] * 3, WHITE, [200] * 3, WHITE]),
    ],
)
def test_what_is_transparent_is_on_white(image, image_format, options, expected):
    data = encoded(image, image_format, **options)
    np.testing.assert_array_equal(pixels(data), [expected])


def test_cmyk_tiff():
    # (255 - 51) * (255 - 51) / 255 is 163.2; no ink at all leaves 255 - 51.
    data = encoded(flat("CMYK", (255, 51, 0, 51)), "TIFF")
    np.testing.assert_allclose(colour_of(data), [0, 163, 204], atol=1)


def as_it_is(jpeg, adobe):
    return jpeg


def without_the_mark(jpeg, adobe):
    (length,) = struct.unpack(">H", jpeg[adobe + 2 : adobe + 4])
    return jpeg[:adobe] + jpeg[adobe + 2 + length :]


def as_ycck(jpeg, adobe):
    transform = adobe + 15
    assert jpeg[transform] == 0
    return jpeg[:transform] + b"\2" + jpeg[transform + 1 :]


@pytest.mark.parametrize(
    ("inks", "change", "expected"),
    [
        ((255, 51, 0, 51), as_it_is, (0, 163, 204)),
        # The file has the complements of the inks, as Adobe's mark says. Without it,
        # they are the inks: (0, 204, 255, 204). 51 * 51 / 255 is 10.2.
        ((255, 51, 0, 51), without_the_mark, (51, 10, 0)),
        # Y = 100, Cb = 128, Cr = 178 and K = 204 are in the file. The inks are
        # R = 100 + 1.402 * 50, G = 100 - 0.714 * 50 and B = 100, hence the colours
        # (255 - 170.1) * 204 / 255, (255 - 64.3) * 204 / 255 and 155 * 204 / 255.
        ((155, 127, 77, 51), as_ycck, (68, 152.6, 124)),
    ],
)
def test_jpegs_of_four_colours(inks, change, expected):
    jpeg = encoded(flat("CMYK", inks), "JPEG", quality=100)
    adobe = jpeg.index(b"\xff\xee")
    assert jpeg[adobe + 4 : adobe + 9] == b"Adobe"
    data = change(jpeg, adobe)
    np.testing.assert_allclose(colour_of(data), expected, atol=2)
    peer = tf.io.decode_jpeg(data, channels=3).numpy()
    np.testing.assert_allclose(pixels(data), peer.astype(int), atol=2)


SIXTEEN_BITS = np.array([[0x1234, 0xFFFF, 0x00FF, 0x8000, 0x0100]], np.uint16)
BIG_END_FIRST = Image.frombytes("I;16B", (5, 1), SIXTEEN_BITS.astype(">u2").tobytes())
TOP_BYTES = np.repeat([[[0x12], [0xFF], [0x00], [0x80], [0x01]]], 3, axis=-1)


@pytest.mark.parametrize(
    ("image", "image_format", "mode"),
    [
        (SIXTEEN_BITS, "PNG", "I;16"),
        (SIXTEEN_BITS, "TIFF", "I;16"),
        (BIG_END_FIRST, "TIFF", "I;16B"),
        (SIXTEEN_BITS.astype(np.int32), "TIFF", "I"),
    ],
)
def test_grey_of_16_bits(image, image_format, mode):
    data = encoded(image, image_format)
    assert Image.open(io.BytesIO(data)).mode in (mode, "I")
    np.testing.assert_array_equal(pixels(data), TOP_BYTES)


def grey_tiff(width, bits, white, data, orientation=1):
    """A TIFF of a row of grey values, tag by tag; `white` is 0 where zero is white."""
    tags = {256: width, 257: 1, 258: bits, 259: 1, 262: white, 273: 0}
    tags |= {274: orientation, 277: 1, 278: 1, 279: len(data)}
    tags[273] = 8 + 2 + 12 * len(tags) + 4  # where the values begin
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items()]
    head = b"II*\0" + struct.pack("<IH", 8, len(tags))
    return head + b"".join(entries) + bytes(4) + data


@pytest.mark.parametrize("orientation", [1, 2])
@pytest.mark.parametrize("white", [0, 1])
def test_tiffs_whose_zero_is_white(white, orientation):
    data = SIXTEEN_BITS.astype("<u2").tobytes()
    received = pixels(grey_tiff(5, 16, white, data, orientation))[0, :, 0]
    grey = [0x12, 0xFF, 0x00, 0x80, 0x01]
    negative = [0xED, 0x00, 0xFF, 0x7F, 0xFE]  # 255 less each
    expected = grey if white else negative
    assert received.tolist() == (expected if orientation == 1 else expected[::-1])


def test_grey_of_12_bits():
    # 0x123, 0xFFF, 0x00F and 0x800, two in three bytes.
    data = grey_tiff(4, 12, 1, bytes.fromhex("123FFF00F800"))
    assert pixels(data)[0, :, 0].tolist() == [0x12, 0xFF, 0x00, 0x80]


def test_colours_of_16_bits():
    colours = np.stack([SIXTEEN_BITS, SIXTEEN_BITS[:, ::-1], SIXTEEN_BITS], axis=-1)
    data = tf.io.encode_png(colours).numpy()
    np.testing.assert_array_equal(pixels(data), colours >> 8)


def test_a_transparent_grey_of_16_bits_is_white():
    data = bytearray(encoded(SIXTEEN_BITS, "PNG"))
    before_the_pixels = data.index(b"IDAT") - 4
    data[before_the_pixels:before_the_pixels] = png_chunk(b"tRNS", b"\x00\xff")
    expected = TOP_BYTES.copy()
    expected[0, 2] = 255
    np.testing.assert_array_equal(pixels(bytes(data)), expected)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.array([[3, 0x10000]], np.int32), "grey values from 3 to 65536, not of 16"),
        (np.array([[3, -1]], np.int32), "grey values from -1 to 3, not of 16 bits"),
        (np.array([[3, 1]], np.float32), "floating point pixels"),
    ],
)
def test_grey_without_a_top_byte(values, reason):
    with pytest.raises(UnreadableImageError, match=reason):
        decode(encoded(values, "TIFF"))


# Orientation
