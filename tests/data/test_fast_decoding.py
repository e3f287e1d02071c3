"""`decode=fast`: crops in the same places, and pixels within a stated bound."""

import io

import numpy as np
import pytest
from encoded_images import encoded, exif, random_pixels
from PIL import Image
from sklearn.datasets import load_sample_images

from sop_keras.data.batches.pipelines import training_batches
from sop_keras.data.datasets.by_name import load_dataset
from sop_keras.data.images.decoding import (
    UnreadableImageError,
    decode_crops,
    decode_resized,
)

BILINEAR = Image.Resampling.BILINEAR
PHOTOGRAPHS = [Image.fromarray(image) for image in load_sample_images().images]


def photograph(number=0, width=640, height=427):
    return PHOTOGRAPHS[number].crop((0, 0, width, height))


def drafted(data, scale):
    """What Pillow decodes of a JPEG at a part of its size."""
    image = Image.open(io.BytesIO(data))
    image.draft(None, (image.width // scale, image.height // scale))
    image.load()
    return image


def differences(data, resize):
    """Mean and 99th percentile of what fast is away from exact, whole images."""
    exact, fast = (
        np.asarray(decode_resized(data, resize, decoding), float)
        for decoding in ("exact", "fast")
    )
    assert exact.shape == fast.shape
    difference = np.abs(exact - fast)
    return difference.mean(), np.percentile(difference, 99)


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("size", [(640, 427), (640, 424), (500, 401)])
def test_photographs_are_within_the_bound(number, size):
    data = encoded(photograph(number, *size), "JPEG", quality=90)
    shorter = min(size)
    # Just above 5, 10 and 20 times, where the smaller size is begun with, and between.
    for resize in (16, 20, 21, 26, 35, 40, 42, 43, 60, 73, 80, 85, 100, 256, 300):
        mean, high = differences(data, resize)
        assert mean <= 1, (resize, mean)
        assert high <= 3, (resize, high)
        if shorter < 5 * resize:
            # Decoded alike: one value in about 1,000 is another, by 1.
            assert mean < 0.005
            assert high == 0


@pytest.mark.parametrize(
    ("width", "height"),
    [(333, 500), (427, 640), (300, 400), (200, 500), (500, 375)],
)
def test_crops_are_rounded_between_as_exact_ones_are(width, height):
    image = photograph(0, 427, 427).resize((width, height))
    data = encoded(image, "JPEG", quality=90)
    for resize, size in ((256, 224), (256, 227)):
        for draw in (None, (0, 0), (2**31, 2**30)):
            exact, fast = (
                decode_crops(data, resize, size, [draw], decoding)[0].astype(int)
                for decoding in ("exact", "fast")
            )
            difference = np.abs(exact - fast)
            # Columns first, 9 to 26% would be other values.
            assert (difference > 0).mean() < 0.005
            assert difference.max() <= 1


def test_the_sizes_that_jpegs_are_decoded_at():
    # 400 is 5 and 10 times 80 and 40; one pixel more, and the larger size is taken.
    data = encoded(photograph(0, 640, 400), "JPEG", quality=90)
    for resize, scale in ((80, 2), (81, 1), (40, 4), (41, 2), (20, 8), (21, 4)):
        columns = 640 * resize // 400
        expected = drafted(data, scale).resize((columns, resize), BILINEAR)
        received = decode_resized(data, resize, "fast")
        np.testing.assert_array_equal(np.asarray(received), np.asarray(expected))
    # Exactly decoded, they take 6 and 12 times.
    for resize, scale in ((80, 1), (66, 2), (40, 2), (33, 4)):
        columns = 640 * resize // 400
        expected = drafted(data, scale).resize((columns, resize), BILINEAR)
        received = decode_resized(data, resize)
        np.testing.assert_array_equal(np.asarray(received), np.asarray(expected))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("height", [424, 427])
def test_photographs_on_their_side(orientation, height):
    data = encoded(
        photograph(0, 640, height), "JPEG", quality=90, exif=exif(orientation)
    )
    for resize in (40, 80):
        mean, high = differences(data, resize)
        assert mean <= 1
        assert high <= 3


def test_crops_lie_where_exact_ones_do():
    data = encoded(photograph(), "JPEG", quality=90)
    rng = np.random.default_rng(0)
    draws = [None, *map(tuple, rng.integers(0, 2**32, (9, 2)).tolist())]
    for resize, size in ((256, 227), (85, 64), (40, 32)):
        for draw in draws:
            (exact,) = decode_crops(data, resize, size, [draw])
            (fast,) = decode_crops(data, resize, size, [draw], "fast")
            assert fast.shape == exact.shape == (size, size, 3)
            difference = np.abs(exact.astype(int) - fast)
            assert difference.mean() <= 1
            # A pixel beside it would be another picture.
            moved = np.abs(exact[:, 1:].astype(int) - fast[:, :-1]).mean()
            assert difference.mean() < moved / 5


def test_views_share_the_decoding(monkeypatch):
    data = encoded(photograph(), "JPEG", quality=90)
    opened, real = [], Image.open
    monkeypatch.setattr(
        Image, "open", lambda *args, **kw: opened.append(1) or real(*args, **kw)
    )
    views = decode_crops(data, 100, 80, [(0, 0), (2**31, 2**31), None], "fast")
    assert opened == [1]
    for view, draw in zip(views, [(0, 0), (2**31, 2**31), None], strict=True):
        (alone,) = decode_crops(data, 100, 80, [draw], "fast")
        assert np.abs(view.astype(int) - alone).max() <= 1


def test_other_images_are_resized_alike():
    for image_format, options in (("PNG", {}), ("WEBP", {"lossless": True})):
        data = encoded(random_pixels(300, 211), image_format, **options)
        for resize in (20, 100, 211, 300):
            exact = np.asarray(decode_resized(data, resize), int)
            fast = np.asarray(decode_resized(data, resize, "fast"))
            assert np.abs(exact - fast).max() <= 1
            assert np.mean(exact != fast) < 0.01


def test_what_cannot_be_decoded_is_the_same():
    data = encoded(photograph(0, 640, 424), "JPEG", quality=90)
    damaged = [data[: len(data) * part // 10] for part in range(10)]
    damaged += [data[:-2], b"<html>404</html>", data[:2000] + bytes(20_000)]
    damaged += [
        encoded(Image.new("F", (60, 60)), "TIFF"),
        encoded(np.zeros((1, 1400), np.uint8), "PNG"),
    ]
    num_bad = 0
    for content in damaged:
        reasons = []
        for decoding in ("exact", "fast"):
            try:
                decode_crops(content, 256, 227, [None], decoding)
                decode_crops(content, 40, 32, [None], decoding)
                reasons.append(None)
            except UnreadableImageError as error:
                reasons.append(str(error))
        assert reasons[0] == reasons[1]
        num_bad += reasons[0] is not None
    assert num_bad >= len(damaged) - 2  # Pillow forgives the end


def test_another_word():
    with pytest.raises(ValueError, match=r"`decoding` must be .*'quick'"):
        decode_crops(encoded(random_pixels(9, 9), "PNG"), 8, 8, [None], "quick")
    for name in ("digits", "image_folder"):
        with pytest.raises(ValueError, match=r"`decode` must be .*'quick'"):
            load_dataset(name, "nowhere", decode="quick")
    with pytest.raises(ValueError, match=r"of digits are in memory: .* decode='fast'"):
        load_dataset("digits", decode="fast")


def test_a_data_set_that_is_decoded_fast(tmp_path):
    for number in range(9):
        name = f"{'ab'[number % 2]}/{number}.jpg"
        (tmp_path / name).parent.mkdir(exist_ok=True)
        image = photograph(number % 2, 600 - 20 * number, 427)
        (tmp_path / name).write_bytes(encoded(image, "JPEG", quality=90))

    def batches(decode, **options):
        sizes = {"resize": 40, "image_size": 32}
        dataset = load_dataset("image_folder", tmp_path, decode=decode, **sizes)
        part = dataset.train.take(np.arange(1, 9))
        pipeline = training_batches(
            part, dataset, batch_size=3, epochs=2, seed=0, augment="flip", **options
        )
        return [*pipeline.as_numpy_iterator()]

    exact, fast, again = batches(None), batches("fast"), batches("fast")
    late = batches("fast", initial_epoch=1, initial_step=1)
    for number in range(6):
        (pixels, targets), (others, same) = exact[number], fast[number]
        np.testing.assert_array_equal(targets["index"], same["index"])
        # Grey levels over the standard deviation of ImageNet's, 0.225 of 255.
        assert 0 < np.abs(pixels - others).mean() < 1 / (255 * 0.225)
        np.testing.assert_array_equal(others, again[number][0])
    for (images, _), (whole, _) in zip(late, fast[4:], strict=True):
        np.testing.assert_array_equal(images, whole)
