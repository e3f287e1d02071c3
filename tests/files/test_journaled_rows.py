"""Rows that go back to how they were, whatever stopped in between."""

import os
import shutil

import numpy as np
import pytest
from unreliable_disk import Stopped, UnreliableDisk

from sop_keras.files import journaled_rows, row_file
from sop_keras.files.atomic import OutputError
from sop_keras.files.journaled_rows import JournaledRows
from sop_keras.files.row_journal import RowJournal, RowsFileError

N, C = 40, 3
MARKS = [f"{number:016x}" for number in range(1000)]


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(journaled_rows, "_FEW", 6)
    monkeypatch.setattr(journaled_rows, "_MOST_FRESH_ROWS", 5)
    monkeypatch.setattr(row_file, "_BYTES_AT_ONCE", 4 * C * 4)


def everything(rows):
    return rows.read(np.arange(N))


def written(rows, value):
    rows.write(np.arange(N), np.full((N, C), value, np.float32))


def test_rows_are_what_was_written_last(tmp_path, small_pieces):
    rows = JournaledRows(tmp_path / "v", N, C, fill=-1.0)
    expected = np.full((N, C), -1.0, np.float32)
    rng = np.random.default_rng(0)
    for turn in range(30):
        if turn == 10:  # with a journal from now on
            rows.mark(MARKS[0])
        ids = rng.choice(N, rng.integers(1, 12), replace=False)
        values = rng.normal(size=(len(ids), C)).astype(np.float32)
        rows.write(ids, values)
        expected[ids] = values
        some = rng.integers(0, N, 8)
        np.testing.assert_array_equal(rows.read(some), expected[some])
    np.testing.assert_array_equal(everything(rows), expected)


def test_equal_ids_bring_equal_rows(tmp_path):
    rows = JournaledRows(tmp_path / "v", N, C)
    ids, values = np.array([4, 2, 4]), np.float32([[1] * C, [2] * C, [1] * C])
    rows.write(ids, values)
    np.testing.assert_array_equal(rows.read(ids), values)


def restored(path, mark):
    rows = JournaledRows(path, N, C)
    rows.check(mark)
    rows.restore(mark)
    return everything(rows)


def test_two_marks_can_be_gone_back_to_and_no_others(tmp_path, small_pieces):
    rows = JournaledRows(tmp_path / "v", N, C)
    for number in range(4):
        written(rows, number)
        rows.mark(MARKS[number])
        rows.keep(MARKS[max(0, number - 1) : number + 1])
    written(rows, 9)
    assert len(list(tmp_path.iterdir())) == 3  # the rows, and two journals
    del rows
    for number in (3, 2):
        assert (restored(tmp_path / "v", MARKS[number]) == number).all()
    for number in (3, 1):
        with pytest.raises(RowsFileError, match="cannot go back to it"):
            restored(tmp_path / "v", MARKS[number])


def test_a_journal_is_as_long_as_what_changed(tmp_path):
    rows = JournaledRows(tmp_path / "v", N, C)
    rows.mark(MARKS[0])
    rows.write(np.array([3, 5]), np.ones((2, C)))
    rows.write(np.array([5, 7]), np.ones((2, C)))
    rows.mark(MARKS[1])
    # A head of 20 bytes; a number and C values for each of three rows.
    size = (tmp_path / f"v.undo-{MARKS[0]}").stat().st_size
    assert size == 20 + 3 * (8 + 4 * C)


