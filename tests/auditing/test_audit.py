import keras
import numpy as np
import pytest

from sop_keras import audit
from sop_keras.label_issues.find import COLUMNS, MORE_COLUMNS


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Means of the channels, as a classifier in a file."""
    path = tmp_path_factory.mktemp("network") / "means.keras"
    layers = [
        keras.Input((8, 8, 3)),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(2),
    ]
    keras.Sequential(layers).save(path)
    return path


def coloured(n=200):
    """Red and blue images, and labels of which a tenth are wrong."""
    rng = np.random.default_rng(0)
    clean = rng.integers(0, 2, n)
    images = rng.integers(0, 60, (n, 8, 8, 3)).astype(np.uint8)
    images[np.arange(n), ..., 2 * clean] += 150
    labels = np.where(rng.random(n) < 0.1, 1 - clean, clean)
    return images, labels, labels != clean


def test_images(network, tmp_path):
    images, labels, is_wrong = coloured()
    store = tmp_path / "features"
    table = audit(images, labels, backbone=network, pretrained="none", store=store)
    assert list(table) == [*COLUMNS, *MORE_COLUMNS]
    np.testing.assert_array_equal(table["is_label_issue"], is_wrong)
    np.testing.assert_array_equal(table["given_label"], labels)
    assert (store / "features.json").exists()


def test_features():
    images, labels, is_wrong = coloured()
    table = audit(images.mean((1, 2)), labels)
    np.testing.assert_array_equal(table["is_label_issue"], is_wrong)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x[:, :, :, 0], y), r"floats of shape \(n, D\)"),
        (lambda x, y: (x.mean((1, 2))[:-1], y), "200 labels and 199 rows"),
        (lambda x, y: (x.mean((1, 2)), y.astype(str)), r"integers of shape \(n,\)"),
        (lambda x, y: (x.mean((1, 2)), 0 * y), "one class alone"),
    ],
)
def test_what_cannot_be(change, message):
    images, labels, _ = coloured()
    with pytest.raises(ValueError, match=message):
        audit(*change(images, labels))
