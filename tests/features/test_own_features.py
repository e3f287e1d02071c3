import io
import zipfile

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from sop_keras.features import own_features
from sop_keras.features.own_features import read_features
from sop_keras.files.untrusted import UntrustedFileError

FEATURES = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
LABELS = ["dog", "cat", "cat", "dog", "eel", "eel"]
CODES = [1, 0, 0, 1, 2, 2]
NAMES = ("cat", "dog", "eel")


@pytest.fixture
def npy(tmp_path):
    np.save(tmp_path / "features.npy", FEATURES)
    return tmp_path / "features.npy"


@pytest.fixture
def labels(tmp_path):
    (tmp_path / "labels.txt").write_text("\n".join(LABELS) + "\n")
    return tmp_path / "labels.txt"


def check(own, ids=range(6), features=FEATURES):
    np.testing.assert_array_equal(own.features, features)
    assert own.features.dtype == features.dtype
    assert own.labels.tolist() == CODES
    assert own.labels.dtype == own.ids.dtype == np.int64
    assert own.class_names == NAMES
    assert own.ids.tolist() == list(ids)


# Features


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy(tmp_path, labels, dtype, order):
    features = np.asarray(FEATURES.astype(dtype), order=order)
    np.save(tmp_path / "a.npy", features)
    own = read_features(tmp_path / "a.npy", labels)
    check(own, features=features)
    assert not own.features.flags.writeable
    # Mapped, not read: no memory of its own.
    assert not own.features.flags.owndata


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path, save):
    path = tmp_path / "a.npz"
    save(path, features=FEATURES, labels=np.array(LABELS))
    check(read_features(path))
    save(path, features=FEATURES, labels=np.array(LABELS, "S"), ids=np.arange(6) * 7)
    check(read_features(path), ids=range(0, 42, 7))


@pytest.mark.parametrize(
    "kind",
    [
        pyarrow.list_(pyarrow.float32()),
        pyarrow.large_list(pyarrow.float32()),
        pyarrow.list_(pyarrow.float32(), 4),
    ],
)
def test_parquet_with_a_column_of_lists(tmp_path, kind, monkeypatch):
    table = {
        "id": [9, 8, 7, 6, 5, 4],
        "embedding": pyarrow.array(FEATURES.tolist(), kind),
        "label": LABELS,
    }
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table(table), path, row_group_size=4)
    check(read_features(path), ids=[9, 8, 7, 6, 5, 4])
    # In blocks of two rows, which are cut across groups.
    monkeypatch.setattr("sop_keras.features.parquet_features._NUMBERS_AT_ONCE", 12)
    check(read_features(path), ids=[9, 8, 7, 6, 5, 4])


def test_parquet_with_a_column_a_feature(tmp_path):
    columns = {f"f{i}": FEATURES[:, i] for i in range(4)}
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({**columns, "label": LABELS}), path)
    check(read_features(path))
    columns["f2"] = columns["f2"].astype("f8")
    columns["path"] = list("abcdef")  # neither is a feature
    columns["__index_level_0__"] = range(6)
    parquet.write_table(pyarrow.table({**columns, "label": LABELS}), path)
    check(read_features(path), features=FEATURES.astype("f8"))


# Labels


def test_labels_of_each_format(tmp_path, npy):
    np.save(tmp_path / "a.npy", np.array(LABELS))
    check(read_features(npy, tmp_path / "a.npy"))
    rows = "\n".join(f"{label},{9 - i}" for i, label in enumerate(LABELS))
    (tmp_path / "a.csv").write_text(f"label,id\n{rows}\n")
    check(read_features(npy, tmp_path / "a.csv"), ids=[9, 8, 7, 6, 5, 4])
    table = pyarrow.table({"label": LABELS, "more": list(range(6))})
    parquet.write_table(table, tmp_path / "a.parquet")
    check(read_features(npy, tmp_path / "a.parquet"))


