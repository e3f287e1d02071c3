"""Files that nobody vouches for, opened for reading.

A path of somebody else's data set or run folder may lead to a pipe, which blocks for
ever, to a device without an end, or to more bytes than there is memory for. Here a file
is opened without waiting, must be a regular one (a link to one will do), and gives no
more bytes than its limit, even where it grows while it is read.

    with open_untrusted("labels.csv") as file:
        first = file.readline()

Libraries are given the file that is open, never its path: what they would open by name
may be another one.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import time
from collections.abc import Iterator
from typing import Any, BinaryIO

MAX_BYTES = 2**30
"""The largest file that is read where no other limit is given: 1 GiB."""

NO_LIMIT = 2**63 - 1
"""For files of which only parts are in memory: a limit that no file has."""

# Neither wait for the other end of a pipe, nor become the terminal's process, nor pass
# the file on to programs that are started. Windows has none of these, but text modes.
_FLAGS = os.O_RDONLY
for _name in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY", "O_NOINHERIT"):
    _FLAGS |= getattr(os, _name, 0)

# Between tries to open a file that another process has a lease on, in seconds.
_PAUSES = (0.01, 0.1, 1.0)

_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class UntrustedFileError(OSError):
    """A file that is not read; `strerror` has the reason, `filename` the path."""

    def __init__(self, reason: str, path: str):
        super().__init__(errno.EINVAL, reason, path)

    def __reduce__(self) -> Any:
        return type(self), (self.strerror, self.filename)

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


class NotRegularFileError(UntrustedFileError):
    """A pipe, a socket or a device, where a file must be."""


class FileTooLargeError(UntrustedFileError):
    """A file of more bytes than are read."""


def open_untrusted(
    path: str | bytes | os.PathLike[Any], limit: int = MAX_BYTES, raise_by: str = ""
) -> BinaryIO:
    """Open a regular file for reading, in binary.

    Args:
        path: the file, or a link to one.
        limit: how many bytes it may have, at least 0. Defaults to `MAX_BYTES`, 1 GiB.
        raise_by: what raises that limit, for the error, such as
            `"--max_image_bytes"`. Defaults to `""`: nothing does.

    Returns:
        A buffered file that can seek. Reading beyond `limit` raises FileTooLargeError.

    Raises:
        NotRegularFileError: for a pipe, a socket or a device.
        FileTooLargeError: if it has more than `limit` bytes.
        UntrustedFileError: for a path with a NUL character.
        OSError: as `open` raises it: if there is no such file, it is a folder, ...
    """
    return io.BufferedReader(_CappedFile(path, limit, raise_by))


def read_bytes(
    path: str | bytes | os.PathLike[Any], limit: int = MAX_BYTES, raise_by: str = ""
) -> bytes:
    """The content of a regular file.

    Args:
        path: as for `open_untrusted`.
        limit: as for `open_untrusted`. Defaults to `MAX_BYTES`, 1 GiB.
        raise_by: as for `open_untrusted`. Defaults to `""`.

    Raises:
        OSError: as `open_untrusted`.
    """
    with _CappedFile(path, limit, raise_by) as file:
        return file.readall()


def read_text(
    path: str | bytes | os.PathLike[Any],
    limit: int = MAX_BYTES,
    raise_by: str = "",
    encoding: str = "utf-8",
) -> str:
    """The text of a regular file; each of its lines ends in a line feed.

    Args:
        path: as for `open_untrusted`.
        limit: as for `open_untrusted`. Defaults to `MAX_BYTES`, 1 GiB.
        raise_by: as for `open_untrusted`. Defaults to `""`.
        encoding: of the text. Defaults to `"utf-8"`.

    Raises:
        OSError: as `open_untrusted`.
        UnicodeDecodeError: if it is no such text.
    """
    with opened_text(path, limit, raise_by, encoding, newline=None) as text:
        return text.read()


@contextlib.contextmanager
def opened_text(
    path: str | bytes | os.PathLike[Any],
    limit: int = MAX_BYTES,
    raise_by: str = "",
    encoding: str = "utf-8",
    errors: str = "strict",
    newline: str | None = "",
) -> Iterator[io.TextIOWrapper]:
    """A regular file as text, open inside the block.

    Args:
        path: as for `open_untrusted`.
        limit: as for `open_untrusted`. Defaults to `MAX_BYTES`, 1 GiB.
        raise_by: as for `open_untrusted`. Defaults to `""`.
        encoding: as for `open`. Defaults to `"utf-8"`.
        errors: as for `open`. Defaults to `"strict"`.
        newline: as for `open`. Defaults to `""`, which the module csv needs.

    Raises:
        OSError: as `open_untrusted`.
    """
    with (
        open_untrusted(path, limit, raise_by) as file,
        io.TextIOWrapper(file, encoding, errors, newline) as text,
    ):
        yield text


class _CappedFile(io.FileIO):
    """A regular file that gives no byte beyond its limit."""

    def __init__(self, path: Any, limit: int, raise_by: str):
        path = os.fspath(path)
        self._path = os.fsdecode(path)
        self._limit = limit
        self._raise_by = raise_by
        descriptor = self._open(path)
        try:
            size = self._checked_size(descriptor)
            super().__init__(descriptor, "rb")
        except BaseException:
            os.close(descriptor)
            raise
        self._size = size

    def _open(self, path: str | bytes) -> int:
        try:
            for pause in _PAUSES:
                # Another process, such as a file server, has promised to give the file
                # up when it is asked to, which it is now.
                with contextlib.suppress(BlockingIOError):
                    return os.open(path, _FLAGS)
                time.sleep(pause)
            return os.open(path, _FLAGS)
        except ValueError as error:
            if "\0" not in self._path:
                raise
            raise UntrustedFileError(
                "the path has a NUL character, as no file's has",
                self._path.replace("\0", r"\x00"),
            ) from error
        except OSError as error:
            # A socket, or a device without a driver.
            if error.errno in (errno.ENXIO, errno.ENODEV):
                raise self._not_regular("a socket or a device") from error
            raise

    def _checked_size(self, descriptor: int) -> int:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), self._path)
        if not stat.S_ISREG(status.st_mode):
            kinds = [name for test, name in _KINDS if test(status.st_mode)]
            raise self._not_regular(kinds[0] if kinds else "something else")
        if status.st_size > self._limit:
            raise self._too_large(f"{status.st_size:,} bytes")
        return status.st_size

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        # One byte more shows that there is more.
        count = super().readinto(view[: self._left() + 1])
        if count is None:
            raise self._not_regular("something that may have bytes later")
        self._check_place()
        return count

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            return self.readall()
        data = bytearray(min(size, self._left() + 1))
        return bytes(memoryview(data)[: self.readinto(data)])

    def readall(self) -> bytes:
        parts = []
        # Of a file as large as it said, one call for all and one that finds its end.
        size = max(1, self._size - self.tell())
        while part := self.read(size):
            parts.append(part)
            size = max(2**16, size - len(part))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _left(self) -> int:
        return max(0, self._limit - self.tell())

    def _check_place(self) -> None:
        if self.tell() > self._limit:
            raise self._too_large(f"more than {self._limit:,} bytes by now")

    def _not_regular(self, kind: str) -> NotRegularFileError:
        return NotRegularFileError(f"{kind}, where a regular file must be", self._path)

    def _too_large(self, size: str) -> FileTooLargeError:
        more = f". Raise that limit with {self._raise_by}" if self._raise_by else ""
        return FileTooLargeError(
            f"{size}, where at most {self._limit:,} are read{more}", self._path
        )
