import json
import zipfile

import keras
import numpy as np
import pytest

from sop_keras import NoisyLabelModel, SOPModel, methods
from sop_keras.data.datasets.dataset import Dataset, Examples
from sop_keras.training.saved_classifier import (
    check_image_shape,
    input_shape,
    load_classifier,
)


def examples(n=4):
    return Examples(np.arange(n), np.zeros((n, 2, 2, 1), np.uint8), np.zeros(n, int))


def source_of(**parts):
    named = {"train": examples(6), "test": None, **parts}
    return Dataset("some", ("a", "b"), 6, mean=(0.0,), std=(1.0,), **named)


def network(*layers, shape=(8, 8, 1)):
    return keras.Sequential([keras.Input(shape), *layers])


def dense(units, **options):
    return [keras.layers.Flatten(), keras.layers.Dense(units, **options)]


def test_models_that_cannot_be_loaded(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no model .*none\.keras"):
        load_classifier(tmp_path / "none.keras")
    whole = tmp_path / "whole.keras"
    network(*dense(3)).save(whole)
    text, cut, archive = (tmp_path / f"{one}.keras" for one in ("text", "cut", "zip"))
    text.write_text("hello")
    cut.write_bytes(whole.read_bytes()[:3000])
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.txt", "hello")
    for path in (text, cut, archive):
        match = rf"{path.name} cannot be loaded\. It must be a Keras model, .*says: .+"
        with pytest.raises(ValueError, match=match) as error:
            load_classifier(path)
        assert "\n" not in str(error.value)
    assert isinstance(load_classifier(whole), keras.Model)


def test_a_layer_that_is_not_known_is_named(tmp_path):
    known, odd = tmp_path / "known.keras", tmp_path / "odd.keras"
    network(*dense(3)).save(known)
    with zipfile.ZipFile(known) as old, zipfile.ZipFile(odd, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                content = content.replace(b'"Dense"', b'"Odd"')
            new.writestr(name, content)
    with pytest.raises(ValueError, match=r"says: .{,40}\bOdd'") as error:
        load_classifier(odd)
    assert len(str(error.value)) < 600


def test_a_model_of_another_version_names_the_file_of_its_network(tmp_path):
    known, old = tmp_path / "known.keras", tmp_path / "model.keras"
    network(*dense(3)).save(known)
    with zipfile.ZipFile(known) as before, zipfile.ZipFile(old, "w") as after:
        for name in before.namelist():
            content = before.read(name)
            if name == "config.json":
                config = json.loads(content) | {
                    "module": "sop_keras.baselines.gone",
                    "class_name": "GoneModel",
                    "registered_name": "sop_keras>GoneModel",
                }
                content = json.dumps(config).encode()
            after.writestr(name, content)
    message = r"model\.keras holds a GoneModel, .*backbone\.keras beside it"
    with pytest.raises(ValueError, match=message):
        load_classifier(old)


def test_the_images_that_a_model_takes():
    plain = network(*dense(3))
    assert input_shape(plain) == (8, 8, 1)
    assert input_shape(SOPModel(plain, num_examples=5, num_classes=3)) == (8, 8, 1)
    other = NoisyLabelModel(plain, 5, 3, method=methods.CrossEntropy())
    assert input_shape(other) == (8, 8, 1)
    pool = network(keras.layers.GlobalMaxPooling2D(), shape=(None, None, 3))
    assert input_shape(pool) == (None, None, 3)
    assert input_shape(keras.Sequential([keras.layers.Dense(3)])) is None


def test_models_of_other_inputs():
    inputs = [keras.Input((8, 8, 1)), keras.Input((8, 8, 1))]
    two = keras.Model(inputs, keras.layers.Add()(inputs))
    for model in (two, network(keras.layers.Dense(3), shape=(64,))):
        with pytest.raises(ValueError, match="must take one batch of images"):
            input_shape(model)


def test_images_of_another_size():
    dataset = source_of()
    check_image_shape(network(*dense(2), shape=(2, 2, 1)), dataset)
    any_size = network(keras.layers.GlobalMaxPooling2D(), shape=(None, None, 1))
    check_image_shape(any_size, dataset)
    with pytest.raises(ValueError, match=r"shape \(8, 8, 1\).*some are \(2, 2, 1\)"):
        check_image_shape(network(*dense(2)), dataset)
