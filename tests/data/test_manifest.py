import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sop_keras.data.datasets.manifest import load_manifest
from sop_keras.data.images.encoded_images import IMAGENET_MEAN, IMAGENET_STD


def write(path, text):
    """A manifest of these lines, as text or as bytes."""
    content = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(content)
    return path


@pytest.fixture
def manifest(tmp_path):
    """Writes a manifest of training examples and returns its path."""
    return lambda text: write(tmp_path / "train.csv", text)


def test_labels_that_are_names(manifest, tmp_path):
    dataset = load_manifest(
        manifest("path,label\na.jpg,dog\nb/c.jpg,cat\nd.jpg,dog\ne.jpg,Cow\n"),
        resize=64,
        image_size=48,
    )
    assert (dataset.name, dataset.num_examples) == ("manifest", 4)
    # In the order of their bytes: capitals first.
    assert dataset.class_names == ("Cow", "cat", "dog")
    assert dataset.train.labels.tolist() == [2, 1, 2, 0]
    assert dataset.train.ids.tolist() == [0, 1, 2, 3]
    assert dataset.train.clean_labels is None
    assert dataset.test is None
    images = dataset.train.images
    assert images.names.tolist() == [b"a.jpg", b"b/c.jpg", b"d.jpg", b"e.jpg"]
    assert images.name(1) == f"{tmp_path}/b/c.jpg"
    assert images.shape == (4, 48, 48, 3)
    assert (dataset.mean, dataset.std) == (IMAGENET_MEAN, IMAGENET_STD)


@pytest.mark.parametrize(("num_classes", "expected"), [(None, 5), (20, 20)])
def test_labels_that_are_integers(num_classes, expected, manifest, caplog):
    # 4 is the largest, in the other column; 003 is 3. No example is of class 1.
    text = "label,path,clean_label\n2,a.jpg,2\n003,b.jpg,4\n3,c.jpg,0\n"
    dataset = load_manifest(manifest(text), num_classes=num_classes)
    assert dataset.class_names == tuple(str(i) for i in range(expected))
    assert dataset.train.labels.tolist() == [2, 3, 3]
    assert dataset.train.clean_labels.tolist() == [2, 4, 0]
    assert "labels '003' and '3' in the column label are one class" in caplog.text
    told = "1 of 5 classes have no example, the first is class 1." in caplog.text
    assert told == (num_classes is None)


def test_true_labels_have_the_same_classes(manifest):
    text = "path,label,clean_label\na.jpg,dog,cat\nb.jpg,dog,ape\nc.jpg,eel,eel\n"
    dataset = load_manifest(manifest(text))
    assert dataset.class_names == ("ape", "cat", "dog", "eel")
    assert dataset.train.labels.tolist() == [2, 2, 3]
    assert dataset.train.clean_labels.tolist() == [1, 0, 3]


def test_ids_of_ones_own(manifest):
    # The largest possible one, and zeros in front.
    text = "id,path,label\n7,a.jpg,x\n0003,b.jpg,y\n2147483647,c.jpg,x\n"
    dataset = load_manifest(manifest(text))
    assert dataset.train.ids.tolist() == [7, 3, 2147483647]
    assert dataset.num_examples == 2147483648
    text = "id,path,label\n7,a.jpg,x\n3,b.jpg,y\n"
    assert load_manifest(manifest(text)).num_examples == 8


def test_lines_as_editors_and_other_systems_leave_them(manifest):
    text = (
        b"\xef\xbb\xbf\r\n path , label ,id\r\n\r\n"
        b'"a, b.jpg", cat ,5\r\n'
        b"  \r\n"
        b'c.jpg ,  "the ""big"" one" ,  6  \r\n'
        b" d e.jpg\t,cat,7\r\n\r\n\r\n"
    )
    dataset = load_manifest(manifest(text))
    names = dataset.train.images.names.tolist()
    assert names == [b"a, b.jpg", b"c.jpg", b"d e.jpg"]
    assert dataset.class_names == ("cat", 'the "big" one')
    assert dataset.train.labels.tolist() == [0, 1, 0]
    assert dataset.train.ids.tolist() == [5, 6, 7]
    # Rows are numbered without the blank lines; the last one may have no end.
    dataset = load_manifest(manifest("path,label\n\na.jpg,x\n\n\nb.jpg,y"))
    assert dataset.train.ids.tolist() == [0, 1]


