import logging
import os

import numpy as np
import pytest

from sop_keras.data.datasets.dataset import Examples
from sop_keras.data.datasets.missing_files import check_image_files, missing_files
from sop_keras.data.images.encoded_images import ImageFiles

NAMES = [b"a/1.jpg", b"a/2.jpg", b"b/c/1.jpg", b"top.jpg", b"b/c/\xff.jpg"]


@pytest.fixture
def folder(tmp_path):
    for name in NAMES:
        path = os.path.join(os.fsencode(tmp_path), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb"):
            pass
    return tmp_path


def check(folder, names, max_missing_fraction):
    images = ImageFiles(folder, np.array(names), 8, 8)
    numbers = np.arange(len(names))
    train = Examples(numbers, images, numbers % 2)
    in_memory = Examples(np.arange(1), np.zeros((1, 8, 8, 3), np.uint8), np.arange(1))
    splits = {"train": train, "test": in_memory}
    check_image_files("own", splits, max_missing_fraction)


def test_files_in_nested_folders_are_found(folder):
    images = ImageFiles(folder, np.array(NAMES), 8, 8)
    assert missing_files(images).tolist() == []
    check(folder, NAMES, 0.0)


def test_missing_files_and_folders_are_found(folder):
    names = [b"a/1.jpg", b"a/3.jpg", b"no/1.jpg", b"top.jpg", b"b/c/\xfe.jpg"]
    images = ImageFiles(folder, np.array(names), 8, 8)
    assert missing_files(images).tolist() == [1, 2, 4]


def test_too_many_are_an_error_that_lists_them(folder):
    names = [*NAMES, *(b"a/none%d.jpg" % i for i in range(12))]
    with pytest.raises(FileNotFoundError) as error:
        check(folder, names, 0.5)
    text = str(error.value)
    assert "12 of the 17 images of the train examples are missing" in text
    assert f"{folder}/a/none0.jpg" in text
    assert "and 2 more" in text
    assert "max_bad_fraction, now 0.5" in text


def test_a_few_may_be_missing(folder, caplog):
    with caplog.at_level(logging.WARNING, "sop_keras"):
        check(folder, [*NAMES, b"a/none.jpg"], 1 / 6)
    assert "1 of the 6 images of the train examples" in caplog.text
    assert "a/none.jpg" in caplog.text
