"""Weights of another number of examples or classes are named as that."""

import h5py
import keras
import numpy as np
import pytest
from keras.src.saving import saving_lib

from sop_keras import NoisyLabelModel, methods
from sop_keras.core import saved_rows, sparse_variable

D, K = 4, 3
METHODS = {"sop": methods.SOP(init_std=0.1), "ce": methods.CrossEntropy()}


def model(num_examples, num_classes=K, method="sop"):
    backbone = keras.Sequential([keras.Input((D,)), keras.layers.Dense(num_classes)])
    return NoisyLabelModel(backbone, num_examples, num_classes, METHODS[method])


@pytest.mark.parametrize("name", ["w.weights.h5", "w.keras"])
@pytest.mark.parametrize("method", METHODS)
def test_another_number_of_examples(method, name, tmp_path):
    saved = model(60, method=method)
    saved.compile("sgd")
    (saved.save if name == "w.keras" else saved.save_weights)(tmp_path / name)
    other = model(50, method=method)
    with pytest.raises(
        ValueError, match=r"^The file has the rows of 60 .* num_examples=50"
    ):
        other.load_weights(tmp_path / name)
    # As the message says: with as many, or without the rows.
    same = model(60, method=method)
    same.load_weights(tmp_path / name)
    before = [variable.numpy() for variable in other.tables.variables]
    with pytest.warns(UserWarning, match=r"(?s)objects could not be loaded.*60 train"):
        other.load_weights(tmp_path / name, skip_mismatch=True)
    for found in (same, other):
        for one, expected in zip(
            found.backbone.weights, saved.backbone.weights, strict=True
        ):
            np.testing.assert_array_equal(one.numpy(), expected.numpy())
    for old, new in zip(before, other.tables.variables, strict=True):
        np.testing.assert_array_equal(old, new.numpy())
    for one, expected in zip(
        same.tables.variables, saved.tables.variables, strict=True
    ):
        np.testing.assert_array_equal(one.numpy(), expected.numpy())


def test_a_file_from_before_labels_could_be_trusted():
    saved, same = model(60).training_record, model(60).training_record
    saved.table.assign(np.full((60, 3), 2.0))
    same.trust([1])
    same.load_own_variables({"0": saved.table.numpy()})
    np.testing.assert_array_equal(same.table.numpy(), saved.table.numpy())
    assert not same.trusted.numpy().any()
    with pytest.raises(ValueError, match=r"rows of 60 .* num_examples=50"):
        model(50).training_record.load_own_variables({"0": saved.table.numpy()})


def test_a_refused_file_leaves_no_trace(tmp_path):
    model(60).save_weights(tmp_path / "60.weights.h5")
    model(50).save_weights(tmp_path / "50.weights.h5")
    one = model(50)
    with pytest.raises(ValueError, match="num_examples=50"):
        one.load_weights(tmp_path / "60.weights.h5")
    one.load_weights(tmp_path / "50.weights.h5")


def test_another_number_of_classes(tmp_path):
    model(60).save_weights(tmp_path / "w.weights.h5")
    with pytest.raises(ValueError, match=r"rows of 'v' have 3 entries, the model's 4"):
        model(60, num_classes=4).load_weights(tmp_path / "w.weights.h5")


def test_other_faults_are_keras_own(tmp_path):
    model(60, method="ce").save_weights(tmp_path / "w.weights.h5")
    with pytest.raises(ValueError, match="expected 2 variables, but received 0"):
        model(60).load_weights(tmp_path / "w.weights.h5")


def test_rows_are_saved_and_loaded_some_at_a_time(tmp_path, monkeypatch):
    saved = model(60)
    saved.training_record.table.assign(np.arange(180.0).reshape(60, 3))
    whole = [one.numpy() for one in saved.tables.variables]
    monkeypatch.setattr(sparse_variable, "_ROWS_AT_ONCE", 7)
    shapes = []
    to_numpy = saving_lib.backend.convert_to_numpy

    def watched(value):
        shapes.append(tuple(value.shape))
        return to_numpy(value)

    monkeypatch.setattr(saving_lib.backend, "convert_to_numpy", watched)
    monkeypatch.setattr(saved_rows, "_LARGE", 0)
    for name in ("w.weights.h5", "w.keras"):
        (saved.save_weights if "h5" in name else saved.save)(tmp_path / name)
        other = model(60)
        other.load_weights(tmp_path / name)
        for one, expected in zip(other.tables.variables, whole, strict=True):
            np.testing.assert_array_equal(one.numpy(), expected)
        np.testing.assert_array_equal(
            other.training_record.table.numpy(), np.arange(180.0).reshape(60, 3)
        )
    # The network's are; no rows, which are 60.
    assert (D, K) in shapes
    assert not [one for one in shapes if one[:1] == (60,)]


def test_rows_of_another_file_are_refused(tmp_path):
    (tmp_path / "secret").write_bytes(np.arange(60.0, dtype="float32").tobytes())
    saved, path = model(60), tmp_path / "w.weights.h5"
    saved.save_weights(path)
    with h5py.File(path, "r+") as file:
        places = []
        file.visititems(
            lambda name, one: (
                places.append(name) if getattr(one, "shape", 0) == (60, 1) else None
            )
        )
        for name in places:
            del file[name]
            external = [(str(tmp_path / "secret"), 0, 240)]
            file.create_dataset(name, (60, 1), "float32", external=external)
    assert places
    with pytest.raises(ValueError, match="could not be loaded"):
        model(60).load_weights(path)
