import sys
from pathlib import Path

import numpy as np
import pytest

from sop_keras.features.array_files import map_npy
from sop_keras.files import mapped
from sop_keras.files.mapped import let_go, take_rows

NUM_BYTES = 32 * 2**20


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "ones.npy"
    np.save(path, np.ones((8, NUM_BYTES // 64), np.float64))
    return path


def bytes_of_files():
    """How much of all files that are mapped is in this process' memory."""
    (line,) = (
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("RssFile:")
    )
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("opened", [map_npy, lambda one: np.load(one, mmap_mode="r")])
def test_what_was_read_goes_and_comes_again(path, opened):
    array = opened(path)
    view = array[::-1][:4]
    before = bytes_of_files()
    assert array.sum() == NUM_BYTES / 8
    assert bytes_of_files() - before > 0.9 * NUM_BYTES
    let_go(view)
    assert bytes_of_files() - before < 0.1 * NUM_BYTES
    assert array.sum() == NUM_BYTES / 8


@pytest.mark.parametrize("piece_bytes", [1, 24, 10**9])
def test_rows_in_pieces(tmp_path, monkeypatch, piece_bytes):
    # Rows of 12 bytes: one, two or all at a time.
    monkeypatch.setattr(mapped, "_PIECE_BYTES", piece_bytes)
    array = np.arange(15, dtype=np.float32).reshape(5, 3)
    np.save(tmp_path / "rows.npy", array)
    rows = np.array([4, 0, 0, 3, -1])
    for one in (array, map_npy(tmp_path / "rows.npy")):
        taken = take_rows(one, rows)
        assert taken.dtype == np.float32
        assert taken.tolist() == array[[4, 0, 0, 3, 4]].tolist()
        assert take_rows(one, rows[:0]).shape == (0, 3)
    with pytest.raises(IndexError):
        take_rows(array, np.array([0, 1, 5]))


@pytest.mark.parametrize("mode", ["c", "r+"])
def test_what_was_written_stays(path, mode):
    array = np.load(path, mmap_mode=mode)
    array[3] = 7
    let_go(array)
    assert (array[3] == 7).all()


def test_arrays_in_memory_stay():
    array = np.arange(6)
    let_go(array)
    let_go(array.reshape(2, 3).T)
    let_go(np.frombuffer(b"123"[:2], np.uint8))
    assert array.tolist() == [0, 1, 2, 3, 4, 5]
