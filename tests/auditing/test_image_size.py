import io

import numpy as np
import pytest
from PIL import Image

from sop_keras.auditing.image_size import default_sizes, stored_sizes
from sop_keras.data.images.encoded_images import ImageFiles
from sop_keras.features.store_record import StoreRecord


@pytest.mark.parametrize(
    ("side", "expected"),
    [
        (4, (32, 32)),  # 4 x 4 = 16, and 32 at least
        (8, (32, 32)),
        (28, (112, 112)),
        (32, (128, 128)),
        (56, (224, 224)),
        (57, (224, 256)),  # 4 x 57 = 228 is above 224; 8/7 x 224 = 256
        (500, (224, 256)),
    ],
)
def test_sizes_of_arrays(side, expected):
    assert default_sizes(np.zeros((2, side, side + 3, 3), np.uint8)) == expected


def test_a_size_that_is_asked_for():
    assert default_sizes(np.zeros((2, 32, 32, 3), np.uint8), 64) == (64, 64)
    # 8/7 x 112 = 128
    assert default_sizes(np.zeros((2, 300, 300, 3), np.uint8), 112) == (112, 128)


def files(folder, *sizes):
    names = []
    for number, size in enumerate(sizes):
        content = io.BytesIO()
        if size:
            Image.new("RGB", size).save(content, "PNG")
        (folder / f"{number}.png").write_bytes(content.getvalue())
        names.append(f"{number}.png".encode())
    return ImageFiles(folder, np.array(names))


def test_sizes_of_files(tmp_path):
    # The median of the shorter sides, 20, 30 and 40; one cannot be read.
    images = files(tmp_path, (30, 90), (20, 25), None, (70, 40))
    assert default_sizes(images) == (120, 120)


def test_files_that_cannot_be_read(tmp_path):
    assert default_sizes(files(tmp_path, None)) == (224, 256)


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ({"image_size": 96, "resize": 110}, (96, 110)),
        ({"image_size": 96}, None),
        ({"image_size": 96, "resize": "a"}, None),
        ({"image_size": 0, "resize": 1}, None),
    ],
)
def test_the_sizes_of_stored_features(tmp_path, network, expected):
    StoreRecord(network, 3, 0, []).write(tmp_path / "features.json")
    assert stored_sizes(tmp_path) == expected


def test_no_features_are_stored(tmp_path):
    assert stored_sizes(tmp_path) is None
    (tmp_path / "features.json").write_text("{")
    assert stored_sizes(tmp_path) is None
