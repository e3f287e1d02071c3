"""Files that are whole or not there, and one clear error where they cannot be."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


class OutputError(OSError):
    """Something that could not be written, such as on a full disk."""


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what goes wrong while `path` is written into an OutputError."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        disk = next(parent for parent in path.absolute().parents if parent.exists())
        free = shutil.disk_usage(disk).free
        raise OutputError(
            f"{path} could not be written: {reason}. Its disk has {free:,} bytes free."
        ) from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to; what is there at the end takes the place of `path`.

    In one step: readers see the old or the new. Nothing half-written stays.

    Raises:
        OutputError: where it cannot be written. What was there is as it was.
    """
    partial = path.with_name(f"partial-{path.name}")
    with explained(path):
        try:
            yield partial
            flush(partial)
            partial.replace(path)
            flush(path.parent)
        finally:
            partial.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Replace the file's content in one step: readers see the old or the new."""
    with replacing(path) as partial:
        partial.write_text(text)


def flush(path: Path) -> None:
    """Have the file's, or the folder's, content on disk before going on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_room(path: Path, num_bytes: int) -> None:
    """Check that there is room for so many bytes at `path`, where no file is yet.

    For what cannot be told that the disk is full: HDF5 can neither finish nor close
    such files, prints traces for each of them and crashes the process at its end.

    Raises:
        OSError: if there is no room.
    """
    if shutil.disk_usage(path.parent).free < num_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if hasattr(os, "posix_fallocate"):  # sees quotas and limits, too
        try:
            with path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, num_bytes)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise  # others mean that this disk cannot tell
        finally:
            path.unlink(missing_ok=True)
