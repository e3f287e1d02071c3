"""Checkpoints that are whole or not there."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import secrets
import shutil
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np

from sop_keras.core.disk_rows import left_out, rows_on_disk
from sop_keras.files.atomic import (
    check_room,
    explained,
    flush,
    is_partial,
    partial_name,
    write_atomically,
)
from sop_keras.files.folders import make_folder
from sop_keras.files.untrusted import (
    UntrustedFileError,
    open_untrusted,
    read_bytes,
    read_text,
)
from sop_keras.training.model_size import file_size
from sop_keras.training.progress import Progress

logger = logging.getLogger(__name__)

_WEIGHTS = "model.weights.h5"
_METRICS = "metrics.npz"
_STATE = "state.json"
_SUMS = "SHA256SUMS"
_SUMMED = (_METRICS, _WEIGHTS, _STATE)

# In the state: the mark in the files of rows on disk, where these are.
_MARK = "rows"
# Of those files, the folder beside that of the checkpoints.
_TABLE = "table"

_NAME = r"epoch-(\d+)-step-(\d+)"

# Of weights, tables and optimizers as large as they may be; and of the rest.
_LIMIT = 2**50
_SMALL = 2**28

# What it may mean, while a checkpoint is read, that it is not whole.
_DAMAGE = (
    *(FileNotFoundError, NotADirectoryError, IsADirectoryError, UntrustedFileError),
    *(ValueError, KeyError, TypeError, AttributeError, IndexError, EOFError),
    *(RecursionError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error),
)


class CheckpointError(ValueError):
    """A folder of checkpoints that cannot be continued from."""


class Checkpoints:
    """The last checkpoints of a run, each one written whole before it gets its name.

    A checkpoint is a folder `epoch-00012-step-000340` (12 epochs and 340 batches are
    done) with the model's weights (network, u, v, all optimizers, seed generators), the
    metrics' sums over the epoch's batches so far, a state of JSON values, and
    `SHA256SUMS` with the SHA-256 of all these, as `sha256sum --check` reads it. It is
    written under another name, flushed to disk, and renamed; the one before it stays
    until then, and one more.

    What is restored is what was written: a file that is lost or has one other bit, and
    a folder whose name is not that of its state, are left out for the checkpoint
    before. Sums tell damage, not intent: whoever can write here can write these too.

    Rows on disk are not in a checkpoint, but in files in the folder `table` beside all
    of them, which go back to how they were at its mark: what is written for a
    checkpoint is what changed. Those of the kept checkpoints can be gone back to, one
    after the other.

    Earlier versions had no `SHA256SUMS` but, in the state, the sums of the other two
    files. No damage makes one kind of the other: which it is depends on whether there
    is such a file, and the state of the new kind has no sums that would do for the old.

    Args:
        folder: where they are kept; made if needed.
        writes: whether this process writes them: of several machines, one does.
            Defaults to `True`.
        keep: how many to keep. Defaults to `2`.
    """

    def __init__(
        self, folder: str | os.PathLike[str], writes: bool = True, keep: int = 2
    ):
        self.folder = Path(folder)
        self.writes = writes
        self.keep = keep
        self.table = self.folder.parent / _TABLE
        self._damaged: list[Path] = []

    @property
    def newest(self) -> str | None:
        """The name of the last checkpoint, or None where there is none."""
        found = self._found()
        return found[-1].name if found else None

    def save(self, model: keras.Model, progress: Progress) -> None:
        """Write a checkpoint and drop the oldest.

        Args:
            model: what to save, compiled.
            progress: how far it has come, given back by `restore`.

        Raises:
            OutputError: where it cannot be written. Those before it are as they were.
        """
        if not self.writes:
            return
        name = _name(progress)
        final = self.folder / name
        make_folder(self.folder, inside=self.folder.parent)
        with explained(final):
            for old in self.folder.iterdir():  # left behind by a kill
                if is_partial(old.name, _NAME):
                    _remove(old)
            partial = self.folder / partial_name(name)
            try:
                _write(partial, model, progress)
                _remove(final)
                partial.rename(final)
                flush(self.folder)
            finally:
                _remove(partial)
        # A damaged one is no second one to fall back on.
        for damaged in self._damaged:
            if damaged != final:
                _remove(damaged)
        self._damaged = []
        found = self._found()
        for old in found[: -self.keep]:
            _remove(old)
        if files := rows_on_disk(model):
            marks = set(filter(None, map(_mark_of, found[-self.keep :])))
            for rows in files:
                rows.keep(marks)

    def restore(self, model: keras.Model) -> Progress | None:
        """Load the newest whole checkpoint into the model.

        Returns:
            What was given to `save`; None where there is no checkpoint.

        Raises:
            CheckpointError: if there are checkpoints and none of them is whole; the
                model's weights may then be any.
            OSError: if one cannot be read for another reason, such as permissions.
        """
        found = self._found()
        damages = []
        for path in reversed(found):
            try:
                progress, mark = _read(path)
                if mark is None or rows_on_disk(model):
                    _load(model, path / _WEIGHTS, mark)
            except _DAMAGE as error:
                damages.append(f"{path.name}: {_reason(error)}")
                self._damaged.append(path)
                logger.warning("Damaged, left out: %s: %s", path, _reason(error))
                continue
            if mark is not None and not rows_on_disk(model):
                raise CheckpointError(
                    f"The rows of {path} are on disk, in {self.table}: go on with "
                    "--table_device=disk, as it was written. Rows in memory can move "
                    "to disk in a run, and stay there."
                )
            return progress
        if damages:
            raise CheckpointError(
                f"No checkpoint in {self.folder} is whole: {'; '.join(damages)}. Put a "
                "good copy there, or remove that folder to train from the start."
            )
        return None

    def remove(self) -> None:
        """Delete all of them, and the rows that go with them."""
        if not self.writes:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        _remove(self.table)

    def remove_unused_rows(self) -> None:
        """Delete rows on disk that no checkpoint goes with, as a kill leaves them.

        Those that a damaged one may go with stay.
        """
        if not any(_mark_of(path) != "" for path in self._found()):
            _remove(self.table)

    def _found(self) -> list[Path]:
        """All of them, in the order of training."""
        places = {
            tuple(map(int, match.groups())): path
            for path in self.folder.glob("epoch-*")
            if (match := re.fullmatch(_NAME, path.name, re.ASCII))
        }
        return [places[place] for place in sorted(places)]


def _name(progress: Progress) -> str:
    return f"epoch-{progress.epoch:05d}-step-{progress.step:06d}"


def _write(folder: Path, model: keras.Model, progress: Progress) -> None:
    folder.mkdir()
    mark = _mark(model)
    without_rows = contextlib.nullcontext() if mark is None else left_out(model)
    check_room(folder / _WEIGHTS, file_size(model, with_rows=False))
    with without_rows:
        model.save_weights(folder / _WEIGHTS)
    np.savez(folder / _METRICS, *progress.metrics)
    for name in (_WEIGHTS, _METRICS):
        flush(folder / name)
    state = asdict(progress)
    del state["metrics"]
    if mark is not None:
        state[_MARK] = mark
    write_atomically(folder / _STATE, json.dumps(state))
    write_atomically(folder / _SUMS, _sums(folder, _SUMMED))


def _mark(model: keras.Model) -> str | None:
    """Mark how the rows on disk are, if there are any; gives the mark."""
    files = rows_on_disk(model)
    if not files:
        return None
    mark = secrets.token_hex(8)
    for rows in files:
        rows.mark(mark)
    return mark


def _mark_of(folder: Path) -> str | None:
    """The mark of a checkpoint's rows on disk, "" if it has none; None if damaged."""
    with contextlib.suppress(*_DAMAGE):
        return str(json.loads(read_text(folder / _STATE, _SMALL)).get(_MARK, ""))
    return None


