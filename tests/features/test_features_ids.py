"""Ids beside the features, where the labels come from another file."""

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from sop_keras.features.own_features import read_features

FEATURES = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
LABELS = ["dog", "cat", "cat", "dog", "eel", "eel"]


@pytest.fixture
def labels(tmp_path):
    (tmp_path / "labels.txt").write_text("\n".join(LABELS) + "\n")
    return tmp_path / "labels.txt"


def check(own, ids):
    np.testing.assert_array_equal(own.features, FEATURES)
    assert [own.class_names[label] for label in own.labels] == LABELS
    assert own.labels.dtype == own.ids.dtype == np.int64
    assert own.ids.tolist() == ids


def features_with_ids(path, ids):
    if path.suffix == ".npz":
        np.savez(path, features=FEATURES, ids=np.array(ids))
    else:
        table = {"id": ids, "embedding": FEATURES.tolist()}
        kind = pyarrow.list_(pyarrow.float32())
        table["embedding"] = pyarrow.array(table["embedding"], kind)
        parquet.write_table(pyarrow.table(table), path)
    return path


@pytest.mark.parametrize("name", ["a.npz", "a.parquet"])
def test_labels_of_another_file_are_joined_by_id(tmp_path, labels, name):
    path = features_with_ids(tmp_path / name, [15, 14, 13, 12, 11, 10])
    # Backwards, as against the rows: the first row, 15, has the label of the last line.
    rows = [f"{id_},{label}" for id_, label in enumerate(LABELS[::-1], 10)]
    (tmp_path / "a.csv").write_text("\n".join(["id,label", *rows]))
    check(read_features(path, tmp_path / "a.csv"), ids=[15, 14, 13, 12, 11, 10])
    # Labels without ids are in the order of the rows, whose ids stay.
    check(read_features(path, labels), ids=[15, 14, 13, 12, 11, 10])


@pytest.mark.parametrize("name", ["a.npz", "a.parquet"])
def test_labels_of_other_ids_are_refused(tmp_path, name):
    path = features_with_ids(tmp_path / name, [3, 4, 5, 6, 7, 8])
    rows = [
        f"{id_},{label}" for id_, label in zip([3, 4, 5, 6, 7, 9], LABELS, strict=True)
    ]
    (tmp_path / "a.csv").write_text("\n".join(["id,label", *rows]))
    with pytest.raises(ValueError, match=r": 1 \(8\) of the features.*, 1 \(9\) of la"):
        read_features(path, tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("\n".join(["id,label", *rows[:4]]))
    with pytest.raises(ValueError, match=r": 2 \(7, 8\) of the features .*, 0 of la"):
        read_features(path, tmp_path / "a.csv")


def test_ids_beside_the_features_that_are_none_are_refused(tmp_path, labels):
    path = features_with_ids(tmp_path / "a.parquet", [0, 1, 2, 3, 4, 4])
    with pytest.raises(ValueError, match="4 is there more than once"):
        read_features(path, labels)
    path = features_with_ids(tmp_path / "a.parquet", [0, 1, 2, 3, 4, -5])
    with pytest.raises(ValueError, match=r"row 5 has the id '-5'\. Ids are integers"):
        read_features(path, labels)
    columns = [pyarrow.array(range(6))] * 2 + [pyarrow.array(FEATURES[:, 0])]
    table = pyarrow.Table.from_arrays(columns, ["id", "id", "f"])
    parquet.write_table(table, path)
    with pytest.raises(ValueError, match=r"2 columns 'id', where one at most is read"):
        read_features(path, labels)
