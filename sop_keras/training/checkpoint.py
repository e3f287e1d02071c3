"""Checkpoints that are whole or not there."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import keras

logger = logging.getLogger(__name__)

_WEIGHTS = "model.weights.h5"
_STATE = "state.json"


class CheckpointError(ValueError):
    """A folder of checkpoints that cannot be continued from."""


class Checkpoints:
    """The last checkpoints of a run, each one written whole before it gets its name.

    A checkpoint is a folder `epoch-00012` with the model's weights (network, u, v, all
    optimizers, seed generators) and a state of JSON values. It is written under another
    name, flushed to disk, and renamed; the one before it stays until then.

    Args:
        folder: where they are kept; made if needed.
        keep: how many to keep. Defaults to `2`.
    """

    def __init__(self, folder: str | os.PathLike[str], keep: int = 2):
        self.folder = Path(folder)
        self.keep = keep

    def save(self, model: keras.Model, epoch: int, state: dict[str, Any]) -> None:
        """Write the checkpoint of `epoch` (epochs done) and drop the oldest.

        Args:
            model: what to save.
            epoch: how many epochs are done.
            state: JSON values, given back by `restore`.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        final = self.folder / f"epoch-{epoch:05d}"
        partial = self.folder / f"partial-{epoch:05d}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        model.save_weights(partial / _WEIGHTS)
        content = {"epoch": epoch, "sha256": _sha256(partial / _WEIGHTS), **state}
        (partial / _STATE).write_text(json.dumps(content))
        for path in (partial / _WEIGHTS, partial / _STATE, partial):
            flush(path)
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        flush(self.folder)
        for old in self._found()[: -self.keep]:
            shutil.rmtree(old)

    def restore(self, model: keras.Model) -> dict[str, Any] | None:
        """Load the newest whole checkpoint into the model.

        Returns:
            The state given to `save`, with `epoch`; None where there is no checkpoint.

        Raises:
            CheckpointError: if there are checkpoints and none of them is whole.
        """
        found = self._found()
        if found and not model.optimizer.built:
            # Keras would load everything but its momentum, with no more than a warning.
            model.optimizer.build(model.trainable_variables)
        damages = []
        for path in reversed(found):
            try:
                state = json.loads((path / _STATE).read_text())
                if state["sha256"] != _sha256(path / _WEIGHTS):
                    raise ValueError(f"{_WEIGHTS} is not what was written")
            except (OSError, ValueError, KeyError, TypeError) as error:
                damages.append(f"{path.name}: {error}")
                logger.warning("Damaged, left out: %s: %s", path, error)
                continue
            model.load_weights(path / _WEIGHTS)
            return state
        if damages:
            raise CheckpointError(
                f"No checkpoint in {self.folder} is whole: {'; '.join(damages)}. Put a "
                "good copy there, or remove that folder to train from the start."
            )
        return None

    def remove(self) -> None:
        """Delete all of them."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _found(self) -> list[Path]:
        return sorted(self.folder.glob("epoch-*"))


def write_atomically(path: Path, text: str) -> None:
    """Replace the file's content in one step: readers see the old or the new."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text)
    flush(partial)
    partial.replace(path)
    flush(path.parent)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def flush(path: Path) -> None:
    """Have the file's, or the folder's, content on disk before going on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
