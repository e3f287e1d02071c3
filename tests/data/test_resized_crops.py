"""Crops of random size and shape, resized: by hand, by Pillow, and by their keys."""

import math

import numpy as np
import pytest
from encoded_images import encoded, exif, random_pixels
from PIL import Image
from sklearn.datasets import load_sample_images

from sop_keras.data.batches.pipelines import training_batches
from sop_keras.data.batches.planned import PlannedBatches
from sop_keras.data.datasets.by_name import load_dataset
from sop_keras.data.datasets.digits import load_digits
from sop_keras.data.images.bad_images import BadImages
from sop_keras.data.images.crops import ResizedCrop
from sop_keras.data.images.decoding import decode_crops

BILINEAR = Image.Resampling.BILINEAR
HALF, LAST = 2**31, 2**32 - 1
SIZES = {"resize": 40, "image_size": 32}


def crop(*shapes, place=(0, 0)):
    return ResizedCrop(shapes, place)


@pytest.mark.parametrize(
    ("draw", "size", "expected"),
    [
        # 8% of 10,000 pixels, square: the root of 800 is 28.3.
        (crop((0, HALF)), (100, 100), (0, 0, 28, 28)),
        (crop((0, HALF), place=(LAST, LAST)), (100, 100), (72, 72, 100, 100)),
        # The root of 640 is 25.3: 76 rows that it may begin at, the 38th in the middle.
        (crop((0, HALF), place=(HALF, 0)), (80, 100), (0, 38, 25, 63)),
        # 3/4 as wide as high: the roots of 600 and 1,066.7 are 24.5 and 32.7.
        (crop((0, 0)), (100, 100), (0, 0, 24, 33)),
        (crop((0, LAST)), (100, 100), (0, 0, 33, 24)),
        # 54% of it, the root of 5,400.
        (crop((HALF, HALF)), (100, 100), (0, 0, 73, 73)),
        (crop((LAST, HALF)), (100, 100), (0, 0, 100, 100)),
        # A square of all 20,000 pixels is 141 high; that of 1,600 fits.
        (crop((LAST, HALF), (0, HALF)), (200, 100), (0, 0, 40, 40)),
        # None fits: 4/3 as wide as high, or 3/4, in the centre.
        (crop((LAST, HALF), place=(5, 5)), (300, 100), (83, 0, 216, 100)),
        (crop((LAST, HALF), place=(5, 5)), (100, 300), (0, 83, 100, 216)),
        # Of an image that has such a ratio, all.
        (crop((LAST, 0)), (120, 100), (0, 0, 120, 100)),
    ],
)
def test_regions_by_hand(draw, size, expected):
    assert draw.region(*size) == expected