@pytest.mark.parametrize(
    "values", [[10, 2, 2, 10, 33, 33], [10.0, 2.0, 2.0, 10.0, 33.0, 33.0]]
)
def test_labels_that_are_integers(tmp_path, npy, values):
    # As numbers, not as texts: 2 before 10.
    def check_numbers(path):
        own = read_features(npy, path)
        assert own.class_names == ("2", "10", "33")
        assert own.labels.tolist() == CODES

    np.save(tmp_path / "a.npy", np.array(values))
    check_numbers(tmp_path / "a.npy")
    (tmp_path / "a.txt").write_text("\n".join(map(str, values)))
    check_numbers(tmp_path / "a.txt")
    parquet.write_table(pyarrow.table({"label": values}), tmp_path / "a.parquet")
    check_numbers(tmp_path / "a.parquet")


def test_ids_that_the_page_cannot_count_are_refused(tmp_path):
    # 10^15 - 1 has 15 digits, which floats count exactly, and pages in JavaScript.
    path, ids = tmp_path / "a.npz", np.arange(6) + 10**15 - 6
    np.savez(path, features=FEATURES, labels=np.array(LABELS), ids=ids)
    check(read_features(path), ids=ids.tolist())
    np.savez(path, features=FEATURES, labels=np.array(LABELS), ids=ids + 1)
    with pytest.raises(ValueError, match=r"ids: .* from 0 to 9{15}, .* are from 9"):
        read_features(path)


def test_labels_of_their_own_file_come_before_those_beside(tmp_path, labels):
    other = np.array([0, 0, 0, 1, 1, 1])
    np.savez(tmp_path / "a.npz", features=FEATURES, labels=other)
    check(read_features(tmp_path / "a.npz", labels))


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("a.txt", "a\nb\n\na\n", r"a\.txt: line 3 has no label: ''"),
        ("a.txt", "a\nNaN\n", r"a\.txt: line 2 has no label: 'NaN'"),
        ("a.txt", "1\n-1\n", r"a\.txt: the label '-1' is a number, and no integer"),
        ("a.txt", "1\n2.5\n", r"a\.txt: the label '2\.5' is a number, and no integer"),
        ("a.txt", "x" * 5000, r"line 1 has a label of 5,000 characters"),
        ("a.txt", "a\nb\n", r"6 rows of features, and .*a\.txt has 2 labels"),
        ("a.csv", "class\na\n", r"one column 'label', .*found: 'class'\."),
        ("a.csv", "label,label\na,b\n", r"one column 'label', .*found: 'label', 'lab"),
        ("a.csv", "label,id\na\n", r"line 2 has 1 values, and the first line names 2"),
        ("a.csv", "label,id\na,3\nb,x\n", r"a\.csv: row 2 has the id 'x'\. Ids are"),
        ("a.csv", "label,id\na,1.0\nb,1\n", r"row 1 has the id '1\.0'\. Ids are int"),
        ("a.csv", "label,id\na,1\nb,\n", r"row 2 has the id ''\. Ids are integers"),
        (
            "a.csv",
            f"label,id\na,{10**15}\n",
            r"row 1 has the id '10{15}'\. .* to 9{15},",
        ),
        ("a.csv", f"label,id\na,{10**18}\n", r"row 1 has the id '10{18}'\."),
        ("a.txt", "1\n2\n01\n", r"a\.txt: the labels '1' and '01' are one integer"),
        ("a.txt", "2\n1\n2.0\n", r"a\.txt: the labels '2' and '2\.0' are one integer"),
        ("a.csv", "label,id\na,1\nb,1\n", r"1 is there more than once"),
        ("a.csv", 'label\nb\n"a\na\n', r"from line 3 on .* quote left open"),
        ("a.json", "[]", r"read from \.npy, \.csv, \.txt .* Received: .*a\.json"),
    ],
)
def test_labels_that_cannot_be_used(tmp_path, npy, name, text, match):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=match):
        read_features(npy, tmp_path / name)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        (np.zeros((6, 1), int), r"of shape \(n,\)\. Received: int64 of shape \(6, 1\)"),
        (np.array([0, 1, 0, 1, 0.5, 1]), r"1 of 6 .* the first, 0\.5, in row 4"),
        (np.array([0, 1, 0, 1, np.nan, 1]), r"1 of 6 .* the first, nan, in row 4"),
        (np.array([0, 1, 0, 1, 0, -1]), r"from 0, or texts\. Received: -1 in row 5"),
        (np.zeros(6, "M8[s]"), r"integers or texts .*datetime64"),
    ],
)
def test_arrays_that_are_no_labels(tmp_path, npy, values, match):
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(ValueError, match=match):
        read_features(npy, tmp_path / "a.npy")


