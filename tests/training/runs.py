"""Runs on the digits that are stopped on the way, and what they leave."""

import csv
from pathlib import Path
from typing import Any

import keras
import numpy as np

from sop_keras.training.execution import Execution
from sop_keras.training.recorder import Recorder

# After every batch.
OFTEN = Execution(checkpoint_minutes=1e-9)


class InterruptionError(Exception):
    pass


def interrupt_at(monkeypatch: Any, epoch: int, batch: int = 2) -> None:
    """Fail after a batch of an epoch (both counted from 0), as a kill would."""
    original = Recorder.on_train_batch_end

    def on_train_batch_end(self, index, logs=None):
        original(self, index, logs)
        if (self.progress.epoch, index) == (epoch, batch):
            raise InterruptionError

    monkeypatch.setattr(Recorder, "on_train_batch_end", on_train_batch_end)


def history(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open() as file:
        return list(csv.DictReader(file))


def assert_same_end(one: Path, other: Path) -> None:
    """The same bits of network, u, v and optimizers, and of the history's figures."""
    assert_same_model(one, other)
    rows = zip(history(one), history(other), strict=True)
    for expected, actual in rows:
        assert expected | {"seconds": ""} == actual | {"seconds": ""}


def assert_same_model(one: Path, other: Path) -> None:
    """The same bits of network, u, v and optimizers."""
    for expected, actual in zip(_state(one), _state(other), strict=True):
        np.testing.assert_array_equal(expected, actual)


def _state(folder: Path) -> list[np.ndarray]:
    model = keras.saving.load_model(folder / "model.keras")
    variables = list(model.weights)
    for optimizer in model.optimizers():
        variables += optimizer.variables
    return [variable.numpy() for variable in variables]
