"""Images that are too large or too slow, refused before a pixel is decoded."""

import io
import struct
import sys
import time
import zlib

import numpy as np
import pytest
from encoded_images import encoded, exif, flat, png_chunk, random_pixels
from limited import run_limited
from PIL import Image

from sop_keras.data.images import image_limits
from sop_keras.data.images.decoding import (
    UnreadableImageError,
    decode,
    decode_crops,
)
from sop_keras.data.images.image_limits import MAX_SCANS, check_scans, decoding_bytes


def png_of_zeros(width, height, colour_type=2, bits=8):
    """A PNG whose pixels are all there, packed: a bomb where they are many."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    header = struct.pack(">LLBBBBB", width, height, bits, colour_type, 0, 0, 0)
    packer = zlib.compressobj(1)
    row, parts = bytes(1 + width * channels * bits // 8), []
    step = max(1, 2**20 // len(row))
    for start in range(0, height, step):
        parts.append(packer.compress(row * min(step, height - start)))
    pixels = b"".join(parts) + packer.flush()
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", pixels)
    return b"\x89PNG\r\n\x1a\n" + chunks + png_chunk(b"IEND", b"")


def jpeg_with_scans(size, num_scans, **options):
    """A progressive JPEG whose last scan is there again and again."""
    data = encoded(Image.fromarray(random_pixels(*size)), "JPEG", progressive=True)
    last, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    more = num_scans - data.count(b"\xff\xda")
    return data[:end] + data[last:end] * more + data[end:]


# Scans


def test_as_many_scans_as_are_read():
    data = jpeg_with_scans((40, 30), 100)
    assert MAX_SCANS == 100
    assert decode(data).size == (30, 40)
    with pytest.raises(UnreadableImageError, match=r"^a JPEG of 101 scans, more than"):
        decode(jpeg_with_scans((40, 30), 101))


def test_bytes_in_metadata_are_no_scans():
    data = encoded(flat("RGB", "red"), "JPEG", comment=b"\xff\xda" * 500)
    assert data.count(b"\xff\xda") == 501
    assert decode(data).size == (16, 16)
    check_scans(
        b"\xff\xd8" + b"\xff\xda\xff" * 101
    )  # each the length of the one before
    check_scans(b"\x89PNG" + b"\xff\xda" * 101)


def test_many_scans_are_counted_in_no_time():
    # 600 scans of 1,500 x 1,000 pixels took some 10 s.
    data = jpeg_with_scans((1000, 1500), 600)
    start = time.process_time()
    with pytest.raises(UnreadableImageError, match="600 scans"):
        decode(data)
    assert time.process_time() - start < 2


# Sizes


@pytest.mark.parametrize(
    ("size", "colour_type", "bits", "resize", "text"),
    [
        # 1 pixel a row: 80,000,000 rows of 12 + 24 bytes.
        ((1, 80_000_000), 0, 8, None, "2,880,000,000 bytes, more than 1,100,000,000"),
        # The shorter side 256 times as long, and the longer.
        ((1, 80_000_000), 0, 8, 256, "too long: 256x20480000000 when resized"),
        ((80_000_000, 1), 6, 16, 256, "too long: 20480000000x256 when resized"),
        ((9460, 9459), 6, 16, None, "9460x9459 pixels, more than 89478485 in all"),
    ],
)
def test_sizes_are_checked_before_pixels_are_decoded(
    monkeypatch, size, colour_type, bits, resize, text
):
    monkeypatch.setattr(Image.Image, "load", None)
    data = png_of_zeros(*size, colour_type, bits)

    def read():
        if resize is None:
            return decode(data)
        return decode_crops(data, resize, 224, [None])

    with pytest.raises(UnreadableImageError, match=text):
        read()


def test_the_memory_of_a_format_is_in_its_limit(monkeypatch):
    # 10 rows of 20 pixels: 10 * (20 * 18 + 24) and 10 * (20 * 12 + 24) bytes.
    webp, png = (encoded(flat("RGB", 9, (20, 10)), one) for one in ("WEBP", "PNG"))
    monkeypatch.setattr(image_limits, "MAX_DECODING_BYTES", 2640)
    assert decode(png).size == (20, 10)
    with pytest.raises(UnreadableImageError, match=r"as WEBP, .* 3,840 bytes, more"):
        decode(webp)
    monkeypatch.setattr(image_limits, "MAX_DECODING_BYTES", 2639)
    with pytest.raises(UnreadableImageError, match=r"as PNG, .* 2,640 bytes, more"):
        decode(png)


def test_the_largest_image_of_the_usual_shape_fits():
    image = Image.new("1", (9459, 9459))  # 12 bytes a pixel, 24 a row
    assert decoding_bytes(image) == 9459 * (9459 * 12 + 24) == 1_073_899_188
    assert decoding_bytes(image) < image_limits.MAX_DECODING_BYTES


def test_tiles_of_a_tiff_that_would_be_unpacked_whole():
    # Width, height, bits, LZW, black is 0, one sample, tiles, where they are.
    tags = {256: 16, 257: 16, 258: 8, 259: 5, 262: 1, 277: 1, 322: 2**15, 323: 2**15}
    tags |= {324: 8, 325: 4}
    entries = b"".join(struct.pack("<HHLL", tag, 4, 1, n) for tag, n in tags.items())
    data = b"II*\0" + struct.pack("<LLH", 12, 0, len(tags)) + entries + bytes(4)
    assert Image.open(io.BytesIO(data)).tag_v2[322] == 2**15
    with pytest.raises(UnreadableImageError, match="tiles of 32768x32768 pixels, more"):
        decode(data)


MEASURED = """
import gc, re, resource, sys
from pathlib import Path
from sop_keras.data.images.decoding import decode
def now(what):
    status = Path("/proc/self/status").read_text()
    return int(re.search(what + r":\\s+(\\d+)", status)[1])