def test_too_few_classes_or_examples(tmp_path, npy):
    (tmp_path / "a.txt").write_text("a\n" * 6)
    with pytest.raises(ValueError, match=r"at least 2 classes\. .*: 1, 'a'"):
        read_features(npy, tmp_path / "a.txt")
    (tmp_path / "a.txt").write_text("a\na\nb\nb\nc\u202e\na\n")
    with pytest.raises(ValueError, match=r"3 classes, of which 1 have fewer: .*u202e"):
        read_features(npy, tmp_path / "a.txt")


# What cannot be used as features


@pytest.mark.parametrize(
    ("features", "match"),
    [
        (np.zeros(6, "f4"), r"Received: float32 of shape \(6,\)"),
        (np.zeros((6, 2, 2), "f4"), r"Received: float32 of shape \(6, 2, 2\)"),
        (np.zeros((6, 2), "i4"), r"Received: int32 of shape \(6, 2\)\. .*astype"),
        (np.zeros((6, 2), "g"), r"Received: float128"),
        (np.zeros((6, 0), "f4"), r"both at least 1\. Received: .*\(6, 0\)"),
        (np.ones((6, 2), "f4"), r"all 6 rows are equal"),
    ],
)
def test_arrays_that_are_no_features(tmp_path, labels, features, match):
    np.save(tmp_path / "a.npy", features)
    with pytest.raises(ValueError, match=match):
        read_features(tmp_path / "a.npy", labels)


def test_rows_that_are_not_finite_are_counted(tmp_path, labels, monkeypatch):
    monkeypatch.setattr(own_features, "_NUMBERS_AT_ONCE", 8)  # two rows
    features = FEATURES.copy()
    features[3, 1], features[3, 2], features[4, 0] = np.nan, np.inf, -np.inf
    np.save(tmp_path / "a.npy", features)
    with pytest.raises(ValueError, match=r"2 of 6 rows .* the first of them row 3\."):
        read_features(tmp_path / "a.npy", labels)
    # One row that differs, in the last block, is enough.
    equal = np.ones((6, 4), "f4")
    equal[5, 3] = 2
    np.save(tmp_path / "a.npy", equal)
    np.testing.assert_array_equal(
        read_features(tmp_path / "a.npy", labels).features, equal
    )


def test_files_that_are_not_there(tmp_path, npy):
    with pytest.raises(FileNotFoundError, match=r"no file .*none\.npy"):
        read_features(tmp_path / "none.npy", npy)
    with pytest.raises(FileNotFoundError, match=r"no file .*none\.txt"):
        read_features(npy, tmp_path / "none.txt")
    with pytest.raises(ValueError, match=r"has no labels\. Give a file of them"):
        read_features(npy)
    with pytest.raises(ValueError, match=r"read from \.npy, \.npz and \.parquet\."):
        read_features(__file__, npy)