def test_regions_are_drawn_as_published():
    """Beside a loop with another generator, over 4,000 draws."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, (4000, 11, 2)).tolist()
    for width, height in ((500, 375), (300, 300), (375, 500)):
        found, expected = [], []
        for row in bits:
            box = ResizedCrop(row[:10], row[10]).region(width, height)
            found.append((box[2] - box[0], box[3] - box[1], box[0], box[1]))
        for _ in range(4000):
            for _ in range(10):
                area = width * height * rng.uniform(0.08, 1)
                ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
                w, h = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
                if w <= width and h <= height:
                    left, top = (
                        rng.integers(width - w + 1),
                        rng.integers(height - h + 1),
                    )
                    expected.append((w, h, left, top))
                    break
        found, expected = np.array(found), np.array(expected)
        assert (found[:, 2:] >= 0).all()
        assert (found[:, :2] + found[:, 2:] <= (width, height)).all()
        # Where no shape fits, the loop gives none: hardly ever, at these sizes.
        assert len(expected) > 3990
        # Five standard errors of a difference.
        error = 5 * (found.var(axis=0) / 4000 + expected.var(axis=0) / 4000) ** 0.5
        assert (np.abs(found.mean(axis=0) - expected.mean(axis=0)) < error).all()


def test_pixels_are_those_of_pillow():
    pixels = random_pixels(90, 120)
    draws = [crop((HALF, 0), place=(HALF, HALF)), crop((LAST, HALF)), None]
    first, second, middle = decode_crops(encoded(pixels, "PNG"), 40, 32, draws)
    image = Image.fromarray(pixels)
    # 5,832 of 10,800 pixels: 66 x 88, in the middle of 3 rows and 55 columns.
    box = draws[0].region(120, 90)
    assert box == (27, 1, 93, 89)
    expected = image.crop(box).resize((32, 32), BILINEAR)
    np.testing.assert_array_equal(first, np.asarray(expected))
    # A square of all of it is too high, and no other shape was drawn: all.
    assert draws[1].region(120, 90) == (0, 0, 120, 90)
    expected = image.resize((32, 32), BILINEAR)
    np.testing.assert_array_equal(second, np.asarray(expected))
    # Other views of it are as ever.
    expected = image.resize((53, 40), BILINEAR).crop((10, 4, 42, 36))
    np.testing.assert_array_equal(middle, np.asarray(expected))


def test_an_image_on_its_side():
    pixels = random_pixels(50, 80)
    data = encoded(pixels, "PNG", exif=exif(6))  # upright, it is turned to the right
    draw = crop((HALF, 0), place=(HALF, HALF))
    (received,) = decode_crops(data, 40, 32, [draw])
    upright = Image.fromarray(np.rot90(pixels, -1).copy())
    expected = upright.crop(draw.region(50, 80)).resize((32, 32), BILINEAR)
    np.testing.assert_array_equal(received, np.asarray(expected))


def test_fast_decoding_has_the_same_regions():
    photograph = Image.fromarray(load_sample_images().images[0])
    data = encoded(photograph, "JPEG", quality=90)
    rng = np.random.default_rng(0)
    for resize in (80, 40, 256):
        for bits in rng.integers(0, 2**32, (10, 11, 2)).tolist():
            draw = ResizedCrop(bits[:10], bits[10])
            (exact,) = decode_crops(data, resize, 32, [draw])
            (fast,) = decode_crops(data, resize, 32, [draw], "fast")
            if resize == 256:  # decoded alike
                np.testing.assert_array_equal(fast, exact)
            assert np.abs(fast.astype(int) - exact).mean() < 2


@pytest.fixture
def folder(tmp_path):
    for number in range(10):
        path = tmp_path / f"{'ab'[number % 2]}/{number}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encoded(random_pixels(50, 60 + number, seed=number), "PNG"))
    return load_dataset("image_folder", tmp_path, **SIZES)


def views(dataset, examples=None, **options):
    """The images of two epochs, by epoch and id."""
    options = {"batch_size": 4, "augment": "resized_crop", **options}
    pipeline = training_batches(
        examples or dataset.train, dataset, epochs=2, seed=5, **options
    )
    found, in_epoch = {}, len(examples or dataset.train)
    for images, targets in pipeline.as_numpy_iterator():
        for row, identity in enumerate(targets["index"].tolist()):
            epoch = options.get("initial_epoch", 0) + len(found) // in_epoch
            several = isinstance(images, tuple)
            view = [one[row] for one in images] if several else images[row]
            found[epoch, identity] = view
    return found


def test_a_view_hangs_on_its_keys_alone(folder):
    found = views(folder)
    assert len(found) == 20
    for options in (
        {"batch_size": 3},
        {"initial_epoch": 1},
        {"examples": folder.train.take(np.array([7, 2, 4]))},
    ):
        for key, view in views(folder, **options).items():
            np.testing.assert_array_equal(view, found[key])
    # Every epoch has others, and they are no crops of the resized image.
    plain = views(folder, augment="flip")
    for identity in range(10):
        assert (found[0, identity] != found[1, identity]).mean() > 0.9
        assert (found[0, identity] != plain[0, identity]).mean() > 0.9
    # Of pairs, the first view is the same, and the second one of another seed.
    pairs = views(folder, strong_augment="resized_crop")
    for key, (first, second) in pairs.items():
        np.testing.assert_array_equal(first, found[key])
        assert (first != second).mean() > 0.9
    mixed = views(folder, augment="flip", strong_augment="resized_crop")
    for key, (first, second) in mixed.items():
        np.testing.assert_array_equal(first, plain[key])
        np.testing.assert_array_equal(second, pairs[key][1])


def test_planned_batches_have_them(folder):
    found = views(folder)
    planned = PlannedBatches(folder.train, folder, 5, "resized_crop", None, BadImages())
    ((images, targets),) = planned.pipeline([1], [np.array([6, 3])]).as_numpy_iterator()
    assert targets["index"].tolist() == [6, 3]
    np.testing.assert_array_equal(images, [found[1, 6], found[1, 3]])


def test_images_in_memory_have_none():
    digits = load_digits()
    text = r"'resized_crop' cuts its crops out of images in files, and those of digits"
    options = {"batch_size": 8, "epochs": 1, "seed": 0}
    for names in ({"augment": "resized_crop"}, {"strong_augment": "resized_crop"}):
        with pytest.raises(ValueError, match=text):
            training_batches(digits.train, digits, **options, **names)