def test_names_that_are_not_text(manifest, tmp_path):
    write(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg")), b"an image")
    dataset = load_manifest(manifest(b"path,label\ncaf\xe9.jpg,\xff\na.jpg,a\n"))
    assert dataset.train.images.read(0) == b"an image"
    assert dataset.class_names == ("a", "\\xff")


def test_where_paths_start(manifest, tmp_path):
    folder, others = tmp_path / "images", tmp_path / "others"
    folder.mkdir()
    others.mkdir()
    write(tmp_path / "a.jpg", "beside the manifest")
    write(folder / "a.jpg", "in data_dir")
    write(others / "a.jpg", "beside the other manifest")
    train = manifest(f"path,label\na.jpg,x\n{others}/a.jpg,y\n")
    test = write(others / "test.csv", "path,label\na.jpg,x\n")
    beside = load_manifest(train, test_manifest=test)
    assert beside.train.images.read(0) == b"beside the manifest"
    assert beside.test.images.read(0) == b"beside the other manifest"
    inside = load_manifest(str(train), test_manifest=test, data_dir=str(folder))
    for images in (inside.train.images, inside.test.images):
        assert images.read(0) == b"in data_dir"
    # An absolute path is what it is.
    assert inside.train.images.read(1) == b"beside the other manifest"


def test_test_examples(manifest, tmp_path):
    train = manifest("path,label,id\na.jpg,dog,100\nb.jpg,cat,200\nc.jpg,eel,300\n")
    # A class less, other ids, and no order of columns; ids of one set mean nothing in
    # the other.
    text = "id,label,path\n100,eel,t.jpg\n7,cat,u.jpg\n"
    dataset = load_manifest(train, test_manifest=write(tmp_path / "test.csv", text))
    assert dataset.num_examples == 301
    assert dataset.class_names == ("cat", "dog", "eel")
    assert dataset.test.labels.tolist() == [2, 0]
    assert dataset.test.ids.tolist() == [100, 7]
    assert dataset.test.clean_labels is None
    assert dataset.test.images.names.tolist() == [b"t.jpg", b"u.jpg"]


def test_test_examples_are_measured_by_true_labels(manifest, tmp_path):
    train = manifest("path,label\na.jpg,0\nb.jpg,1\n")
    text = "path,label,clean_label\nt.jpg,0,1\nu.jpg,0,0\n"
    dataset = load_manifest(train, test_manifest=write(tmp_path / "test.csv", text))
    assert dataset.test.labels.tolist() == [1, 0]
    assert dataset.test.clean_labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    "columns",
    [
        {"label": ["dog", "cat", "dog"], "clean_label": ["dog", "dog", "ape"]},
        {"label": pd.Categorical(["dog", "cat", "dog"]), "id": [5, 3, 9]},
        {"label": np.array([4, 0, 1], np.uint8), "id": np.array([2, 1, 0], np.int32)},
        {"label": [b"dog", b"\xff", b"dog"]},
    ],
)
def test_parquet_is_read_as_csv_is(columns, tmp_path):
    table = pd.DataFrame({"path": ["a.jpg", "b, c.jpg", "d.jpg"], **columns})
    parquet = tmp_path / "table.PARQUET"
    table.to_parquet(parquet)
    csv = tmp_path / "table.csv"
    as_text = table.copy()
    for column in as_text:
        if isinstance(as_text[column][0], bytes):
            as_text[column] = [v.decode("latin-1") for v in as_text[column]]
    as_text.to_csv(csv, index=False, encoding="latin-1")
    one, other = load_manifest(parquet), load_manifest(csv)
    assert one.class_names == other.class_names
    assert one.num_examples == other.num_examples
    assert one.train.images.names.tolist() == other.train.images.names.tolist()
    for array in ("ids", "labels", "clean_labels"):
        np.testing.assert_array_equal(
            getattr(one.train, array), getattr(other.train, array)
        )


