"""A file of rows of numbers, with a head: some rows are read and written at a time.

The file is not mapped into memory: in a mapping, a full disk or a file that somebody
cuts is the end of the process by a signal, and what was read of it counts as the
process' memory, 64 kB around each row. It is in the system's cache all the same.
"""

from __future__ import annotations

import errno
import json
import os
import re
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sop_keras.files.atomic import explained
from sop_keras.files.row_journal import MARK, RowsFileError
from sop_keras.files.untrusted import NO_LIMIT, open_untrusted

_HEAD_BYTES = 4096
_KIND = "sop_keras rows"
_FLAGS = os.O_RDWR
for _name in ("O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK"):
    _FLAGS |= getattr(os, _name, 0)

_BYTES_AT_ONCE = 2**24
# Smaller files are soon in memory anyway, and of many rows there is always one to wait
# for.
_READ_AHEAD_FROM_BYTES, _READ_AHEAD_RUNS = 2**26, 4096

# Of a file system that cannot make room before it is needed.
_CANNOT = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)

Marks = Sequence[tuple[str, int]]


class RowFile:
    """A file of float32 rows. Its head has their shape, and marks (`JournaledRows`).

    Args:
        path: the file. One without marks is replaced: its rows are nobody's.
        num_rows: at least 1.
        num_columns: at least 1.
        fill: the value of all numbers of new rows. Defaults to `0.0`.

    Attributes:
        path: as given.
        shape: `(num_rows, num_columns)`.
        marks: names, and how long the journal of each is; empty for a new file.

    Raises:
        RowsFileError: if the file has marks, but another shape or another length than
            it says; or is none of rows.
        OutputError: if it cannot be made, as on a full disk.
    """

    def __init__(self, path: Path, num_rows: int, num_columns: int, fill: float = 0.0):
        if not hasattr(os, "pwrite"):
            raise RowsFileError("A table on disk needs Linux or macOS.")
        self.path = path
        self.shape = (num_rows, num_columns)
        self.marks: Marks = self._read_head() if os.path.lexists(path) else ()
        self._row_bytes = 4 * num_columns
        # How many rows are dealt with at once, for their bytes in memory.
        self.rows_at_once = max(1, _BYTES_AT_ONCE // self._row_bytes)
        if self.marks:
            self._open(0)
        else:
            self._create(fill)

    def take(self, ids: np.ndarray) -> np.ndarray:
        """A copy of the rows at `ids`, `(n, num_columns)`.

        Args:
            ids: int64 in `[0, num_rows)`, shape `(n,)`.

        Raises:
            RowsFileError: if the file was cut meanwhile.
        """
        rows = np.empty((len(ids), self.shape[1]), np.float32)
        for first in range(0, len(ids), self.rows_at_once):
            piece = slice(first, first + self.rows_at_once)
            runs = self._runs(ids[piece])
            if self.shape[0] * self._row_bytes >= _READ_AHEAD_FROM_BYTES:
                self._read_ahead(runs[:_READ_AHEAD_RUNS])
            data = b"".join([os.pread(self._descriptor, n, at) for at, n in runs])
            if len(data) != rows[piece].nbytes:
                raise RowsFileError(f"{self.path} was cut while it was in use.")
            rows[piece] = np.frombuffer(data, np.float32).reshape(rows[piece].shape)
        return rows

    def put(self, ids: np.ndarray, rows: np.ndarray) -> None:
        """Write rows, those that follow each other at once.

        Args:
            ids: int64 in `[0, num_rows)`, shape `(n,)`; equal ones with equal rows.
            rows: float32, shape `(n, num_columns)`.

        Raises:
            OutputError: if they cannot be written.
        """
        order = np.argsort(ids, kind="stable")
        left = np.ascontiguousarray(rows[order]).data.cast("B") if len(ids) else b""
        with explained(self.path):
            for place, size in self._runs(ids[order]):
                self._write_at(place, left[:size])
                left = left[size:]

    def sync(self) -> None:
        """Have all that was written on disk before going on."""
        with explained(self.path):
            os.fsync(self._descriptor)

    def write_head(self, marks: Marks, wait: bool = True) -> None:
        """Write the head.

        It is shorter than what disks write in one piece: it is the old or the new.

        Args:
            marks: as the attribute.
            wait: whether to have it on disk before going on. Defaults to `True`.

        Raises:
            OutputError: if it cannot be written.
        """
        num_rows, num_columns = self.shape
        head = {"kind": _KIND, "rows": num_rows, "columns": num_columns}
        text = json.dumps({**head, "marks": marks}).ljust(_HEAD_BYTES - 1) + "\n"
        with explained(self.path):
            self._write_at(0, text.encode())
        if wait:
            self.sync()
        self.marks = marks

    def enlarge(self, num_rows: int, fill: float = 0.0) -> None:
        """Add rows at the end; all marks are forgotten.

        Args:
            num_rows: of all, old and new; at least as many as now.
            fill: the value of all numbers of the new ones. Defaults to `0.0`.

        Raises:
            OutputError: if there is no room for them; rows and marks are as they were,
                then.
        """
        self.reserve(num_rows, fill)
        old, self.shape = self.shape, (num_rows, self.shape[1])
        try:
            self.write_head(())
        except BaseException:
            self.shape = old
            self.release()
            raise

    def reserve(self, num_rows: int, fill: float = 0.0) -> None:
        """Make room at the end for further rows, which it does not have yet.

        Args:
            num_rows: of all, old and new; at least as many as now.
            fill: what is written there. Defaults to `0.0`.

        Raises:
            OutputError: if there is none; the file is as long as it was, then.
        """
        try:
            self._reserve(self.shape[0], num_rows, fill)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Give room back that `reserve` made and no row has."""
        with explained(self.path):
            os.ftruncate(self._descriptor, self._place(self.shape[0]))

    def _create(self, fill: float) -> None:
        with explained(self.path):
            self.path.unlink(missing_ok=True)
        self._open(os.O_CREAT | os.O_EXCL)
        try:
            self.write_head(())
            self._reserve(0, self.shape[0], fill)
        except BaseException:  # of a full disk, nothing is left that fills it
            self.path.unlink(missing_ok=True)
            raise

    def _open(self, flags: int) -> None:
        with explained(self.path):
            self._descriptor = os.open(self.path, flags | _FLAGS, 0o666)
        weakref.finalize(self, os.close, self._descriptor)

    def _reserve(self, first: int, stop: int, fill: float) -> None:
        """Make room on the disk for rows, so that it cannot lack later."""
        start, size = self._place(first), (stop - first) * self._row_bytes
        with explained(self.path):
            os.ftruncate(self._descriptor, start + size)
            if hasattr(os, "posix_fallocate"):
                try:
                    os.posix_fallocate(self._descriptor, start, size)
                except OSError as error:
                    if error.errno not in _CANNOT:
                        raise
        if fill:
            piece = np.full((self.rows_at_once, self.shape[1]), fill, np.float32)
            for row in range(first, stop, self.rows_at_once):
                ids = np.arange(row, min(row + self.rows_at_once, stop))
                self.put(ids, piece[: len(ids)])

    def _read_head(self) -> Marks:
        with open_untrusted(self.path, NO_LIMIT) as file:
            size = os.fstat(file.fileno()).st_size
            if not size:  # made, and killed before it had a head
                return ()
            try:
                head = json.loads(file.read(_HEAD_BYTES))
                shape = int(head["rows"]), int(head["columns"])
                marks = [(str(name), int(length)) for name, length in head["marks"]]
                is_ours = head["kind"] == _KIND
            except (ValueError, KeyError, TypeError, RecursionError):
                is_ours = False
        if not is_ours or not all(re.fullmatch(MARK, name) for name, _ in marks):
            raise RowsFileError(
                f"{self.path} is no file of a table's rows, or its head is damaged. "
                f"Choose another folder than {self.path.parent}, or put the file back."
            )
        if not marks:
            return ()
        mend = (
            f"Put the run's own file back, or remove the folder {self.path.parent} and "
            "the checkpoints that go with it to start anew."
        )
        if shape != self.shape:
            raise RowsFileError(
                f"{self.path} has {shape[0]} rows of {shape[1]} numbers, the model "
                f"{self.shape[0]} rows of {self.shape[1]}: it is the file of another "
                f"run. {mend}"
            )
        expected = _HEAD_BYTES + 4 * shape[0] * shape[1]
        if size != expected:
            raise RowsFileError(
                f"{self.path} has {size:,} bytes, and must have {expected:,}: it was "
                f"cut, or added to. {mend}"
            )
        return marks

    def _runs(self, ids: np.ndarray) -> list[tuple[int, int]]:
        """Where rows are that follow each other in the file, and their bytes."""
        starts = np.flatnonzero(np.diff(ids, prepend=-2) != 1)
        lengths = np.diff(starts, append=len(ids)) * self._row_bytes
        places = _HEAD_BYTES + ids[starts] * self._row_bytes
        return list(zip(places.tolist(), lengths.tolist(), strict=True))

    def _read_ahead(self, runs: list[tuple[int, int]]) -> None:
        """Ask the disk for all of some runs at once, before waiting for one."""
        if hasattr(os, "posix_fadvise"):
            for place, size in runs:
                os.posix_fadvise(self._descriptor, place, size, os.POSIX_FADV_WILLNEED)

    def _place(self, row: int) -> int:
        return _HEAD_BYTES + row * self._row_bytes

    def _write_at(self, place: int, left: bytes | memoryview) -> None:
        while left:
            count = os.pwrite(self._descriptor, left, place)
            place, left = place + count, left[count:]
