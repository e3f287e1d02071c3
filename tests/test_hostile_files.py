"""Files of strangers that hang, have no end or are too large, wherever one is read."""

import os
from pathlib import Path

import evaluation_files
import flagfiles
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sop_keras.backbones.pretrained import load_weights_file
from sop_keras.data.datasets.cifar_n import CIFAR10N
from sop_keras.data.datasets.file_lists import read_names
from sop_keras.data.datasets.human_labels import load_human_labels
from sop_keras.data.images.bad_images import BadImages
from sop_keras.files.text_encoding import check_not_utf16
from sop_keras.files.untrusted import FileTooLargeError, NotRegularFileError
from sop_keras.label_issues import export
from sop_keras.label_issues.export import read_label_issues
from sop_keras.label_issues.find import COLUMNS


def human_labels(path):
    return load_human_labels(CIFAR10N, human_labels=path)


READERS = {
    "a.npz": human_labels,
    "a.pt": human_labels,
    "list.txt": read_names,
    "bad_images.csv": BadImages,
    "bad.csv": lambda path: evaluation_files.forget(path, ["test"]),
    "label_issues.csv": read_label_issues,
    "label_issues.json": read_label_issues,
    "label_issues.parquet": read_label_issues,
    "my.flags": flagfiles.read,
    "found.flags": lambda path: flagfiles.resolve([f"--flagfile={path}"]),
    "text.csv": check_not_utf16,
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("name", READERS)
def test_a_pipe_is_refused_at_once(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(NotRegularFileError, match="a pipe, where a regular file must"):
        READERS[name](tmp_path / name)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero here")
@pytest.mark.parametrize("name", READERS)
def test_a_link_to_a_device_is_refused(tmp_path, name):
    (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(NotRegularFileError, match="a device, where a regular file"):
        READERS[name](tmp_path / name)


@pytest.mark.parametrize("name", sorted({*READERS} - {"text.csv"}))
def test_a_sparse_file_of_40_gb_is_refused(tmp_path, name):
    with (tmp_path / name).open("wb") as file:
        file.write(b"text, which is no UTF-16 " * 200)
        try:
            file.truncate(40 * 10**9)
        except OSError:
            pytest.skip("this file system has no sparse files so large")
    with pytest.raises(FileTooLargeError, match="40,000,000,000 bytes, where at most"):
        READERS[name](tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("name", ["w.h5", "w.weights.h5", "w.keras"])
def test_a_pipe_in_place_of_weights(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(ValueError, match="a pipe, where a regular file must be"):
        load_weights_file(None, None, tmp_path / name)


# Lists of bad images


@pytest.mark.parametrize("read", [BadImages, READERS["bad.csv"]])
def test_a_list_of_bad_images_that_is_none(tmp_path, read):
    path = tmp_path / "bad_images.csv"
    path.write_text("split,id\n\n" + "x" * 200_000)  # longer than a value of CSV
    with pytest.raises(ValueError, match="is no list of images: field larger than"):
        read(path)


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="links cannot be told here")
def test_bad_images_are_not_written_through_a_link(tmp_path):
    (tmp_path / "mine").write_text("split,id\n")
    (tmp_path / "bad_images.csv").symlink_to("mine")
    bad = BadImages(tmp_path / "bad_images.csv", 1.0)
    with pytest.raises(OSError, match="it is a link, and nothing is written"):
        bad.report("train", 1, "a.jpg", "empty file", 10)
    assert (tmp_path / "mine").read_text() == "split,id\n"


# Tables of label issues


def table_of(**changes):
    columns = {name: np.zeros(2) for name in COLUMNS}
    integers = ("id", "given_label", "suggested_label")
    columns |= {name: np.zeros(2, np.int64) for name in integers}
    columns["is_label_issue"] = np.zeros(2, bool)
    return pa.table({**columns, **changes})


def test_texts_in_place_of_numbers_are_not_read(tmp_path, monkeypatch):
    path = tmp_path / "label_issues.parquet"
    pq.write_table(table_of(), path)
    assert len(read_label_issues(path)) == 2
    monkeypatch.setattr(pq.ParquetFile, "read", None)
    pq.write_table(table_of(id=["x" * 10_000_000, "y"]), path)
    with pytest.raises(ValueError, match="its column 'id' is no column of numbers"):
        read_label_issues(path)
    pq.write_table(table_of(id=[[1], [2]]), path)
    with pytest.raises(ValueError, match="its column 'id' is no column of numbers"):
        read_label_issues(path)


def test_more_rows_than_are_read(tmp_path, monkeypatch):
    path = tmp_path / "label_issues.parquet"
    pq.write_table(table_of(), path)
    monkeypatch.setattr(export, "MAX_TABLE_ROWS", 1)
    with pytest.raises(ValueError, match="2 rows, more than 1"):
        read_label_issues(path)


def test_json_in_json(tmp_path):
    path = tmp_path / "label_issues.json"
    path.write_text("[" * 100_000)
    with pytest.raises(ValueError, match="cannot be read as a table of label issues"):
        read_label_issues(path)
