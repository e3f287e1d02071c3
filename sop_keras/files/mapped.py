"""Files that are mapped into memory: what was read of one need not stay there."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np

# Of rows that are taken together: more are taken in pieces.
_PIECE_BYTES = 8 * 2**20

_DONT_NEED = getattr(mmap, "MADV_DONTNEED", None)  # not on Windows


def take_rows(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Some rows of an array that may be mapped, as `numpy.take` has them.

    Of many rows, a few megabytes of the file are in memory at a time, beside what is
    returned. What few rows needed stays there: whoever takes a batch after another
    needs most of it again soon, and to map it again takes longer than to copy it.

    Args:
        array: shape `(num_rows, ...)`.
        rows: integers, shape `(m,)`.
    """
    size = max(1, _PIECE_BYTES // max(array[:1].nbytes, 1))
    if len(rows) <= size:
        return np.take(array, rows, axis=0)
    taken = np.empty((len(rows), *array.shape[1:]), array.dtype)
    for start in range(0, len(rows), size):
        part = slice(start, start + size)
        taken[part] = np.take(array, rows[part], axis=0)
        let_go(array)
    return taken


def let_go(array: np.ndarray) -> None:
    """Take what was read of an array's file out of this process' memory.

    Nothing is lost: what is used again is there again, mostly from the system's cache
    of files. Arrays in memory, and mapped ones that can be written to, stay as they
    are: changes of such may be nowhere else.

    Args:
        array: any, or a view of one.
    """
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, memoryview):  # between an array and what it was made of
        base = base.obj
    if (
        _DONT_NEED is not None
        and isinstance(base, mmap.mmap)
        and memoryview(base).readonly
    ):
        base.madvise(_DONT_NEED)
