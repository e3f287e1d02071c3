import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from sop_keras.data.images import decoding
from sop_keras.data.images.decoding import (
    MAX_PIXELS,
    UnreadableImageError,
    decode,
    decode_windows,
    resized_size,
    window,
)

ORIENTATION = 0x0112
BILINEAR = Image.Resampling.BILINEAR


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

UPRIGHT = np.array([[10, 60, 110], [160, 210, 250]], np.uint8)
# EXIF says which sides of the picture the first row and column of the file are.
STORED = {
    1: UPRIGHT,  # top, left
    2: [[110, 60, 10], [250, 210, 160]],  # top, right
    3: [[250, 210, 160], [110, 60, 10]],  # bottom, right
    4: [[160, 210, 250], [10, 60, 110]],  # bottom, left
    5: [[10, 160], [60, 210], [110, 250]],  # left, top
    6: [[110, 250], [60, 210], [10, 160]],  # right, top
    7: [[250, 110], [210, 60], [160, 10]],  # right, bottom
    8: [[160, 10], [210, 60], [250, 110]],  # left, bottom
}


def exif(orientation):
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return tags


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation(image_format, orientation):
    # Squares of 16 pixels, which a JPEG keeps apart.
    stored = np.kron(np.array(STORED[orientation], np.uint8), np.ones((16, 16)))
    options = {"JPEG": {"quality": 98}, "WEBP": {"lossless": True}}
    data = encoded(
        stored.astype(np.uint8),
        image_format,
        exif=exif(orientation),
        **options.get(image_format, {}),
    )
    received = pixels(data)
    assert received.shape == (32, 48, 3)
    expected = np.repeat(UPRIGHT[..., None].astype(int), 3, axis=-1)
    tolerance = 2 if image_format == "JPEG" else 0
    np.testing.assert_allclose(received[8::16, 8::16], expected, atol=tolerance)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_there_is_not(orientation):
    data = encoded(UPRIGHT, "PNG", exif=exif(orientation))
    np.testing.assert_array_equal(pixels(data)[..., 0], UPRIGHT)


