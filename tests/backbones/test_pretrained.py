import functools
import zipfile

import h5py
import keras
import numpy as np
import pytest

from sop_keras.backbones.pretrained import check_pretrained, load_weights_file


def small_network(include_top=False, depth=1, input_name=None):
    """Named as if by keras.applications: the layers' names grow with every build."""
    inputs = x = keras.Input((8, 8, 3), name=input_name)
    for _ in range(depth):
        x = keras.layers.Conv2D(3, 3)(x)
        x = keras.layers.BatchNormalization()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    if include_top:
        x = keras.layers.Dropout(0.5)(x)
        x = keras.layers.Dense(1000)(x)
    return keras.Model(inputs, x, name="small")


def shaken(model, seed=0):
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(size=w.shape) for w in model.weights])
    return model


def save_legacy_weights(model, path):
    """Weights alone in Keras 2's format: the group that its whole models have."""
    whole = path.with_name("whole.h5")
    model.save(whole)
    with h5py.File(whole) as source, h5py.File(path, "w") as target:
        weights = source["model_weights"]
        for name in weights:
            weights.copy(name, target)
        target.attrs.update(weights.attrs)


SAVERS = {
    "new.weights.h5": lambda model, path: model.save_weights(path),
    "legacy.h5": save_legacy_weights,
    "whole.h5": lambda model, path: model.save(path),
    "whole.keras": lambda model, path: model.save(path),
}


@pytest.mark.parametrize("include_top", [False, True])
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", SAVERS)
def test_all_formats_with_top_and_without(name, compiled, include_top, tmp_path):
    source = shaken(small_network(include_top))
    if compiled:  # an optimizer's state is in the file too
        source.compile("adam", "mse")
        source.optimizer.build(source.trainable_variables)
    SAVERS[name](source, tmp_path / name)
    network = small_network()
    with_top = functools.partial(small_network, include_top=True)
    load_weights_file(network, with_top, tmp_path / name)
    for actual, expected in zip(
        network.get_weights(), source.get_weights()[:6], strict=True
    ):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("name", SAVERS)
def test_refuses_weights_of_another_network(name, depth, tmp_path):
    # The first layers of both networks have the shapes of this one, depth 2: Keras
    # itself loads the deeper one in silence from two of the formats.
    SAVERS[name](small_network(depth=depth), tmp_path / name)
    # A convolution has 3 * 3 * 3 * 3 + 3 = 84 numbers in 2 arrays, BatchNorm 12 in 4;
    # the top has 4 * 1000 in 2.
    message = (
        f"{name}' has the weights of another network. Expected for small: 12 arrays of "
        "192 numbers, or 14 arrays of 4,192 numbers with the top.* "
        f"Received: {6 * depth} arrays of {96 * depth} numbers"
    )
    with_top = functools.partial(small_network, include_top=True, depth=2)
    with pytest.raises(ValueError, match=message):
        load_weights_file(small_network(depth=2), with_top, tmp_path / name)


@pytest.mark.parametrize("name", SAVERS)
def test_refuses_networks_of_this_package(name, tmp_path):
    # With 1000 classes its shapes are those of the network with its top.
    source = small_network(include_top=True, input_name="images")
    SAVERS[name](source, tmp_path / name)
    with_top = functools.partial(small_network, include_top=True)
    with pytest.raises(ValueError, match=f"{name}' is a network that this package"):
        load_weights_file(small_network(), with_top, tmp_path / name)


def normalising_network(include_top=False):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Normalization()(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    if include_top:
        x = keras.layers.Dense(1000)(x)
    return keras.Model(inputs, x, name="normalising")


@pytest.mark.parametrize("include_top", [False, True])
@pytest.mark.parametrize(
    ("variance", "factor"),
    [
        # Of a network that was trained elsewhere: a variance is a variance.
        ((4.0, 9.0, 16.0), (1 / 2, 1 / 3, 1 / 4)),
        # EfficientNet's files: these are deviations.
        ((0.229, 0.224, 0.225), (1 / 0.229, 1 / 0.224, 1 / 0.225)),
    ],
)
def test_normalisation_is_taken_over(variance, factor, include_top, tmp_path):
    source = normalising_network(include_top)
    top = source.get_weights()[3:]
    source.set_weights([np.ones(3), np.array(variance), np.array(0), *top])
    source.save_weights(tmp_path / "new.weights.h5")
    network = normalising_network()
    with_top = functools.partial(normalising_network, include_top=True)
    load_weights_file(network, with_top, tmp_path / "new.weights.h5")
    # (3 - 1) / deviation
    outputs = keras.ops.convert_to_numpy(network(np.full((1, 8, 8, 3), 3.0)))
    np.testing.assert_allclose(outputs[0], 2 * np.array(factor), rtol=1e-5)


@pytest.mark.parametrize("pretrained", ["none", "imagenet"])
def test_known_words(pretrained):
    check_pretrained(pretrained)


@pytest.mark.parametrize("pretrained", ["ImageNet", "", "missing.h5"])
def test_missing_files(pretrained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = f'"none", "imagenet" or the path.*pretrained=\'{pretrained}\''
    with pytest.raises(FileNotFoundError, match=message):
        check_pretrained(pretrained)


@pytest.mark.parametrize("name", ["model.pt", "model.weights.json", "model"])
def test_files_of_other_kinds(name, tmp_path):
    (tmp_path / name).touch()
    with pytest.raises(ValueError, match=rf"\.weights\.h5, \.h5 or \.keras.*{name}'"):
        check_pretrained(tmp_path / name)


@pytest.mark.parametrize("name", ["text.h5", "text.weights.h5", "text.keras"])
def test_damaged_files(name, tmp_path):
    (tmp_path / name).write_text("no weights", encoding="utf-8")
    with pytest.raises(ValueError, match=f"{name}' is no file of weights.*Download"):
        load_weights_file(small_network(), small_network, tmp_path / name)


def test_archives_without_weights(tmp_path):
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(ValueError, match=r"other\.keras' is no file of weights"):
        load_weights_file(small_network(), small_network, tmp_path / "other.keras")
