import json
import os
import zipfile

import keras
import numpy as np
import pytest
from limited import run_limited

from sop_keras import NoisyLabelModel, SOPModel, methods
from sop_keras.data.datasets.dataset import Dataset, Examples
from sop_keras.files.untrusted import NotRegularFileError
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


# Files of strangers


def archive(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression, compresslevel=1) as file:
        for name, num_bytes in members.items():
            with file.open(name, "w", force_zip64=True) as member:
                for _ in range(num_bytes // 2**20):
                    member.write(b" " * 2**20)
    return path


@pytest.mark.parametrize(
    ("members", "text"),
    [
        # 2**24 are allowed, of 17 MiB.
        (
            {"config.json": 17 * 2**20},
            r"its config\.json has 17,825,792 bytes when it is unpacked, where at most "
            "16,777,216 are read",
        ),
        ({"metadata.json": 2 * 2**20}, r"its metadata\.json has 2,097,152 bytes"),
        # 64 MiB are free.
        (
            {"config.json": 2**20, "model.weights.h5": 80 * 2**20},
            r"84,934,656 when it is unpacked, more than 20 times as many",
        ),
    ],
)
def test_members_are_measured_before_they_are_unpacked(tmp_path, members, text):
    path = archive(tmp_path / "model.keras", members)
    assert path.stat().st_size < 2**20
    with pytest.raises(ValueError, match=text):
        load_classifier(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_a_pipe_in_place_of_a_model(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(NotRegularFileError, match="a pipe, where a regular file"):
        load_classifier(tmp_path / name)


def test_a_shortage_of_memory_is_no_damage(tmp_path, monkeypatch):
    path = tmp_path / "model.keras"
    network(*dense(3)).save(path)

    def short(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(keras.saving, "load_model", short)
    with pytest.raises(MemoryError, match=r"not enough memory to load .*model\.keras"):
        load_classifier(path)


BOMB = """
from sop_keras.files.archives import check_address_space, check_unpacked
from sop_keras.files.untrusted import open_untrusted
with open_untrusted(sys.argv[1], 2**40) as file:
    print(check_unpacked(file, "m.keras", {}))
    for name in ("config.json", "model.weights.h5"):
        try:
            check_unpacked(file, "m.keras", {name: 2**24})
        except ValueError as error:
            print(error)
check_address_space("m.keras", 20_000_000)
try:
    check_address_space("m.keras", 200_000_000)
except MemoryError as error:
    print(error)
"""


def test_under_a_limit_of_address_space_there_is_one_message(tmp_path):
    # As large as its member: no bomb by its ratio.
    path = tmp_path / "m.keras"
    archive(path, {"config.json": 100 * 2**20}, zipfile.ZIP_STORED)
    total, config, room = run_limited(
        "import sop_keras.files.archives", BOMB, path, more=100_000_000
    )
    assert total == "104857600"
    assert config.startswith("m.keras: its config.json has 104,857,600 bytes")
    assert room.startswith("m.keras needs some 200,000,000 bytes of address space")
