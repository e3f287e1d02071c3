import json
import shutil

import keras
import numpy as np
import pytest
from small_features import MEAN, STD, saved_classifier

from sop_keras import SOPModel
from sop_keras.backbones.build import build_backbone
from sop_keras.features.network import FeatureNetwork, feature_network

layers = keras.layers


def pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def pooled(path, shape=(8, 8, 3)):
    """A network whose features are the means of the channels."""
    saved_classifier(
        path, layers.GlobalAveragePooling2D(), layers.Dense(2), shape=shape
    )
    return path


def resized(image, size):
    """Bilinear, without antialiasing: pixel i covers from i to i + 1."""
    result = np.zeros((size, size, image.shape[-1]))
    for row in range(size):
        for column in range(size):
            for axis_place, side in ((row, 0), (column, 1)):
                place = (axis_place + 0.5) * image.shape[side] / size - 0.5
                place = min(max(place, 0), image.shape[side] - 1)
                if side == 0:
                    top, down = int(place), place - int(place)
                else:
                    left, right = int(place), place - int(place)
            for y, of_y in ((top, 1 - down), (min(top + 1, len(image) - 1), down)):
                for x, of_x in (
                    (left, 1 - right),
                    (min(left + 1, image.shape[1] - 1), right),
                ):
                    result[row, column] += of_y * of_x * image[y, x]
    return result


def test_features_are_what_the_head_is_fed(tmp_path):
    network = feature_network(pooled(tmp_path / "a.keras"), mean=MEAN, std=STD)
    images = pixels(5, 8, 8, 3)
    features = network.features(images)
    assert (features.dtype, network.num_features) == (np.float32, 3)
    expected = ((images / 255 - MEAN) / STD).mean((1, 2))
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-5)


def test_images_of_another_size_are_resized(tmp_path):
    saved_classifier(
        tmp_path / "a.keras", layers.Flatten(), layers.Dense(2), shape=(7, 7, 3)
    )
    network = feature_network(tmp_path / "a.keras", mean=MEAN, std=STD)
    assert (network.image_size, network.resize) == (7, 8)
    image = pixels(4, 5, 3)
    expected = (resized(image, 7) / 255 - MEAN) / STD
    np.testing.assert_allclose(
        network.features(image[None]).reshape(7, 7, 3), expected, rtol=1e-4, atol=1e-4
    )


def test_grey_images_are_colours_of_one_value(tmp_path):
    network = feature_network(pooled(tmp_path / "a.keras"), mean=MEAN, std=STD)
    grey = pixels(2, 8, 8, 1)
    np.testing.assert_array_equal(
        network.features(grey), network.features(np.repeat(grey, 3, axis=-1))
    )
    with pytest.raises(ValueError, match=r"3 channels .*Received: images of 4"):
        network.features(pixels(2, 8, 8, 4))
    of_grey = feature_network(
        pooled(tmp_path / "b.keras", (8, 8, 1)), mean=(0.5,), std=(0.5,)
    )
    expected = (grey / 255 - 0.5).mean((1, 2)) / 0.5
    np.testing.assert_allclose(of_grey.features(grey), expected, rtol=1e-4, atol=1e-6)


def test_a_backbone_by_name_loses_the_head_it_was_given():
    network = feature_network("cnn", 8, pretrained="none", mean=MEAN, std=STD)
    whole = build_backbone("cnn", (8, 8, 3), 2, seed=0)
    kernel, bias = whole.get_layer("logits").get_weights()
    images = pixels(3, 8, 8, 3)
    logits = whole.predict((images / 255 - MEAN) / STD, verbose=0)
    np.testing.assert_allclose(
        network.features(images) @ kernel + bias, logits, rtol=1e-4, atol=1e-5
    )
    again = feature_network("cnn", 8, pretrained="none", mean=MEAN, std=STD)
    assert network.record() == again.record()
    assert network.record()["backbone"] == "cnn"


def test_a_saved_model_of_this_package_gives_its_network(tmp_path):
    backbone = saved_classifier(tmp_path / "a.keras")
    SOPModel(backbone, num_examples=4, num_classes=5).save(tmp_path / "model.keras")
    one = feature_network(tmp_path / "a.keras", mean=MEAN, std=STD)
    other = feature_network(tmp_path / "model.keras", mean=MEAN, std=STD)
    images = pixels(2, 8, 8, 3)
    np.testing.assert_array_equal(one.features(images), other.features(images))