def header(shape, descr="'<f4'", order="False"):
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"
    text = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "no array that numpy.save wrote"),
        (b"hello, world", "no array that numpy.save wrote"),
        (header((6, 4)) + bytes(95), r"95 bytes of numbers, and 96 are said"),
        (header((6, 4)) + bytes(97), r"97 bytes of numbers, and 96 are said"),
        (header((10**15, 10**6)), r"0 bytes of numbers, and 4,0{3}"),
        (header((-1, -24)) + bytes(96), r"shape \(-1, -24\)"),
        (header((6, 4), "'|O'"), r"Python objects, which are not read"),
        (header("__import__('os')"), "no array that numpy.save wrote"),
        (b"\x93NUMPY\x07\x00" + bytes(90), r"version 7|\(7, 0\)"),
    ],
)
def test_hostile_npy(tmp_path, labels, content, match):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ValueError, match=match):
        read_features(tmp_path / "a.npy", labels)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("features.npy", content)
    with pytest.raises(ValueError, match=match):
        read_features(tmp_path / "a.npz", labels)


def test_hostile_npz(tmp_path, labels):
    path = tmp_path / "a.npz"
    path.write_bytes(b"hello")
    with pytest.raises(ValueError, match=r"no file of numpy\.savez, or is damaged"):
        read_features(path, labels)
    np.savez(path, others=FEATURES)
    with pytest.raises(ValueError, match="has no array 'features'"):
        read_features(path, labels)
    np.savez(path, features=FEATURES)
    with pytest.raises(ValueError, match="has no labels"):
        read_features(path)
    np.savez(path, features=FEATURES, labels=LABELS, ids=np.arange(5))
    with pytest.raises(ValueError, match="6 rows of features, and 5 ids"):
        read_features(path)
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="Bad CRC-32"):
        read_features(path)
    # Zeros, a thousand times as many as the file has bytes.
    zeros = io.BytesIO()
    np.save(zeros, np.zeros((2**20, 20), "f4"))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("features.npy", zeros.getvalue())
    with pytest.raises(ValueError, match="more than 20 times as many"):
        read_features(path, labels)


@pytest.mark.parametrize(
    ("table", "match"),
    [
        ({"label": LABELS}, r"one column of lists of floats, .*'label' \(string\)"),
        ({"a": [[1.0]] * 6, "b": [[1.0]] * 6, "label": LABELS}, "one column of lists"),
        ({"a": [[1.0]] * 6, "b": [1.0] * 6, "label": LABELS}, "one column of lists"),
        ({"a": [[1]] * 6, "label": LABELS}, "one column of lists"),
        (
            {"a": [[1.0, 2], [1, 2], [1, 2, 3]] * 2, "label": LABELS},
            r"list in row 2 has 3 numbers, those before it have 2",
        ),
        ({"a": [[1.0], None] * 3, "label": LABELS}, r"row 1 has 0 numbers"),
        ({"a": [[1.0], [None]] * 3, "label": LABELS}, r"3 of 6 rows .*row 1\."),
        ({"a": [1.0, None] * 3, "label": LABELS}, r"3 of 6 rows .*row 1\."),
        ({"a": FEATURES[:, 0]}, r"one column 'label'"),
        (
            {"a": FEATURES[:, 0], "b": [1] * 6, "c": [True] * 6, "label": LABELS},
            r"2 columns of numbers .*: 'b' \(int64\), 'c' \(bool\)\. .*float32",
        ),
    ],
)
def test_parquet_that_cannot_be_used(tmp_path, table, match):
    parquet.write_table(pyarrow.table(table), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=match):
        read_features(tmp_path / "a.parquet")


def test_parquet_that_is_none_or_far_larger_than_its_file(tmp_path, labels):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 hello PAR1")
    with pytest.raises(ValueError, match="cannot be read as Parquet"):
        read_features(path, labels)
    # A value, repeated: 80 MB of some kilobytes.
    parquet.write_table(pyarrow.table({"a": np.ones(10_000_000)}), path)
    assert path.stat().st_size < 100_000
    with pytest.raises(ValueError, match="more than 20 times as many"):
        read_features(path, labels)


def test_a_pipe_is_not_waited_for(tmp_path, labels):
    import os

    for name in ("a.npy", "a.npz", "a.parquet"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(UntrustedFileError, match="a pipe, where a regular file"):
            read_features(tmp_path / name, labels)
