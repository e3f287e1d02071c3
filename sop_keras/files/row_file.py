"""A file of rows of numbers, with a head: some rows are read and written at a time.

Rows are read through a mapping of the file, and written without one: on a full disk a
write is an error then, and not the end of the process by a signal.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import re
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sop_keras.files.atomic import explained
from sop_keras.files.mapped import let_go, take_rows
from sop_keras.files.row_journal import MARK, RowsFileError
from sop_keras.files.untrusted import NO_LIMIT, open_untrusted

_HEAD_BYTES = 4096
_KIND = "sop_keras rows"
_FLAGS = os.O_RDWR
for _name in ("O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK"):
    _FLAGS |= getattr(os, _name, 0)

_FILL_BYTES = 2**24
# A page of the mapping stays in the process' memory for each row that was read.
_MOST_MAPPED_ROWS = 2**14
# Smaller files are soon in memory anyway, and of many rows there is always one to wait
# for.
_READ_AHEAD_FROM_BYTES, _READ_AHEAD_ROWS = 2**26, 4096

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
        mapped: all rows, mapped for reading.

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
        self._num_mapped = 0
        if self.marks:
            self._open(0)
        else:
            self._create(fill)
        self._map()

    def take(self, ids: np.ndarray) -> np.ndarray:
        """A copy of the rows at `ids`, `(n, num_columns)`.

        Args:
            ids: int64 in `[0, num_rows)`, shape `(n,)`.
        """
        if self.mapped.nbytes >= _READ_AHEAD_FROM_BYTES:
            self._read_ahead(ids[:_READ_AHEAD_ROWS])
        rows = take_rows(self.mapped, ids)
        self._num_mapped += len(ids)
        if self._num_mapped > _MOST_MAPPED_ROWS:
            let_go(self.mapped)
            self._num_mapped = 0
        return rows

    def put(self, ids: np.ndarray, rows: np.ndarray) -> None:
        """Write rows, those that follow each other at once.

        Args:
            ids: int64 in `[0, num_rows)`, shape `(n,)`; equal ones with equal rows.
            rows: float32, shape `(n, num_columns)`.

        Raises:
            OutputError: if they cannot be written.
        """
        if not len(ids):
            return
        order = np.argsort(ids, kind="stable")
        ids, rows = ids[order], rows[order]
        starts = np.flatnonzero(np.diff(ids, prepend=ids[0] - 2) != 1)
        stops = [*starts[1:].tolist(), len(ids)]
        places = _HEAD_BYTES + ids[starts] * self._row_bytes
        data = np.ascontiguousarray(rows).data.cast("B")
        with explained(self.path):
            for place, start, stop in zip(
                places.tolist(), starts.tolist(), stops, strict=True
            ):
                piece = data[start * self._row_bytes : stop * self._row_bytes]
                self._write_at(place, piece)

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
            OutputError: if there is no room for them.
        """
        old, num_columns = self.shape
        self._reserve(old, num_rows, fill)
        self.shape = (num_rows, num_columns)
        self.write_head(())
        self._map()

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
            at_once = max(1, _FILL_BYTES // self._row_bytes)
            piece = np.full((at_once, self.shape[1]), fill, np.float32)
            for row in range(first, stop, at_once):
                ids = np.arange(row, min(row + at_once, stop))
                self.put(ids, piece[: len(ids)])

    def _map(self) -> None:
        size = self._place(self.shape[0])
        self._mapping = mmap.mmap(self._descriptor, size, access=mmap.ACCESS_READ)
        flat = np.frombuffer(self._mapping, np.float32, offset=_HEAD_BYTES)
        self.mapped = flat.reshape(self.shape)

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

    def _read_ahead(self, ids: np.ndarray) -> None:
        """Ask the disk for all pages of some rows at once, before waiting for one."""
        if not hasattr(mmap, "MADV_WILLNEED"):
            return
        starts = _HEAD_BYTES + ids * self._row_bytes
        pages = starts // mmap.PAGESIZE * mmap.PAGESIZE
        sizes = starts + self._row_bytes - pages
        for page, size in zip(pages.tolist(), sizes.tolist(), strict=True):
            self._mapping.madvise(mmap.MADV_WILLNEED, page, size)

    def _place(self, row: int) -> int:
        return _HEAD_BYTES + row * self._row_bytes

    def _write_at(self, place: int, left: bytes | memoryview) -> None:
        while left:
            count = os.pwrite(self._descriptor, left, place)
            place, left = place + count, left[count:]