def _read(folder: Path) -> tuple[Progress, str | None]:
    """The progress in a checkpoint that is whole, and the mark of its rows on disk.

    An error of `_DAMAGE` for others.
    """
    state: dict[str, Any] = json.loads(read_text(folder / _STATE, _SMALL))
    if not isinstance(state, dict):
        raise ValueError(f"{_STATE} is no JSON object")
    if os.path.lexists(folder / _SUMS):
        # To the last byte: a digit that became a capital is damage, too.
        if read_bytes(folder / _SUMS, _SMALL) != _sums(folder, _SUMMED).encode():
            raise ValueError("the files are not what was written")
    else:  # of an earlier version
        digests = state.pop("sha256")
        for name in (_WEIGHTS, _METRICS):
            if digests[name] != _sha256(folder / name):
                raise ValueError(f"{name} is not what was written")
    mark = state.pop(_MARK, None)
    if not isinstance(mark, str | None):
        raise ValueError(f"its {_MARK} are {mark!r}")
    progress = Progress(**state, metrics=_read_metrics(folder / _METRICS))
    progress.check()
    if folder.name != _name(progress):
        raise ValueError(f"it holds {_name(progress)}")
    return progress, mark


def _read_metrics(path: Path) -> list[np.ndarray]:
    with open_untrusted(path, _SMALL) as file:
        with zipfile.ZipFile(file) as archive:
            if any(one.compress_type for one in archive.infolist()):
                raise ValueError(f"{path.name} is compressed, as none is written")
        file.seek(0)
        try:
            with np.load(file, allow_pickle=False) as arrays:
                return [arrays[name] for name in arrays.files]
        except MemoryError:  # of a shape that the file has no numbers for
            raise ValueError(f"{path.name} says that it has too many numbers") from None


def _load(model: keras.Model, path: Path, mark: str | None) -> None:
    files = rows_on_disk(model)
    without_rows = contextlib.nullcontext() if mark is None else left_out(model)
    for rows in files:
        if mark is None:  # the checkpoint has all rows
            rows.start_anew()
        else:  # all of them, before one goes back
            rows.check(mark)
    try:
        with without_rows:
            model.load_weights(path)
    except OSError as error:
        # HDF5 has errors of its own for files that are none; others are the disk's.
        if error.errno in (None, errno.EINVAL):
            raise ValueError(f"{path.name} cannot be read: {error}") from error
        raise
    for rows in files:
        if mark is not None:
            rows.restore(mark)


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError):
        return f"{Path(os.fsdecode(error.filename or '')).name}: {error.strerror}"
    if isinstance(error, KeyError):
        return f"it has no {error}"
    return str(error) or type(error).__name__


def _remove(path: Path) -> None:
    """Remove a checkpoint, or what is in its place; never what a link leads to."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def _sums(folder: Path, names: Sequence[str]) -> str:
    """What `sha256sum` says of files."""
    return "".join(f"{_sha256(folder / name)}  {name}\n" for name in names)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open_untrusted(path, _LIMIT) as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
