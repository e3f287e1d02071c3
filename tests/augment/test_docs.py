"""The code block of docs/augmentation.md is executed."""

import re
from pathlib import Path

import numpy as np

from sop_keras.augment.crop_and_flip import pad_crop_flip
from sop_keras.augment.uda import uda
from sop_keras.randomness.keyed import random_bits

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "augmentation.md"
STRONG_SEED = int(random_bits(0, "strong_view"))


def test_the_use_in_pipelines():
    (code,) = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(), re.M | re.S)
    names = {}
    exec(code, names)
    images = names["images"]
    # What its comments say: one is drawn anew, the other always the same.
    first, second = ([view for view, _ in names["anew"]] for _ in range(2))
    assert np.shape(first) == images.shape
    assert (np.array(first) != second).any((1, 2, 3)).mean() > 0.9
    # The published sizes at 32 pixels.
    sizes = {"padding": 4, "cutout_size": 16}
    expected = uda(images, np.arange(64), 3, 0, **sizes)
    np.testing.assert_array_equal(names["views"], expected)

    (weak, strong), y = next(iter(names["pairs"]))
    ids, epoch = y["index"].numpy(), int(y["epoch"])
    batch = images[ids]
    expected = pad_crop_flip(batch, ids, epoch, 0, padding=4)
    np.testing.assert_array_equal(weak, expected)
    expected = uda(batch, ids, epoch, STRONG_SEED, **sizes)
    np.testing.assert_array_equal(strong, expected)

    (weak, strong), y = next(iter(names["other_pairs"]))
    ids, epoch = y["index"].numpy(), int(y["epoch"])
    batch = images[ids]
    expected = pad_crop_flip(batch, ids, epoch, 0, padding=4)
    np.testing.assert_array_equal(weak, expected)
    expected = names["randaugment"](batch, ids, epoch, STRONG_SEED)
    # TensorFlow rounds otherwise in a pipeline, here and there.
    np.testing.assert_allclose(strong, expected, rtol=0, atol=1)