def test_a_network_in_a_network_and_layers_after_the_head(tmp_path):
    inside = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.GlobalAveragePooling2D()]
    )
    saved_classifier(tmp_path / "a.keras", inside, layers.Dense(2), layers.Softmax())
    network = feature_network(tmp_path / "a.keras", mean=MEAN, std=STD)
    assert network.num_features == 4


def test_records_name_what_features_depend_on(tmp_path):
    def record(path, **options):
        return feature_network(path, **{"mean": MEAN, "std": STD} | options).record()

    def different(one, other):
        return {name for name in one if one[name] != other[name]}

    first = tmp_path / "a.keras"
    model = saved_classifier(first)
    one = record(first)
    assert json.loads(json.dumps(one)) == one
    assert (one["image_size"], one["resize"], one["num_features"]) == (8, 9, 4)
    assert (one["mean"], one["std"]) == (list(MEAN), list(STD))
    shutil.copy(first, tmp_path / "moved.keras")
    assert record(tmp_path / "moved.keras") == one
    # The head is not part of it.
    head = model.get_layer("head")
    head.kernel.assign(head.kernel + 1)
    model.save(tmp_path / "head.keras")
    assert record(tmp_path / "head.keras") == one
    # One bit of one weight is.
    kernel = model.get_layer("conv").kernel
    changed = np.array(kernel)
    changed.view(np.uint32)[0, 0, 0, 0] ^= 1
    kernel.assign(changed)
    model.save(tmp_path / "bit.keras")
    assert different(record(tmp_path / "bit.keras"), one) == {"weights"}
    # So is what is done with the same weights.
    saved_classifier(
        tmp_path / "tanh.keras",
        layers.Conv2D(4, 3, activation="tanh", name="conv"),
        layers.GlobalAveragePooling2D(name="pool"),
        layers.Dense(5, name="head"),
    )
    assert different(record(tmp_path / "tanh.keras"), one) == {"backbone"}
    assert different(record(first, std=(1, 1, 1)), one) == {"std"}
    assert different(record(first, mean=(0, 0, 0)), one) == {"mean"}
    assert different(record(first, resize=20), one) == {"resize"}


@pytest.mark.parametrize(
    ("head", "match"),
    [
        ([layers.GlobalAveragePooling2D()], r"has none among .*GlobalAveragePooling2D"),
        (
            [layers.Dense(4), layers.Conv2D(2, 8), layers.Flatten()],
            r"not its head: 'con",
        ),
        ([layers.Dense(4), layers.Flatten()], r"shape \(None, 8, 8, 3\).* pool over"),
    ],
)
def test_networks_without_a_head_to_cut_off(tmp_path, head, match):
    saved_classifier(tmp_path / "a.keras", *head)
    with pytest.raises(ValueError, match=match):
        feature_network(tmp_path / "a.keras")


def test_a_network_that_is_no_graph():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.head = layers.Dense(2)

        def call(self, images):
            return self.head(keras.ops.mean(images, (1, 2)))

    network = Own()
    network(np.zeros((1, 8, 8, 3), "float32"))
    with pytest.raises(ValueError, match="must be a functional or sequential Keras"):
        FeatureNetwork(network, 8, 8, MEAN, STD)


def test_arguments_that_cannot_be(tmp_path):
    path = pooled(tmp_path / "a.keras")
    with pytest.raises(ValueError, match=r"8x8 pixels\. Received: image_size=9"):
        feature_network(path, 9)
    with pytest.raises(ValueError, match=r"3 channels, .*Received: mean=\(0\.5,\)"):
        feature_network(path, mean=(0.5,), std=(0.5,))
    with pytest.raises(ValueError, match="`std` positive"):
        feature_network(path, std=(0, 1, 1))
    with pytest.raises(ValueError, match="`resize` must be an integer of at least 8"):
        feature_network(path, resize=7)
    with pytest.raises(FileNotFoundError, match=r"no model .*none\.keras"):
        feature_network(tmp_path / "none.keras")
    with pytest.raises(ValueError, match="unknown"):
        feature_network("unknown")
