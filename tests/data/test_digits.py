import hashlib
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits as load_published_digits

from sop_keras.data.datasets.digits import load_digits

MASK = 2**64 - 1

# UCI, optdigits.names: "No of examples in testing set" for classes 0 to 9.
PUBLISHED_CLASS_COUNTS = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


@pytest.fixture(scope="module")
def digits():
    return load_digits()


def splitmix64(state, step):
    z = (state + (step + 1) * 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def test_sizes_and_classes(digits):
    assert (len(digits.train), len(digits.test)) == (1437, 360)
    assert digits.num_examples == 1797
    assert digits.class_names == tuple("0123456789")
    assert digits.train.images.shape == (1437, 8, 8, 1)
    labels = np.concatenate([digits.train.labels, digits.test.labels])
    assert np.bincount(labels).tolist() == PUBLISHED_CLASS_COUNTS


def test_ids_are_places_in_the_published_order(digits):
    published = load_published_digits()
    for part in (digits.train, digits.test):
        assert part.ids.tolist() == sorted(part.ids)
        np.testing.assert_array_equal(part.labels, published.target[part.ids])
        grey_levels = np.rint(part.images[..., 0] / 255 * 16)
        np.testing.assert_array_equal(grey_levels, published.images[part.ids])
    ids = np.concatenate([digits.train.ids, digits.test.ids])
    assert sorted(ids) == list(range(1797))


def test_grey_levels_are_spread_over_eight_bits(digits):
    # round(v * 255 / 16) by hand, v = 0 .. 16.
    assert sorted(set(digits.train.images.flat)) == [
        *(0, 16, 32, 48, 64, 80, 96, 112, 128),
        *(143, 159, 175, 191, 207, 223, 239, 255),
    ]


def test_the_test_set_never_changes(digits):
    # The same choice by Python's integers: state of the stream, seed 0, then the id.
    digest = hashlib.blake2b(b"digits_test", digest_size=8).digest()
    state = splitmix64(int.from_bytes(digest, "little"), 0)
    by_hash = sorted(range(1797), key=lambda i: splitmix64(state, i))
    assert digits.test.ids.tolist() == sorted(by_hash[:360])


def test_statistics_are_those_of_the_training_images(digits):
    pixels = [int(p) / 255 for p in digits.train.images.flat]
    mean = sum(pixels) / len(pixels)
    variance = sum((p - mean) ** 2 for p in pixels) / len(pixels)
    assert digits.mean == pytest.approx((mean,), rel=1e-9)
    assert digits.std == pytest.approx((variance**0.5,), rel=1e-9)
    assert (round(digits.mean[0], 3), round(digits.std[0], 3)) == (0.306, 0.376)


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match="pip install scikit-learn"):
        load_digits()
