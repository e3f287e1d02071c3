"""Files that grow at their end, of which another file says how much counts."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from sop_keras.files.atomic import explained

_WRITE = (
    os.O_RDWR
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


class GrowingFile:
    """A file that is added to; a killed process may have left more than counts.

    Nothing is written through a link. What is below `size` is never written again, so
    that other processes may have it mapped into their memory.

    Args:
        path: the file.
        size: how many of its bytes count; what lies beyond is dropped. With 0 a new
            file takes the place of what is there, which whoever has it open keeps.

    Raises:
        OutputError: if it cannot be written, is a link or no regular file, or has
            fewer bytes than `size`.
    """

    def __init__(self, path: Path, size: int):
        self._path = path
        with explained(path):
            flags = _WRITE
            if not size:
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()
                flags |= os.O_CREAT | os.O_EXCL
            self._descriptor = os.open(path, flags, 0o666)
            try:
                status = os.fstat(self._descriptor)
                if not stat.S_ISREG(status.st_mode):
                    raise OSError("it is no regular file")
                if status.st_size < size:
                    raise OSError(f"it has {status.st_size:,} bytes of {size:,}")
                os.ftruncate(self._descriptor, size)
            except BaseException:
                os.close(self._descriptor)
                raise
        self._size = size

    def append(self, data: bytes | memoryview) -> None:
        """Add to the end; nothing of it counts if that fails.

        Raises:
            OutputError: if it cannot be written, as on a full disk.
        """
        left, place = memoryview(data), self._size
        if not left.nbytes:  # which cannot be cast
            return
        with explained(self._path):
            left = left.cast("B")
            while left:
                count = os.pwrite(self._descriptor, left, place)
                place, left = place + count, left[count:]
        self._size = place

    def flush(self) -> None:
        """Have all of it on disk before going on.

        Raises:
            OutputError: if the disk does not take it.
        """
        with explained(self._path):
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Close it; what was not flushed may be lost."""
        os.close(self._descriptor)