def test_blocks_of_rows(manifest, tmp_path):
    """More rows than are Python objects at the same time, in both formats."""
    size = 5000
    table = pd.DataFrame(
        {
            "path": [f"{'x' * (i % 40)}{i}.jpg" for i in range(size)],
            "label": [f"class {i % 7}" for i in range(size)],
            "id": [3 * i for i in range(size)],
        }
    )
    table.to_csv(tmp_path / "t.csv", index=False)
    table.to_parquet(tmp_path / "t.parquet", row_group_size=1500)
    for name in ("t.csv", "t.parquet"):
        dataset = load_manifest(tmp_path / name)
        assert dataset.num_examples == 3 * 4999 + 1
        np.testing.assert_array_equal(dataset.train.ids, 3 * np.arange(size))
        np.testing.assert_array_equal(dataset.train.labels, np.arange(size) % 7)
        names = [path.encode() for path in table["path"]]
        assert dataset.train.images.names.tolist() == names
    # Places are counted through the blocks: line 1 has the columns' names.
    table.loc[4000, "label"] = None
    table.to_csv(tmp_path / "t.csv", index=False)
    table.to_parquet(tmp_path / "t.parquet", row_group_size=1500)
    with pytest.raises(ValueError, match=r"an empty label: line 4002$"):
        load_manifest(tmp_path / "t.csv")
    with pytest.raises(ValueError, match=r"an empty label: row 4000$"):
        load_manifest(tmp_path / "t.parquet")


def test_other_columns(manifest, caplog):
    load_manifest(manifest("path,width,label,Id\na.jpg,4,x,9\nb.jpg,4,y,8\n"))
    text = "left out the columns 'width', 'Id'; known are path, label, clean_label, id"
    assert text in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "file,label\na.jpg,x\n",
            r"has no column 'path'\. Columns found: 'file', 'label'\. Rename 'file' to "
            r"'path'\.$",
        ),
        (
            "Image Path,Class\na.jpg,x\n",
            r"no column 'path' and no column 'label'\. Columns found: 'Image Path', "
            r"'Class'\. Rename 'Image Path' to 'path'\. Rename 'Class' to 'label'\.$",
        ),
        (
            "a.jpg,dog\nb.jpg,cat\n",
            r"Columns found: 'a.jpg', 'dog'\. The first line must name them",
        ),
        ("path;label\na.jpg;x\n", "Columns found: 'path;label'.* between commas"),
        ("", r"Columns found: none\."),
        ("path,label,label\na.jpg,x,y\n", "the column 'label' more than once"),
        ("path,label\n\n", r"has no rows\. It must have one for each image"),
    ],
)
def test_tables_of_another_kind(text, message, manifest):
    with pytest.raises(ValueError, match=message):
        load_manifest(manifest(text))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        # The first row is line 2.
        ([",x,1", "b,x,2", " ,x,3"], "an empty path: lines 2, 4$"),
        (["a,,1", '"b"," ",2', "c,x,3"], "an empty label: lines 2, 3$"),
        (
            ["a,x,1", "", "b,x,1", "c,x,1"],
            "an id that a row above has, too: lines 4, 5$",
        ),
        (
            [
                "a,x,-1",
                "b,x,1.0",
                "c,x,",
                "d,x,one",
                "e,x,2147483648",
                "f,x,1_0",
                "g,x,9",
            ],
            "an id that is not an integer from 0 to 2147483647: "
            "lines 2, 4, 5, 6, 7$",  # 1.0 is 1, as of labels
        ),
        (["a,x,9999999999999999999999"], "an id that is not an integer.*: line 2$"),
        (["a,x,1", "b,x", "c,x,3,4"], r"not 3 values \(.* quotes\): lines 3, 4$"),
        # A quote that is closed two lines below, and one that never is.
        (
            ['a,"x,1', "b,x,2", 'c",x,3', "d,,4"],
            "a line break inside quotes, .*: line 2\n  an empty label: line 5$",
        ),
        (["a,x,1", 'b,"x,2', "c,x,3"], "a line break inside quotes, .*: line 3$"),
        # All that is wrong, at once.
        ([",x,1", "b,,1"], "path: line 2\n.*label: line 3\n.*above has, too: line 3$"),
    ],
)
def test_rows_that_cannot_be_used(rows, message, manifest):
    path = manifest("\n".join(["path,label,id", *rows]))
    with pytest.raises(ValueError, match=message) as error:
        load_manifest(path)
    assert str(error.value).startswith(f"{path} cannot be used. Mend or remove:\n")


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (
            "dog cat",
            "dog dgo",
            r"not a class of the training manifest \('cat', 'dog'\), such as 'dgo': "
            "line 3$",
        ),
        ("dog cat", "0 1", r"\('cat', 'dog'\), such as '0': lines 2, 3$"),
        ("0 1", "1 2", r"from 0 to 1 \(num_classes=2\), such as '2': line 3$"),
        ("0 1", "cat dog", r"from 0 to 1 .*, such as 'cat': lines 2, 3$"),
    ],
)
def test_test_labels_of_other_classes(train, test, message, manifest, tmp_path):
    texts = [
        "path,label\n" + "".join(f"a.jpg,{label}\n" for label in labels.split())
        for labels in (train, test)
    ]
    test_manifest = write(tmp_path / "test.csv", texts[1])
    with pytest.raises(ValueError, match=message) as error:
        load_manifest(manifest(texts[0]), test_manifest=test_manifest)
    assert str(error.value).startswith(f"{test_manifest} cannot be used")


