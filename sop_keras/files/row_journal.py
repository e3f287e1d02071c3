"""What rows of a file were before they were written over, piece by piece.

A piece is a head, with how many rows it has and the sum of what follows: the rows'
numbers, int64, and what they were, float32.
"""

from __future__ import annotations

import os
import struct
import weakref
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from sop_keras.files.growing import GrowingFile
from sop_keras.files.untrusted import NO_LIMIT, open_untrusted

MARK = "[0-9a-f]{16}"
"""What names of marks, each with a journal of its own, look like."""

_HEAD = struct.Struct("<8sQI")
_KIND = b"oldrows:"


class RowsFileError(ValueError):
    """A file of rows, or a journal of them, that is not what it must be."""


class RowJournal:
    """A journal that is being written: a new one, in the place of any other.

    Args:
        path: of the file.

    Attributes:
        size: how many bytes of whole pieces it has.
        close: closes the file.

    Raises:
        OutputError: if it cannot be made.
    """

    def __init__(self, path: Path):
        self._file = GrowingFile(path, 0)
        # Closes it, with this object at the latest.
        self.close = weakref.finalize(self, self._file.close)
        self._file.flush()
        self.size = 0

    def append(self, ids: np.ndarray, rows: np.ndarray) -> None:
        """Add a piece; it is on disk afterwards.

        Args:
            ids: int64, shape `(n,)`.
            rows: what they are now, float32 `(n, num_columns)`.

        Raises:
            OutputError: if it cannot be written; nothing of it counts, then.
        """
        content = ids.tobytes() + rows.tobytes()
        head = _HEAD.pack(_KIND, len(ids), zlib.crc32(content))
        self._file.append(head + content)
        self._file.flush()
        self.size += len(head) + len(content)


def last_first(
    path: Path, size: int, num_columns: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The pieces of a journal, ids and rows, the last one first.

    Args:
        path: of the file. It may be missing where it need have no piece.
        size: how many bytes of whole pieces it has at least. A process that was ended
            may have left more, and after those a torn one, which is left out.
        num_columns: of the rows.

    Raises:
        RowsFileError: if one of the pieces within `size` is lost or damaged.
    """
    try:
        file = open_untrusted(path, NO_LIMIT)
    except FileNotFoundError:
        if size:
            raise RowsFileError(f"{path} is missing") from None
        return
    with file:
        for start in reversed(_starts(file, path, size, num_columns)):
            yield _piece(file, path, start, num_columns)


def _starts(file: BinaryIO, path: Path, size: int, num_columns: int) -> list[int]:
    end = os.fstat(file.fileno()).st_size
    if end < size:
        raise RowsFileError(f"{path} was cut: it has {end:,} bytes of {size:,}")
    starts, start = [], 0
    while start < end:
        try:
            _, stop = _head(file, path, start, num_columns)
            if stop > size:
                _piece(file, path, start, num_columns)
        except RowsFileError:
            if start < size:
                raise
            break  # torn
        starts.append(start)
        start = stop
    return starts


def _head(
    file: BinaryIO, path: Path, start: int, num_columns: int
) -> tuple[tuple[int, int], int]:
    """How many rows a piece has, and their sum; and where it ends."""
    file.seek(start)
    head = file.read(_HEAD.size)
    if len(head) == _HEAD.size:
        kind, count, total = _HEAD.unpack(head)
        stop = start + _HEAD.size + count * (8 + 4 * num_columns)
        if kind == _KIND and stop <= os.fstat(file.fileno()).st_size:
            return (count, total), stop
    raise RowsFileError(f"{path} is damaged")


def _piece(
    file: BinaryIO, path: Path, start: int, num_columns: int
) -> tuple[np.ndarray, np.ndarray]:
    (count, total), stop = _head(file, path, start, num_columns)
    content = file.read(stop - start - _HEAD.size)
    if zlib.crc32(content) != total:
        raise RowsFileError(f"{path} is damaged")
    ids = np.frombuffer(content, np.int64, count)
    rows = np.frombuffer(content, np.float32, offset=8 * count)
    return ids, rows.reshape(count, num_columns)
