"""Files that are whole or not there, and one clear error where they cannot be."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import keras
import tensorflow as tf

# What HDF5 adds to the numbers of each variable, generously, and to a file.
_BYTES_PER_VARIABLE = 8_192
_BYTES_PER_FILE = 65_536


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


def check_room(path: Path, model: keras.Model) -> None:
    """Check that there is room for a model at `path`, where no file is yet.

    HDF5 must not find out: files that it cannot finish it cannot close either, and it
    prints traces for each of them and crashes the process at its end.

    Raises:
        OSError: if there is no room.
    """
    needed = _BYTES_PER_FILE
    for variable in _saved_variables(model):
        size = tf.TensorShape(variable.shape).num_elements()
        needed += size * tf.as_dtype(variable.dtype).size + _BYTES_PER_VARIABLE
    if shutil.disk_usage(path.parent).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if hasattr(os, "posix_fallocate"):  # sees quotas and limits, too
        try:
            with path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, needed)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise  # others mean that this disk cannot tell
        finally:
            path.unlink(missing_ok=True)


def _saved_variables(model: keras.Model) -> list[keras.Variable]:
    variables = list(model.variables)
    for name in ("optimizer", "u_optimizer", "v_optimizer"):
        if (optimizer := getattr(model, name, None)) is not None:
            variables += optimizer.variables
    return variables
