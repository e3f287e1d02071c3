"""Checkpoints that are whole or not there."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np

from sop_keras.files.atomic import check_room, explained, flush, write_atomically
from sop_keras.training.model_size import file_size
from sop_keras.training.progress import Progress

logger = logging.getLogger(__name__)

_WEIGHTS = "model.weights.h5"
_METRICS = "metrics.npz"
_STATE = "state.json"

_NAME = re.compile(r"epoch-(\d+)-step-(\d+)")


class CheckpointError(ValueError):
    """A folder of checkpoints that cannot be continued from."""


class Checkpoints:
    """The last checkpoints of a run, each one written whole before it gets its name.

    A checkpoint is a folder `epoch-00012-step-000340` (12 epochs and 340 batches are
    done) with the model's weights (network, u, v, all optimizers, seed generators), the
    metrics' sums over the epoch's batches so far, and a state of JSON values with the
    SHA-256 of the other files. It is written under another name, flushed to disk, and
    renamed; the one before it stays until then, and one more.

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
        name = f"epoch-{progress.epoch:05d}-step-{progress.step:06d}"
        final, partial = self.folder / name, self.folder / f"partial-{name}"
        with explained(final):
            self.folder.mkdir(parents=True, exist_ok=True)
            for old in self.folder.glob("partial-*"):  # left behind by a kill
                shutil.rmtree(old)
            try:
                _write(partial, model, progress)
                shutil.rmtree(final, ignore_errors=True)
                partial.rename(final)
                flush(self.folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        # A damaged one is no second one to fall back on.
        for damaged in self._damaged:
            if damaged != final:
                shutil.rmtree(damaged, ignore_errors=True)
        self._damaged = []
        for old in self._found()[: -self.keep]:
            shutil.rmtree(old)

    def restore(self, model: keras.Model) -> Progress | None:
        """Load the newest whole checkpoint into the model.

        Returns:
            What was given to `save`; None where there is no checkpoint.

        Raises:
            CheckpointError: if there are checkpoints and none of them is whole.
        """
        found = self._found()
        damages = []
        for path in reversed(found):
            try:
                progress = _read(path)
            except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
                damages.append(f"{path.name}: {error}")
                self._damaged.append(path)
                logger.warning("Damaged, left out: %s: %s", path, error)
                continue
            model.load_weights(path / _WEIGHTS)
            return progress
        if damages:
            raise CheckpointError(
                f"No checkpoint in {self.folder} is whole: {'; '.join(damages)}. Put a "
                "good copy there, or remove that folder to train from the start."
            )
        return None

    def remove(self) -> None:
        """Delete all of them."""
        if not self.writes:
            return
        shutil.rmtree(self.folder, ignore_errors=True)

    def _found(self) -> list[Path]:
        """All of them, in the order of training."""
        places = {
            tuple(map(int, match.groups())): path
            for path in self.folder.glob("epoch-*")
            if (match := _NAME.fullmatch(path.name))
        }
        return [places[place] for place in sorted(places)]


def _write(folder: Path, model: keras.Model, progress: Progress) -> None:
    folder.mkdir()
    check_room(folder / _WEIGHTS, file_size(model))
    model.save_weights(folder / _WEIGHTS)
    np.savez(folder / _METRICS, *progress.metrics)
    state = asdict(progress)
    del state["metrics"]
    state["sha256"] = {name: _sha256(folder / name) for name in (_WEIGHTS, _METRICS)}
    for name in state["sha256"]:
        flush(folder / name)
    # Last, and an object: cut off anywhere, it is no JSON.
    write_atomically(folder / _STATE, json.dumps(state))


def _read(folder: Path) -> Progress:
    """The progress in a checkpoint that is whole; an error of some kind otherwise."""
    state: dict[str, Any] = json.loads((folder / _STATE).read_text())
    digests = state.pop("sha256")
    for name in (_WEIGHTS, _METRICS):
        if digests[name] != _sha256(folder / name):
            raise ValueError(f"{name} is not what was written")
    with np.load(folder / _METRICS, allow_pickle=False) as arrays:
        return Progress(**state, metrics=[arrays[name] for name in arrays.files])


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