@pytest.mark.parametrize(("label", "name"), [("cat", "cat"), ("0", "0")])
def test_one_class_is_named(label, name, manifest):
    path = manifest(f"path,label\na.jpg,{label}\nb.jpg,{label}\n")
    with pytest.raises(ValueError, match=f"^{path} has one class, '{name}', where a c"):
        load_manifest(path)


def test_numbers_out_of_range(manifest):
    path = manifest("path,label\na.jpg,0\n")
    with pytest.raises(ValueError, match=r"must be from 1 .* num_classes=0\."):
        load_manifest(path, num_classes=0)
    with pytest.raises(ValueError, match="image_size=300, resize=256"):
        load_manifest(path, image_size=300)


def test_an_overlong_value(manifest):
    # An open quote whose end would be too far away for a value.
    text = 'path,label\na.jpg,x\n"b.jpg,x\n' + "c.jpg,x\n" * 20_000
    message = "cannot be read as CSV from line 3 on: .*Is a quote left open there"
    with pytest.raises(ValueError, match=message):
        load_manifest(manifest(text))


def test_what_is_not_there(manifest, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"no manifest {tmp_path}/none.csv"):
        load_manifest(tmp_path / "none.csv")
    path = manifest("path,label\na.jpg,0\n")
    with pytest.raises(FileNotFoundError, match=f"no manifest {tmp_path}/none.csv"):
        load_manifest(path, test_manifest=tmp_path / "none.csv")
    with pytest.raises(FileNotFoundError, match=f"no folder {tmp_path}/none.*data_dir"):
        load_manifest(path, data_dir=tmp_path / "none")


def test_parquet_that_cannot_be_used(tmp_path):
    path = write(tmp_path / "t.parquet", "path,label\na.jpg,0\n")
    with pytest.raises(ValueError, match=r"cannot be read as Parquet.* a CSV file\.$"):
        load_manifest(path)
    table = pa.table({"path": ["a", "", None], "label": [0.0, float("nan"), None]})
    pq.write_table(table, path)
    message = "an empty path: rows 1, 2\n  an empty label: rows 1, 2$"
    with pytest.raises(ValueError, match=message):
        load_manifest(path)
    pq.write_table(pa.table({"filename": ["a"], "label": [0]}), path)
    with pytest.raises(ValueError, match="Rename 'filename' to 'path'"):
        load_manifest(path)


def test_without_pyarrow(monkeypatch, tmp_path):
    pq.write_table(pa.table({"path": ["a"], "label": [0]}), tmp_path / "t.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install pyarrow, or .* CSV\."):
        load_manifest(tmp_path / "t.parquet")
