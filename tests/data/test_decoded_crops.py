import io

import numpy as np
import pytest
from encoded_images import (
    encoded,
    exif,
    random_pixels,
)
from PIL import Image

from sop_keras.data.images.decoding import (
    UnreadableImageError,
    decode_crops,
    resized_size,
)
from sop_keras.data.images.resized_parts import exact_part

ORIENTATION = 0x0112
BILINEAR = Image.Resampling.BILINEAR


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


def crop(image, resize, size, top, left):
    """What `decode_crops` cuts out, at a place of one's own."""
    box = (left, top, left + size, top + size)
    return np.asarray(exact_part(image, resized_size(*image.size, resize), box))


def test_a_window_by_hand():
    # At half the size, triangles 4 pixels wide around 1 and 3: of the pixels' centres,
    # 0.5 and 1.5 have the weight 3/4, 2.5 has 1/4. (3 * 0 + 3 * 70 + 140) / 7 is 50.
    row = np.array([0, 70, 140, 210], np.uint8)
    image = Image.fromarray(np.broadcast_to(row[:, None], (4, 4, 3)).copy())
    assert crop(image, 2, 2, 0, 0)[0].tolist() == [[50] * 3, [160] * 3]
    assert crop(image, 2, 1, 1, 1).tolist() == [[[160] * 3]]


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
                crop(image, resize, size, top, left),
                whole[top : top + size, left : left + size],
                err_msg=f"{width}x{height} to {resize}, {size} at {top}, {left}",
            )


# An image of 12 x 7 pixels, each with its row and column in it.
PLACES = np.stack([*np.indices((7, 12)), np.zeros((7, 12))], axis=-1).astype(np.uint8)


def corners(draws, size=4):
    crops = decode_crops(encoded(PLACES, "PNG"), 7, size, draws)
    for each in crops:
        assert (each.shape, each.dtype) == ((size, size, 3), np.uint8)
        np.testing.assert_array_equal(each - each[:1, :1], PLACES[:size, :size])
    return [tuple(each[0, 0, :2].tolist()) for each in crops]


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
    alone = [decode_crops(data, 30, 20, [draw])[0] for draw in draws]
    opened, real = [], Image.open
    monkeypatch.setattr(
        Image, "open", lambda *args, **kw: opened.append(1) or real(*args, **kw)
    )
    together = decode_crops(data, 30, 20, draws)
    assert opened == [1]
    monkeypatch.undo()
    np.testing.assert_array_equal(together, alone)
    whole = Image.open(io.BytesIO(data)).resize((30, 40), BILINEAR)
    np.testing.assert_array_equal(together[1], np.asarray(whole.crop((5, 10, 25, 30))))


def test_windows_of_an_image_on_its_side():
    # Turned to the right, the pixel at (row, column) is at (column, 6 - row).
    data = encoded(PLACES, "PNG", exif=exif(6))
    (received,) = decode_crops(data, 7, 4, [(0, 0)])
    assert received[0, 0, :2].tolist() == [6, 0]
    assert received[0, 3, :2].tolist() == [3, 0]
    assert received[3, 0, :2].tolist() == [6, 3]


def test_an_image_that_would_be_too_long():
    data = encoded(np.zeros((1, 1400), np.uint8), "PNG")
    text = "^1400x1 pixels, too long: 358400x256 when resized, more than 89478485"
    with pytest.raises(UnreadableImageError, match=text):
        decode_crops(data, 256, 227, [None])