@pytest.mark.parametrize("loses", [False, True], ids=["process", "machine"])
@pytest.mark.parametrize("seed", range(4))
def test_whatever_stops_whenever(tmp_path, monkeypatch, small_pieces, seed, loses):
    """Random work, stopped in its first, second, ... operation on the disk."""
    path = tmp_path / "folder" / "v"
    disk = UnreliableDisk(monkeypatch, seed, loses)
    rng = np.random.default_rng(seed)
    declared = []  # marks that somebody knows of, with the rows that there were
    marks = iter(MARKS)
    num_restored = 0
    for count in range(100):
        try:
            if not declared:
                shutil.rmtree(path.parent, ignore_errors=True)
                path.parent.mkdir()
            rows = JournaledRows(path, N, C)
            expected = np.zeros((N, C), np.float32)
            is_armed = rng.integers(0, 2)  # to stop while it goes back, too
            if is_armed:
                disk.stop_after(rng.integers(0, 30))
            # To the last one; to the one before it, at once or as the last is damaged.
            first = rng.integers(0, max(1, len(declared)))
            stop = rng.integers(first, len(declared)) + 1 if declared else 0
            for mark, content in reversed(declared[first:stop]):
                del declared[[one for one, _ in declared].index(mark) + 1 :]
                rows.check(mark)
                rows.restore(mark)
                np.testing.assert_array_equal(everything(rows), content)
                expected = content.copy()
                num_restored += 1
            if not is_armed:
                disk.stop_after(count // 2)
            while True:
                for _ in range(rng.integers(1, 6)):
                    ids = rng.choice(N, rng.integers(1, 12), replace=False)
                    values = rng.normal(size=(len(ids), C)).astype(np.float32)
                    rows.write(ids, values)
                    expected[ids] = values
                mark = next(marks)
                rows.mark(mark)
                declared = [*declared[-1:], (mark, expected.copy())]
                rows.keep([one for one, _ in declared])
        except Stopped:
            continue
    assert num_restored > 50


@pytest.mark.parametrize("loses", [False, True], ids=["process", "machine"])
@pytest.mark.parametrize("seed", range(3))
def test_going_back_may_stop_anywhere(tmp_path, monkeypatch, small_pieces, seed, loses):
    path = tmp_path / "v"
    disk = UnreliableDisk(monkeypatch, seed, loses)
    for count in range(200):
        rows = JournaledRows(path, N, C)
        rows.start_anew()
        written(rows, 0)
        for number, step in enumerate((3, 2)):  # other rows after each mark
            rows.mark(MARKS[number])
            rows.write(np.arange(0, N, step), np.full((N, C), 9)[::step])
        rows.flush()
        disk.stop_after(count)
        try:
            rows.restore(MARKS[0])
        except Stopped:
            assert not restored(path, MARKS[0]).any()
        else:
            break
    assert 20 < count < 199
    assert not everything(rows).any()


def test_a_file_with_marks_has_no_rows_before_one_is_restored(tmp_path):
    written(rows := JournaledRows(tmp_path / "v", N, C), 1)
    rows.mark(MARKS[0])
    again = JournaledRows(tmp_path / "v", N, C)
    assert not again.is_settled
    for access in (everything, lambda rows: written(rows, 2)):
        with pytest.raises(RowsFileError, match="none of these was restored"):
            access(again)
    again.start_anew()
    written(again, 3)
    assert (everything(again) == 3).all()
    assert os.listdir(tmp_path) == ["v"]


def test_a_file_without_marks_is_replaced(tmp_path):
    written(old := JournaledRows(tmp_path / "v", N, C), 1)
    new = JournaledRows(tmp_path / "v", N + 1, C)
    assert not everything(new).any()
    assert (everything(old) == 1).all()  # whoever has it keeps it


def cut(path):
    os.truncate(path, path.stat().st_size - 1)


def foreign(path, num_rows=N):
    (path.parent / "other").mkdir()
    other = path.parent / "other" / "v"
    JournaledRows(other, num_rows, C).mark(MARKS[7])
    other.replace(path)


def of_other_rows(path):
    foreign(path, N + 1)


def other_file(path):
    path.write_text("1,2,3\n", "utf-8")


def journal(path, number):
    return path.with_name(f"v.undo-{MARKS[number]}")


def flipped(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "bytes, and must have .*: it was cut"),
        (os.unlink, "v is missing, though its journals are there"),
        (foreign, "cannot go back to it: they are those of another run"),
        (of_other_rows, "41 rows of 3 numbers, the model 40 rows of 3"),
        (other_file, "no file of a table's rows"),
        (lambda path: journal(path, 1).unlink(), "undo-.*1 is missing"),
        (lambda path: cut(journal(path, 1)), "undo-.*1 was cut"),
        (lambda path: flipped(journal(path, 1)), "undo-.*1 is damaged"),
    ],
    ids=["cut", "gone", "foreign", "shape", "other", "lost", "short", "flipped"],
)
def test_what_is_not_as_it_was_is_said(tmp_path, damage, message):
    path = tmp_path / "v"
    rows = JournaledRows(path, N, C)
    for number in range(2):
        rows.mark(MARKS[number])
        written(rows, number)
    rows.flush()
    damage(path)
    with pytest.raises(RowsFileError, match=message):
        restored(path, MARKS[1])


def test_a_journal_of_other_rows_writes_none(tmp_path):
    JournaledRows(tmp_path / "v", N, C).mark(MARKS[0])
    RowJournal(journal(tmp_path / "v", 0)).append(
        np.array([2**40]), np.ones((1, C), np.float32)
    )
    size = (tmp_path / "v").stat().st_size
    with pytest.raises(RowsFileError, match=r"is damaged: it has rows of no example"):
        restored(tmp_path / "v", MARKS[0])
    assert (tmp_path / "v").stat().st_size == size


def test_all_that_was_there_is_gone(tmp_path):
    with pytest.raises(RowsFileError, match=r"rows that were in .*v are missing"):
        restored(tmp_path / "v", MARKS[1])


def test_links_are_not_followed(tmp_path):
    written(rows := JournaledRows(tmp_path / "v", N, C), 1)
    rows.mark(MARKS[0])
    (tmp_path / "v").rename(tmp_path / "other")
    (tmp_path / "v").symlink_to("other")
    with pytest.raises(OutputError, match="it is a link"):
        JournaledRows(tmp_path / "v", N, C)


