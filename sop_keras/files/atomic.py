"""Files that are whole or not there, and one clear error where they cannot be.

Nothing here writes through a link: in a folder that comes from somebody else, one may
lead anywhere. What is written first has a name that nobody can foresee, is made by this
process or not at all, and then takes the place of what was there, link or not.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from sop_keras.files.kernel_lock import try_lock

# Made here, never opened, with the permissions that the user's mask leaves, as `open`
# does it. Windows has no links that O_NOFOLLOW is about.
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_LINK
_APPEND = (
    os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NONBLOCK", 0) | _NO_LINK
)
_MODE = 0o666

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

# 64 random bits as text, in the names of what is not whole yet.
_TOKEN = "[0-9a-f]{16}"


class OutputError(OSError):
    """Something that could not be written, such as on a full disk.

    Attributes:
        is_of_room: whether a disk is full, or a quota or a limit is reached; `True` as
            well where the reason is not known.
    """

    is_of_room = True


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what goes wrong while `path` is written into an OutputError."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        if error.errno == errno.ELOOP:
            reason = "it is a link, and nothing is written through links"
        disk = next(parent for parent in path.absolute().parents if parent.exists())
        free = shutil.disk_usage(disk).free
        output_error = OutputError(
            f"{path} could not be written: {reason}. Its disk has {free:,} bytes free."
        )
        output_error.is_of_room = error.errno in (None, *_NO_ROOM)
        raise output_error from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to; what is there at the end takes the place of `path`.

    In one step: readers see the old or the new. Nothing half-written stays; what a
    killed process left of the same file goes as well, where there are locks that tell
    it from what another process is writing.

    The path to write to is an empty file beside `path`, with its ending. It must be
    written in place, not replaced.

    Raises:
        OutputError: where it cannot be written. What was there is as it was.
    """
    with explained(path):
        _remove_leftovers(path)
        partial, descriptor = _make_partial(path)
        try:
            yield partial
            os.fsync(descriptor)
            if not os.path.samestat(os.fstat(descriptor), partial.lstat()):
                raise OSError("another file was put in its place meanwhile")
            partial.replace(path)
            flush(path.parent)
        finally:
            partial.unlink(missing_ok=True)
            os.close(descriptor)


def write_atomically(path: Path, text: str) -> None:
    """Replace the file's content in one step: readers see the old or the new.

    Raises:
        OutputError: where it cannot be written. What was there is as it was.
    """
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def remove(path: Path) -> None:
    """Remove a file, or a link in its place, if there is one.

    Raises:
        OutputError: where it cannot be removed.
    """
    with explained(path):
        path.unlink(missing_ok=True)


def write_new(path: Path, content: bytes) -> None:
    """Write a file that is not there yet, in a folder that is written anew.

    Unlike `write_atomically`, it does not wait for the disk: for many small files.

    Raises:
        OutputError: where it cannot be written, or something is there.
    """
    with explained(path), open(os.open(path, _NEW, _MODE), "wb") as file:
        file.write(content)


@contextlib.contextmanager
def appending(path: Path) -> Iterator[TextIO]:
    """A text file, open for adding to its end; made if it is not there.

    Raises:
        OutputError: where it cannot be written, or is no regular file; a link is none.
    """
    with (
        explained(path),
        open(os.open(path, _APPEND, _MODE), "a", newline="", encoding="utf-8") as file,
    ):
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError("it is no regular file")
        yield file


def partial_name(name: str) -> str:
    """A name that nobody can foresee, of what is to become `name`."""
    return f"partial-{secrets.token_hex(8)}-{name}"


def is_partial(found: str, name: str) -> bool:
    """Whether a file or folder is called as what was to become `name`.

    Args:
        found: the name in question.
        name: a regular expression.
    """
    return re.fullmatch(rf"partial-(?:{_TOKEN}-)?(?:{name})", found) is not None


def flush(path: Path) -> None:
    """Have the file's, or the folder's, content on disk before going on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_room(path: Path, num_bytes: int) -> None:
    """Check that there is room for so many bytes in a file beside `path`.

    For what cannot be told that the disk is full: HDF5 can neither finish nor close
    such files, prints traces for each of them and crashes the process at its end. What
    a kill leaves of the trial goes with what it leaves of `path` (`replacing`).

    Raises:
        OSError: if there is no room.
    """
    if shutil.disk_usage(path.parent).free < num_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if hasattr(os, "posix_fallocate"):  # sees quotas and limits, too
        partial, descriptor = _make_partial(path)
        try:
            os.posix_fallocate(descriptor, 0, num_bytes)
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise  # others mean that this disk cannot tell
        finally:
            partial.unlink(missing_ok=True)
            os.close(descriptor)


def _make_partial(path: Path) -> tuple[Path, int]:
    """An empty file of this process beside `path`, locked while it is open."""
    while True:
        partial = path.with_name(partial_name(path.name))
        descriptor = os.open(partial, _NEW, _MODE)
        # Between the two, another process may have taken it for what a kill left.
        if try_lock(descriptor) is not False and partial.exists():
            return partial, descriptor
        os.close(descriptor)


def _remove_leftovers(path: Path) -> None:
    """Remove what killed processes left of a file: nobody has it locked."""
    for name in os.listdir(path.parent):
        # Cheaper than a pattern, for each file of a large folder.
        if not (name.startswith("partial-") and is_partial(name, re.escape(path.name))):
            continue
        partial = path.with_name(name)
        with contextlib.suppress(OSError):  # it may be gone by now
            if not stat.S_ISREG(partial.lstat().st_mode):
                continue
            descriptor = os.open(partial, os.O_RDWR | _NO_LINK)
            try:
                if try_lock(descriptor):
                    partial.unlink()
            finally:
                os.close(descriptor)
