"""Manifests of strangers: more rows, bytes or signs than a table of images has."""

import os
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from limited import run_limited

from sop_keras.data.datasets.manifest import load_manifest
from sop_keras.data.datasets.manifest_limits import ManifestLimits
from sop_keras.data.datasets.manifest_table import read_table
from sop_keras.files.untrusted import FileTooLargeError, NotRegularFileError

HEADER = b"path,label\na.jpg,cat\nb.jpg,dog\n"


def parquet(path, columns, **options):
    pq.write_table(pa.table(columns), path, **options)
    return path


def in_dictionary(text, count):
    """A column of one text, again and again."""
    return pa.DictionaryArray.from_arrays(np.zeros(count, np.int32), [text])


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_refused_at_once(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(NotRegularFileError, match=rf"{name}: a pipe, where a regular"):
        load_manifest(tmp_path / name)


# A NUL in a path


@pytest.mark.parametrize("num_rows", [3, 5000])
def test_a_nul_in_a_path_is_refused_by_line(tmp_path, num_rows):
    path = tmp_path / "m.csv"
    rows = [b"x%d.jpg,cat\n" % i for i in range(num_rows)]
    rows[1], rows[-1] = b"a\0b.jpg,cat\n", b"c.jpg\0,dog\n"
    path.write_bytes(HEADER + b"".join(rows))
    # After the header and two rows, line 4 is row 0.
    with pytest.raises(
        ValueError, match=f"a NUL character in the path: lines 5, {num_rows + 3}"
    ):
        load_manifest(path)


def test_a_nul_in_a_path_of_parquet_is_refused_by_row(tmp_path):
    columns = {"path": ["a", "b\0", "\0"], "label": [0, 1, 0]}
    path = parquet(tmp_path / "m.parquet", columns)
    with pytest.raises(ValueError, match="a NUL character in the path: rows 1, 2"):
        load_manifest(path)


# Lengths


def test_the_longest_path(tmp_path):
    path = tmp_path / "m.csv"
    path.write_bytes(HEADER + b"x" * 4096 + b",cat\n")
    assert load_manifest(path).train.images.names.itemsize == 4096
    path.write_bytes(HEADER + b"x" * 4097 + b",cat\n" + b"c.jpg," + b"y" * 4097)
    with pytest.raises(ValueError, match=r"(?s)path of more than 4,096 bytes: line 4"):
        load_manifest(path)
    with pytest.raises(ValueError, match=r"label of more than 4,096 char.*: line 5"):
        load_manifest(path)


def test_a_line_without_an_end(tmp_path):
    path = tmp_path / "m.csv"
    path.write_bytes(HEADER + b"x" * 2**21)
    with pytest.raises(ValueError, match=r"Line 4 of .*m\.csv has 1,048,576 char"):
        load_manifest(path)


@pytest.mark.parametrize("num_long", [1, 60_000])
def test_a_long_path_of_parquet(tmp_path, num_long):
    # 300 MB in all; the first is in a dictionary once, and of a size that many have.
    paths = pa.concat_arrays(
        [
            in_dictionary("y" * 5000, num_long).cast(pa.string()),
            pa.array([f"{i}.jpg" for i in range(60_000)]),
        ]
    )
    path = parquet(tmp_path / "m.parquet", {"path": paths, "label": [1] * len(paths)})
    with pytest.raises(ValueError, match=r"has a path of 5,000 bytes in a row from 0"):
        load_manifest(path)


def test_values_of_a_fixed_length(tmp_path):
    values = pa.array([b"x" * 5000] * 2, pa.binary(5000))
    path = parquet(tmp_path / "m.parquet", {"path": values, "label": ["a", "b"]})
    with pytest.raises(ValueError, match=r"values of its column 'path' have 5,000"):
        load_manifest(path)
    values = pa.array([b"a.jpg", b"b.jpg"], pa.binary(5))
    path = parquet(tmp_path / "m.parquet", {"path": values, "label": ["a", "b"]})
    assert load_manifest(path).train.images.names.tolist() == [b"a.jpg", b"b.jpg"]


def test_values_in_values(tmp_path):
    columns = {"path": [["a"], ["b"]], "label": [0, 1]}
    path = parquet(tmp_path / "m.parquet", columns)
    with pytest.raises(ValueError, match=r"'path' has values in values \(path\.list"):
        load_manifest(path)


def test_lengths_that_no_footer_tells(tmp_path):
    path = parquet(
        tmp_path / "m.parquet",
        {"path": ["a", "b"], "label": ["a", "b"]},
        use_dictionary=False,
        column_encoding={"path": "DELTA_BYTE_ARRAY", "label": "PLAIN"},
    )
    with pytest.raises(ValueError, match="'path' is encoded as DELTA_BYTE_ARRAY"):
        load_manifest(path)


# Rows and bytes

READ = """
from sop_keras.data.datasets.manifest import load_manifest
try:
    load_manifest(sys.argv[1])
except ValueError as error:
    print(error)
"""
IMPORTS = "import sop_keras.data.datasets.manifest, pyarrow.parquet, pyarrow.compute"


def test_two_paths_of_60_mb_in_a_few_kilobytes(tmp_path):
    columns = {"path": ["x" * 60_000_000, "y" * 60_000_000], "label": [0, 1]}
    path = parquet(tmp_path / "m.parquet", columns, compression="zstd")
    assert path.stat().st_size < 100_000
    # One of them alone would need more than there is.
    (said,) = run_limited(IMPORTS, READ, path, more=50_000_000)
    assert "its column 'path' has 120,0" in said
    assert "in 2 rows. A value may have 4,096 bytes." in said


def test_more_rows_than_are_read(tmp_path):
    # 10,000,001 rows in 100 KB.
    columns = {name: in_dictionary("1", 10_000_001) for name in ("path", "label")}
    path = parquet(tmp_path / "m.parquet", columns)
    assert path.stat().st_size < 100_000
    start = time.process_time()
    with pytest.raises(
        ValueError,
        match=r"has 10,000,001 rows or more, where at most 10,000,000 .* Raise that "
        r"limit with --max_manifest_rows \(max_manifest_rows of load_manifest\)\.",
    ):
        load_manifest(path)
    assert time.process_time() - start < 5


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_the_limit_of_rows_is_an_argument(tmp_path, name):
    path = tmp_path / name
    if name == "m.csv":
        path.write_bytes(HEADER)
    else:
        parquet(path, {"path": ["a.jpg", "b.jpg"], "label": ["cat", "dog"]})
    assert len(load_manifest(path, max_manifest_rows=2).train) == 2
    for options in ({}, {"test_manifest": path}):
        with pytest.raises(ValueError, match="2 rows or more, where at most 1 are"):
            load_manifest(path, max_manifest_rows=1, **options)


def test_the_limit_of_bytes_is_an_argument(tmp_path):
    path = tmp_path / "m.csv"
    path.write_bytes(HEADER)
    assert load_manifest(path, max_manifest_bytes=len(HEADER))
    with pytest.raises(FileTooLargeError, match=r"30 are read.*--max_manifest_bytes"):
        load_manifest(path, max_manifest_bytes=len(HEADER) - 1)


def test_unpacked_columns_are_in_the_limit_of_bytes(tmp_path):
    # 200,000 paths of 11 letters and 4 bytes of length: 3 MB, packed far below 1 MB.
    paths = [f"{i:07}.jpg" for i in range(200_000)]
    path = parquet(
        tmp_path / "m.parquet",
        {"path": paths, "label": ["a", "b"] * 100_000},
        compression="zstd",
        use_dictionary=False,
    )
    with pytest.raises(ValueError, match=r"the columns path, label take 4,\d+,\d+ "):
        read_table(path, ManifestLimits(num_bytes=2_500_000))


def test_paths_in_memory_are_in_the_limit_of_bytes(tmp_path):
    path = tmp_path / "m.csv"
    rows = b"".join(b"%04d.jpg,cat\n" % i for i in range(3000))
    path.write_bytes(HEADER + b"x" * 4000 + b",cat\n" + rows)
    # A block has 1,024 rows.
    text = r"1,024 paths, the longest of 4000 bytes, take 4,096,000 bytes or more"
    with pytest.raises(ValueError, match=text):
        read_table(path, ManifestLimits(num_bytes=1_000_000))
    assert len(read_table(path, ManifestLimits(num_bytes=3003 * 4000)).names) == 3003