decode(Path(sys.argv[1]).read_bytes())
for name in sys.argv[1:]:
    data = Path(name).read_bytes()
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM is VmRSS from here on
    before = now("VmRSS")
    image = decode(data)
    print((now("VmHWM") - before) * 1024, *image.size)
    del image
"""


def test_decoding_takes_no_more_memory_than_it_says(tmp_path):
    if not sys.platform.startswith("linux"):
        pytest.skip("the highest use of memory is told by Linux alone")
    # 9 megapixels each; what is small is measured too coarsely.
    rgb = Image.new("RGB", (3000, 3000), (9, 200, 30))
    rgba, cmyk = rgb.convert("RGBA"), rgb.convert("CMYK")
    files = {
        "rgb16.png": png_of_zeros(3000, 3000, 2, 16),
        "rgba16.png": png_of_zeros(3000, 3000, 6, 16),
        "grey16.png": png_of_zeros(3000, 3000, 0, 16),
        "grey_alpha.png": png_of_zeros(3000, 3000, 4),
        "palette.png": encoded(rgb.quantize(4), "PNG", transparency=b"\x80"),
        "rgba_turned.png": encoded(rgba, "PNG", exif=exif(6)),
        "progressive.jpg": encoded(
            rgb, "JPEG", progressive=True, subsampling=0, exif=exif(6)
        ),
        "cmyk.jpg": encoded(cmyk, "JPEG", progressive=True, exif=exif(6)),
        "alpha.webp": encoded(
            Image.new("RGBA", (3000, 3000), (1, 2, 3, 99)),
            *("WEBP",),
            quality=0,
            method=0,
            exif=exif(6),
        ),
        "strip.tif": encoded(rgba, "TIFF", compression="tiff_lzw", strip_size=2**30),
        "integers.tif": encoded(Image.new("I", (3000, 3000)), "TIFF"),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    lines = run_limited("", MEASURED, *(tmp_path / name for name in files), seconds=120)
    peaks = dict(zip(files, (int(line.split()[0]) for line in lines), strict=True))
    # 3 % and 8 MB for what the allocator keeps.
    for name, peak in peaks.items():
        a_pixel = 18 if name.endswith("webp") else 12
        assert peak < 1.03 * a_pixel * 9_000_000 + 8_000_000, (name, peaks)
    assert peaks["rgba16.png"] > 4 * 9_000_000  # it measures something


BOMBS = """
from sop_keras.data.images.decoding import UnreadableImageError, decode, decode_crops
from pathlib import Path
for name in sys.argv[1:]:
    data = Path(name).read_bytes()
    try:
        decode_crops(data, 256, 224, [None])
        print("decoded")
    except (UnreadableImageError, MemoryError) as error:
        print(type(error).__name__, error)
"""
IMPORTS = "import numpy, PIL.Image, sop_keras.data.images.decoding; PIL.Image.init()"


def test_bombs_and_a_shortage_of_memory_under_a_limit(tmp_path):
    files = {
        "long.png": png_of_zeros(1, 80_000_000, 0),
        "huge.png": png_of_zeros(20_000, 4_000, 6, 16),
        "cut.jpg": encoded(flat("RGB", 3, (200, 200)), "JPEG")[:700],
        "good.jpg": encoded(flat("RGB", 3, (200, 200)), "JPEG"),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    # 80 megapixels of RGBA take 320 MB, and there are 150.
    said = run_limited(
        IMPORTS, BOMBS, *(tmp_path / name for name in files), more=150_000_000
    )
    assert said[0].startswith("UnreadableImageError 1x80000000 pixels, too long")
    assert said[1].startswith("MemoryError")
    assert said[2].startswith("UnreadableImageError truncated")
    assert said[3:] == ["decoded"]


def test_a_decoder_that_got_no_memory_does_not_make_an_image_bad(monkeypatch):
    def no_memory(image):
        raise OSError("broken data stream when reading image file")

    data = encoded(flat("RGB", 3), "PNG")
    monkeypatch.setattr(Image.Image, "load", no_memory)
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", no_memory)
    with pytest.raises(UnreadableImageError, match="broken data stream"):
        decode(data)

    def refuse(*args, **kwargs):
        raise MemoryError("Unable to allocate")

    monkeypatch.setattr(np, "empty", refuse)
    with pytest.raises(MemoryError, match="Unable to allocate"):
        decode(data)
