from pathlib import Path

import keras
import numpy as np
import pytest

from sop_keras.backbones import lite_weights
from sop_keras.backbones.build import build_backbone
from sop_keras.backbones.lite_weights import weights_file
from sop_keras.backbones.torch_weights import read_torch_weights

GOLDEN = Path(__file__).parents[1] / "golden" / "efficientnet_lite0.npz"
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def built(num_classes=10, size=224, **options):
    return build_backbone(
        "efficientnet_lite0",
        (size, size, 3),
        num_classes,
        seed=0,
        mean=MEAN.tolist(),
        std=STD.tolist(),
        **options,
    )


@pytest.fixture(scope="module")
def pretrained():
    return built(pretrained="imagenet")


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


@pytest.fixture(scope="module")
def logits(pretrained, golden):
    """Of the two photographs, under the published head of 1000 classes."""
    weights = read_torch_weights(weights_file())
    network = keras.Model(pretrained.input, pretrained.layers[-1].input)
    images = ((golden["pixels"] / 255 - MEAN) / STD).astype("float32")
    features = keras.ops.convert_to_numpy(network(images, training=False))
    assert features.shape == (2, 1280)
    kernel = weights["_fc.weight"].T.astype("float64")
    return features.astype("float64") @ kernel + weights["_fc.bias"]


def test_the_logits_of_another_implementation(logits, golden):
    # That of PyTorch, in float64; the largest is 7.8.
    np.testing.assert_allclose(logits, golden["logits"], atol=2e-5)


def test_two_photographs(logits):
    """scikit-learn's, in the order of their names: china.jpg, flower.jpg."""
    china, flower = np.argsort(-logits, axis=1)
    # ILSVRC's classes: 442 bell cote, 663 monastery, 698 palace; 985 daisy.
    assert china[0] == 442
    assert {663, 698} <= set(china[:5])
    assert flower[0] == 985


def test_size(pretrained):
    # Published: 4.65 M with the head of 1000 classes; ours has one of 10.
    assert pretrained.count_params() == 3_413_024 + 1281 * 10


def test_what_is_read_of_the_file_is_that_of_the_path(pretrained):
    same = built(pretrained=weights_file())
    for one, other in zip(same.weights, pretrained.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_from_scratch():
    networks = [built(size=32) for _ in range(2)]
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    first, second = (keras.ops.convert_to_numpy(one(images)) for one in networks)
    np.testing.assert_array_equal(first, second)  # of one seed
    assert first.shape == (2, 10)
    # He et al.'s variance over outputs: 2 / (3 * 3 * 32), cut off and made up for.
    stem = networks[0].get_layer("stem_conv").kernel.numpy()
    assert stem.std() == pytest.approx((2 / 288) ** 0.5, rel=0.1)


def test_parts_are_dropped_in_training_alone(pretrained, golden):
    images = ((golden["pixels"] / 255 - MEAN) / STD).astype("float32")
    runs = [keras.ops.convert_to_numpy(pretrained(images)) for _ in range(2)]
    np.testing.assert_array_equal(*runs)
    rates = [
        layer.rate
        for layer in pretrained.layers
        if isinstance(layer, keras.layers.Dropout) and layer.name.endswith("_drop")
    ]
    # Of 16 blocks, those that change neither size nor width: 0.2 k / 16.
    expected = [2, 4, 6, 7, 9, 10, 12, 13, 14]
    assert rates == pytest.approx([0.2 * k / 16 for k in expected])


def test_the_file_of_another_network(tmp_path):
    path = tmp_path / "other.pth"
    path.write_bytes(b"weights")
    with pytest.raises(ValueError, match=r"SHA-256 begins with .* not 57934424"):
        built(pretrained=path)
    with pytest.raises(ValueError, match=r"path of a \.pth file"):
        built(pretrained=tmp_path / "weights.h5")
    with pytest.raises(FileNotFoundError):
        built(pretrained=tmp_path / "none.pth")


def test_without_the_package(monkeypatch):
    monkeypatch.setattr(lite_weights, "_MODULE", "no_such_package_1")
    with pytest.raises(ImportError, match=r"sop-keras\[pretrained\]"):
        built(pretrained="imagenet")


def test_images_that_cannot_be():
    with pytest.raises(ValueError, match="at least 32x32"):
        built(size=16)
    with pytest.raises(ValueError, match="3 channels"):
        build_backbone("efficientnet_lite0", (32, 32, 1), 10, pretrained="imagenet")
