import io
import json
import re

import keras
import numpy as np
import pytest
from PIL import Image

from sop_keras.auditing.image_size import default_sizes, network_for, stored_sizes
from sop_keras.data.images.encoded_images import ImageFiles
from sop_keras.features.store_record import StoreRecord
from sop_keras.training.run_folder import RunFolderError


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


def classifier(path, channels=3):
    """Features are the means of the channels, as the network is given them."""
    layers = [
        keras.Input((8, 8, channels)),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(2),
    ]
    keras.Sequential(layers).save(path)
    return path


# All pixels are 51, which is 0.2 of 255.
GREY = np.full((1, 8, 8, 3), 51, np.uint8)


def features_of(path, images=GREY, **options):
    return network_for(images, path, "none", **options).features(images)


@pytest.mark.slow
def test_a_network_in_a_file_is_told_how_images_are_standardised(tmp_path, caplog):
    path = classifier(tmp_path / "a.keras")
    found = features_of(path, mean=0, std=1)
    np.testing.assert_allclose(found, [[0.2, 0.2, 0.2]], rtol=1e-6)
    found = features_of(path, mean=(0.2, 0.1, 0), std=[0.1, 0.1, 0.5])
    np.testing.assert_allclose(found, [[0, 1, 0.4]], atol=1e-6)
    assert "does not say" not in caplog.text
    # Where nobody says it: (0.2 - mean) / deviation, ImageNet's, and a warning.
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(features_of(path), [(0.2 - mean) / std], rtol=1e-5)
    said = r"a\.keras does not say .*ImageNet's .*--mean and --std"
    assert len(re.findall(said, caplog.text)) == 1
    with pytest.raises(ValueError, match="`mean` and `std` go together"):
        features_of(path, mean=0)


@pytest.mark.slow
def test_a_network_of_a_run_is_told_by_the_run(tmp_path, caplog):
    path = classifier(tmp_path / "backbone.keras", channels=1)
    images = GREY[..., :1]
    with pytest.raises(
        ValueError, match=r"of 1 channels.* \(--mean, --std\) must have"
    ):
        features_of(path, images)
    assert features_of(path, images, mean=0, std=1) == pytest.approx(0.2)
    caplog.clear()
    data = {"standardised": {"mean": [0.1], "std": [0.05]}}
    (tmp_path / "data.json").write_text(json.dumps(data))
    # (0.2 - 0.1) / 0.05
    assert features_of(path, images) == pytest.approx(2)
    assert "does not say" not in caplog.text
    for damaged in (
        {"mean": [0.1]},
        {"mean": [0.1], "std": [0]},
        {"mean": 1, "std": 1},
    ):
        (tmp_path / "data.json").write_text(json.dumps({"standardised": damaged}))
        with pytest.raises(RunFolderError, match=r'damaged: its "standardised" is'):
            features_of(path, images)
