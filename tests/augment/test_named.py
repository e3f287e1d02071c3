"""Augmentations by name: which function it is, and the sizes that it is given."""

import importlib.util

import numpy as np
import pytest

from sop_keras.augment.autoaugment import autoaugment
from sop_keras.augment.crop_and_flip import pad_crop_flip
from sop_keras.augment.named import augmentation
from sop_keras.augment.names import AUGMENTATIONS
from sop_keras.augment.uda import uda

IDS, EPOCH, SEED = np.arange(6), 3, 11
MEAN = (0.4914, 0.4822, 0.4465)
FILL = (125, 123, 114)  # 255 times these: 125.3, 122.96, 113.86


def images(height, width, channels=3):
    shape = (len(IDS), height, width, channels)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "padding", "cutout_size"),
    [(32, 32, 4, 16), (8, 8, 1, 4), (64, 48, 6, 24)],
)
def test_sizes_follow_the_shorter_side(height, width, padding, cutout_size):
    x = images(height, width)
    expected = {
        "weak": pad_crop_flip(x, IDS, EPOCH, SEED, padding=padding),
        "flip": pad_crop_flip(x, IDS, EPOCH, SEED, padding=0),
        "none": x,
    }
    options = {"padding": padding, "cutout_size": cutout_size, "fill": FILL}
    expected["uda"] = uda(x, IDS, EPOCH, SEED, **options)
    expected["autoaugment"] = autoaugment(x, IDS, EPOCH, SEED, **options)
    for name, views in expected.items():
        made = augmentation(name, MEAN)
        np.testing.assert_array_equal(made(x, IDS, EPOCH, SEED), views, name)


def test_grey_images():
    x = images(8, 8, channels=1)
    made = augmentation("uda", (0.5,))
    options = {"padding": 1, "cutout_size": 4, "fill": (128,)}  # 127.5 to even
    expected = uda(x, IDS, EPOCH, SEED, **options)
    np.testing.assert_array_equal(made(x, IDS, EPOCH, SEED), expected)


def test_the_layers_of_keras_are_there():
    x = images(16, 16)
    views = augmentation("keras_randaugment", MEAN)(x, IDS, EPOCH, SEED)
    assert views.shape == x.shape
    assert (views.numpy() != x).any(axis=(1, 2, 3)).sum() >= 4


def test_keras_cv_is_asked_for_by_name():
    assert "keras_cv_randaugment" in AUGMENTATIONS
    if importlib.util.find_spec("keras_cv") is not None:
        pytest.skip("keras-cv is installed")
    with pytest.raises(ImportError, match=r"pip install \"\.\[keras-cv\]\""):
        augmentation("keras_cv_randaugment", MEAN)


def test_another_name():
    text = "no augmentation 'cutmix'. There are: weak, shift_flip, flip, resized_crop, "
    with pytest.raises(ValueError, match=text):
        augmentation("cutmix", MEAN)
