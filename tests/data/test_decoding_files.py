import io
import struct
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from encoded_images import (
    colour_of,
    encoded,
    exif,
    flat,
    pixels,
    png_chunk,
    random_pixels,
)
from PIL import Image

from sop_keras.data.images import image_limits
from sop_keras.data.images.decoding import (
    MAX_PIXELS,
    UnreadableImageError,
    decode,
)

ORIENTATION = 0x0112
BILINEAR = Image.Resampling.BILINEAR

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
    monkeypatch.setattr(image_limits, "MAX_PIXELS", 12)
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
    def fail(*args, **kwargs):
        raise KeyError

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(UnreadableImageError, match=r"^broken: KeyError$"):
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


# Crops