def jpeg_with_broken_exif():
    # One tag, of type 2 (text), said to have 200 bytes from place 8,000 on.
    directory = struct.pack(">HHHLLL", 1, 0x010E, 2, 200, 8000, 0)
    return encoded(flat("L", 77), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08" + directory)


def test_broken_exif_is_no_matter():
    data = jpeg_with_broken_exif()
    with pytest.warns(UserWarning, match="Tag data|Truncated"):
        Image.open(io.BytesIO(data)).getexif()
    assert colour_of(data).tolist() == [77, 77, 77]
    for garbage in (b"", b"MM", b"MM\0*\0\0\0\x08\xff\xff", b"nonsense" * 9):
        for image_format in ("JPEG", "PNG", "WEBP"):
            data = encoded(flat("L", 77), image_format, exif=b"Exif\0\0" + garbage)
            assert colour_of(data).tolist() == [77, 77, 77]


# Frames and sizes


@pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame(image_format):
    frames = [flat("RGB", colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if image_format == "WEBP" else {}
    data = encoded(
        frames[0], image_format, save_all=True, append_images=frames[1:], **options
    )
    assert Image.open(io.BytesIO(data)).n_frames == 3
    assert colour_of(data).tolist() == [255, 0, 0]


def png_chunk(name, content):
    checksum = struct.pack(">L", zlib.crc32(name + content))
    return struct.pack(">L", len(content)) + name + content + checksum


def png_without_pixels(width, height):
    header = struct.pack(">LLBBBBB", width, height, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header)
    return start + png_chunk(b"IDAT", b"")


@pytest.mark.parametrize(
    ("width", "height", "text"),
    [
        # From here on Pillow warns,
        (10_000, 9_000, "^10000x9000 pixels, more than 89478485"),
        (MAX_PIXELS + 1, 1, "^89478486x1 pixels, more than 89478485"),
        # from here on it refuses.
        (60_000, 60_000, "^more than 89478485 pixels"),
    ],
)
def test_too_many_pixels(width, height, text):
    # There are none in the data: that is not what is complained about.
    with pytest.raises(UnreadableImageError, match=text):
        decode(png_without_pixels(width, height))


def test_the_largest_image(monkeypatch):
    assert MAX_PIXELS == Image.MAX_IMAGE_PIXELS
    monkeypatch.setattr(decoding, "MAX_PIXELS", 12)
    assert decode(encoded(flat("L", 0, (4, 3)), "PNG")).size == (4, 3)
    with pytest.raises(UnreadableImageError, match="13x1 pixels, more than 12"):
        decode(encoded(flat("L", 0, (13, 1)), "PNG"))


@pytest.mark.parametrize(
    ("shorter_side", "expected"),
    [
        (None, (1600, 1200)),
        (201, (1600, 1200)),  # 603 pixels would have to be left, half has 600
        (200, (800, 600)),
        (101, (800, 600)),
        (100, (400, 300)),
        (50, (200, 150)),
        (1, (200, 150)),
    ],
)
def test_huge_jpegs_are_decoded_at_a_part_of_their_size(shorter_side, expected):
    image = flat("RGB", (10, 200, 90), (1600, 1200))
    data = encoded(image, "JPEG", exif=exif(6))
    decoded = decode(data, shorter_side)
    assert decoded.size == expected[::-1]  # on its side
    np.testing.assert_allclose(np.asarray(decoded)[7, 9], [10, 200, 90], atol=2)
    assert decode(encoded(image, "PNG"), shorter_side).size == (1600, 1200)


# What cannot be read


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "^empty file$"),
        (b"\0", "^not an image"),
        (b"<html>404 Not Found</html>" * 50, "^not an image, .*JPEG, PNG, .* and TIFF"),
        (b"\xff\xd8\xff\xe0", "truncated|^not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "^not an image"),
        (png_without_pixels(0, 5), "^not an image"),
    ],
)
def test_no_image(data, reason):
    with pytest.raises(UnreadableImageError, match=reason):
        decode(data)


def test_a_reason_without_a_text(monkeypatch):
    def out_of_memory(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(Image, "open", out_of_memory)
    with pytest.raises(UnreadableImageError, match="more memory needed"):
        decode(b"image")


COLOURS = Image.fromarray(random_pixels(24, 32))
FILES = {
    "jpeg": encoded(COLOURS, "JPEG", exif=exif(6)),
    "progressive": encoded(COLOURS, "JPEG", progressive=True),
    "cmyk": encoded(COLOURS.convert("CMYK"), "JPEG"),
    "png": encoded(COLOURS.convert("RGBA"), "PNG", exif=exif(6)),
    "palette": encoded(COLOURS.quantize(16), "PNG", transparency=b"\x80\x00"),
    "gif": encoded(COLOURS.quantize(16), "GIF"),
    "webp": encoded(COLOURS.convert("RGBA"), "WEBP", exif=exif(6)),
    "bmp": encoded(COLOURS, "BMP"),
    "tiff": encoded(COLOURS, "TIFF", compression="tiff_lzw"),
}


def readable(data):
    try:
        decode(data, shorter_side=8)
    except UnreadableImageError:
        return False
    return True


@pytest.mark.parametrize("name", FILES)
def test_truncated_files(name):
    data = FILES[name]
    assert readable(data)
    ends = np.unique(np.linspace(0, len(data) - 1, 150).astype(int))
    # The last bytes may only say that it is the end.
    assert np.mean([readable(data[:end]) for end in ends]) < 0.1
    with pytest.raises(UnreadableImageError, match=r"truncated|decoder|not an image"):
        decode(data[: len(data) * 3 // 4])


@pytest.mark.parametrize("name", FILES)
def test_damaged_files(name):
    rng = np.random.default_rng(0)
    num_readable = 0
    for _ in range(150):
        damaged = bytearray(FILES[name])
        for place in rng.integers(0, min(100, len(damaged)), 3):
            damaged[place] = rng.integers(256)
        num_readable += readable(bytes(damaged))
    assert num_readable < 150


def test_many_threads():
    def received(data):
        return pixels(data).tobytes() if readable(data) else None

    files = [*FILES.values(), jpeg_with_broken_exif(), b"text"] * 20
    alone = [received(data) for data in files]
    assert alone.count(None) == 20
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(received, files)) == alone


def test_the_filter_of_warnings_is_put_up_once(monkeypatch):
    decode(FILES["png"])
    # Each change of the filters makes Python repeat warnings that were shown before.
    monkeypatch.delattr(warnings, "filterwarnings")
    decode(FILES["png"])
    # Others' warnings stay.
    with pytest.raises(UserWarning, match="mine"):
        warnings.warn("mine", UserWarning, stacklevel=1)


# Windows


@pytest.mark.parametrize(
    ("width", "height", "resize", "expected"),
    [
        (500, 375, 256, (341, 256)),  # 341.3
        (375, 500, 256, (256, 341)),
        (640, 427, 256, (383, 256)),  # 383.7
        (100, 100, 256, (256, 256)),
        (1, 1000, 256, (256, 256_000)),
    ],
)
def test_resized_size(width, height, resize, expected):
    assert resized_size(width, height, resize) == expected


def test_a_window_by_hand():
    # At half the size, triangles 4 pixels wide around 1 and 3: of the pixels' centres,
    # 0.5 and 1.5 have the weight 3/4, 2.5 has 1/4. (3 * 0 + 3 * 70 + 140) / 7 is 50.
    row = np.array([0, 70, 140, 210], np.uint8)
    image = Image.fromarray(np.broadcast_to(row[:, None], (4, 4, 3)).copy())
    assert window(image, 2, 2, 0, 0)[0].tolist() == [[50] * 3, [160] * 3]
    assert window(image, 2, 1, 1, 1).tolist() == [[[160] * 3]]


def sizes_to_try():
    rng = np.random.default_rng(0)
    yield from [(500, 375, 256, 227), (375, 500, 256, 227), (341, 256, 256, 227)]
    # Twice as tall as wide, and around.
    yield from [(100, 199, 32, 20), (100, 200, 32, 20), (100, 201, 32, 20)]
    for largest, n in ((30, 200), (300, 100)):
        for _ in range(n):
            width, height = rng.integers(1, largest, 2).tolist()
            resize = int(rng.integers(1, largest // 2))
            yield width, height, resize, int(rng.integers(1, resize + 1))
    for _ in range(60):
        short, long = int(rng.integers(1, 6)), int(rng.integers(100, 900))
        resize = int(rng.integers(1, 12))
        yield short, long, resize, int(rng.integers(1, resize + 1))
        yield long, short, resize, int(rng.integers(1, resize + 1))


def test_windows_are_those_of_the_whole_resized_image():
    rng = np.random.default_rng(0)
    for width, height, resize, size in sizes_to_try():
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
        columns, rows = resized_size(width, height, resize)
        whole = np.asarray(image.resize((columns, rows), BILINEAR))
        for top, left in (
            (0, 0),
            (rows - size, columns - size),
            (int(rng.integers(rows - size + 1)), int(rng.integers(columns - size + 1))),
        ):
            np.testing.assert_array_equal(
                window(image, resize, size, top, left),
                whole[top : top + size, left : left + size],
                err_msg=f"{width}x{height} to {resize}, {size} at {top}, {left}",
            )


# An image of 12 x 7 pixels, each with its row and column in it.
PLACES = np.stack([*np.indices((7, 12)), np.zeros((7, 12))], axis=-1).astype(np.uint8)


def corners(draws, size=4):
    windows = decode_windows(encoded(PLACES, "PNG"), 7, size, draws)
    for each in windows:
        assert (each.shape, each.dtype) == ((size, size, 3), np.uint8)
        np.testing.assert_array_equal(each - each[:1, :1], PLACES[:size, :size])
    return [tuple(each[0, 0, :2].tolist()) for each in windows]


def test_the_window_in_the_centre():
    # 7 - 4 = 3 rows and 12 - 4 = 8 columns are left over: 1.5 is rounded to 2.
    assert corners([None]) == [(2, 4)]
    # 5 and 10: 2.5 is rounded to 2, to the even neighbour again.
    assert corners([None], size=2) == [(2, 5)]
    assert corners([None], size=7) == [(0, 2)]  # 2.5


def test_windows_that_are_drawn():
    # 4 places for the first row, each a quarter of the draws; 9 for the first column.
    quarter, ninth = 2**30, 2**32 / 9
    draws = [
        (0, 0),
        (quarter - 1, int(ninth)),
        (quarter, int(ninth) + 1),
        (3 * quarter, int(8 * ninth)),
        (2**32 - 1, 2**32 - 1),
    ]
    assert corners(draws) == [(0, 0), (0, 0), (1, 1), (3, 7), (3, 8)]
    # An integer of 32 bits has no room for its product, which must not matter.
    assert corners(np.array(draws, np.uint32)) == corners(draws)


def test_windows_of_one_image_are_decoded_once(monkeypatch):
    data = encoded(random_pixels(60, 45, seed=1), "PNG")
    draws = [(2**31, 2**30), None, (0, 2**32 - 1)]
    alone = [decode_windows(data, 30, 20, [draw])[0] for draw in draws]
    decoded = []
    monkeypatch.setattr(
        decoding, "decode", lambda *args: decoded.append(args) or decode(*args)
    )
    together = decode_windows(data, 30, 20, draws)
    assert decoded == [(data, 30)]
    np.testing.assert_array_equal(together, alone)
    whole = Image.open(io.BytesIO(data)).resize((30, 40), BILINEAR)
    np.testing.assert_array_equal(together[1], np.asarray(whole.crop((5, 10, 25, 30))))


def test_windows_of_an_image_on_its_side():
    # Turned to the right, the pixel at (row, column) is at (column, 6 - row).
    data = encoded(PLACES, "PNG", exif=exif(6))
    (received,) = decode_windows(data, 7, 4, [(0, 0)])
    assert received[0, 0, :2].tolist() == [6, 0]
    assert received[0, 3, :2].tolist() == [3, 0]
    assert received[3, 0, :2].tolist() == [6, 3]


def test_an_image_that_would_be_too_long():
    data = encoded(np.zeros((1, 1400), np.uint8), "PNG")
    text = "^1400x1 pixels, too long: 358400x256 when resized, more than 89478485"
    with pytest.raises(UnreadableImageError, match=text):
        decode_windows(data, 256, 227, [None])