def fill_and_flush(rows):
    written(rows, 3)
    rows.flush()


def test_a_full_disk_leaves_what_was_marked(tmp_path, monkeypatch):
    written(rows := JournaledRows(tmp_path / "v", N, C), 1)
    rows.mark(MARKS[0])
    written(rows, 2)
    rows.flush()
    pwrite = os.pwrite

    def full(descriptor, data, place):
        if "undo" in os.readlink(f"/proc/self/fd/{descriptor}"):
            if len(data) > 100:
                return pwrite(descriptor, data[:100], place)
            raise OSError(28, os.strerror(28))
        return pwrite(descriptor, data, place)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OutputError, match=r"undo-0+ could not be .* No space left"):
        fill_and_flush(rows)
    monkeypatch.undo()
    assert (rows.read([3, 5]) == 3).all()  # what waits in memory
    rows.flush()  # once there is room
    assert (everything(rows) == 3).all()
    assert (restored(tmp_path / "v", MARKS[0]) == 1).all()


def test_no_room_for_the_rows(tmp_path, monkeypatch):
    def full(descriptor, start, size):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(row_file.os, "posix_fallocate", full)
    with pytest.raises(OutputError, match="v could not be written: No space left"):
        JournaledRows(tmp_path / "v", N, C)
    assert os.listdir(tmp_path) == []


def test_further_rows(tmp_path):
    written(rows := JournaledRows(tmp_path / "v", N, C), 1)
    rows.mark(MARKS[0])
    rows.enlarge(N + 2, fill=-1.0)
    assert rows.shape == (N + 2, C)
    assert (everything(rows) == 1).all()
    assert (rows.read([N, N + 1]) == -1).all()
    assert os.listdir(tmp_path) == ["v"]


@pytest.mark.parametrize("what", ["posix_fallocate", "pwrite"])
def test_no_room_for_further_rows(tmp_path, monkeypatch, what):
    written(rows := JournaledRows(tmp_path / "v", N, C), 1)
    rows.mark(MARKS[0])
    fill_and_flush(rows)
    size, was = os.path.getsize(tmp_path / "v"), getattr(os, what)

    def full(descriptor, *arguments):
        # Of a file system that cannot make room before: where new rows are written.
        if what == "pwrite" and arguments[1] < size:
            return was(descriptor, *arguments)
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr(os, what, full)
        with pytest.raises(OutputError, match="v could not be written: No space left"):
            rows.enlarge(N + 2, fill=-1.0)
    assert os.path.getsize(tmp_path / "v") == size
    assert rows.shape == (N, C)
    assert (everything(rows) == 3).all()
    rows.write([0], np.full((1, C), 7.0))
    rows.flush()
    rows.restore(MARKS[0])
    assert (everything(rows) == 1).all()
    rows.enlarge(N + 2, fill=-1.0)
    assert (rows.read([N - 1, N, N + 1])[:, 0] == [1, -1, -1]).all()


def test_a_file_that_is_cut_while_it_is_in_use(tmp_path):
    rows = JournaledRows(tmp_path / "v", N, C)
    cut(tmp_path / "v")
    with pytest.raises(RowsFileError, match="was cut while it was in use"):
        everything(rows)


@pytest.mark.parametrize("size", [1, 2**40], ids=["ahead", "not"])
def test_rows_in_any_order_and_twice(tmp_path, monkeypatch, size):
    monkeypatch.setattr(row_file, "_READ_AHEAD_FROM_BYTES", size)
    rows = JournaledRows(tmp_path / "v", N, C)
    values = np.arange(N * C, dtype=np.float32).reshape(N, C)
    rows.write(np.arange(N)[::-1], values[::-1])
    ids = np.array([3, 4, 5, 5, 6, 2, 1, 0, N - 1])
    np.testing.assert_array_equal(rows.read(ids), values[ids])
    assert rows.read(np.array([], np.int64)).shape == (0, C)


@pytest.mark.parametrize("ids", [[-1], [N]])
def test_ids_of_no_row(tmp_path, ids):
    rows = JournaledRows(tmp_path / "v", N, C)
    for access in (rows.read, lambda ids: rows.write(ids, np.zeros((1, C)))):
        with pytest.raises(IndexError, match=f"rows 0 to {N - 1}"):
            access(ids)


def test_numbers_that_are_not_finite_are_known(tmp_path):
    rows = JournaledRows(tmp_path / "v", N, C)
    rows.mark(MARKS[0])
    assert rows.is_finite
    rows.write([3], np.full((1, C), np.nan))
    written(rows, 1)
    assert not rows.is_finite
    rows.restore(MARKS[0])
    assert rows.is_finite
