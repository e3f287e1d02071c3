"""What is kept of every epoch: a row of figures and a checkpoint."""

from __future__ import annotations

import csv
import io
import math
import time
from pathlib import Path
from typing import Any

import keras

from sop_keras.data import evaluation_batches
from sop_keras.training.checkpoint import Checkpoints, write_atomically
from sop_keras.training.experiment import ExperimentData


class DivergenceError(ValueError):
    """A loss that is NaN or infinite."""


class EpochRecorder(keras.callbacks.Callback):
    """Evaluates on the test set, writes a checkpoint, then a row of `history.csv`.

    A loss that is not finite ends the training with a DivergenceError instead.

    The checkpoint holds the rows up to it, so that the file is made right again when a
    run continues after a kill between the two.

    Args:
        folder: where `history.csv` is.
        checkpoints: where the model's state goes.
        data: the run's data.
        history: rows of the epochs done so far.

    Attributes:
        history: one dict an epoch: `epoch` (from 1), `seconds` (of that epoch, with its
            evaluation), `learning_rate` (of the network, at its end) and Keras' logs,
            with `test_loss` and `test_accuracy`.
    """

    def __init__(
        self,
        folder: Path,
        checkpoints: Checkpoints,
        data: ExperimentData,
        history: list[dict[str, Any]],
    ):
        super().__init__()
        self.history = list(history)
        self._path = folder / "history.csv"
        self._checkpoints = checkpoints
        self._test = evaluation_batches(data.test, data.source)
        self._started = time.monotonic()
        if self.history:
            write_atomically(self._path, _csv(self.history))

    @property
    def seconds(self) -> float:
        """Seconds of training and evaluation in all epochs, interruptions left out."""
        return sum(row["seconds"] for row in self.history)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Start the clock."""
        self._started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Evaluate, save, record; other callbacks find the test figures in `logs`."""
        logs = {} if logs is None else logs
        if not math.isfinite(logs["loss"]):
            raise DivergenceError(
                f"The loss is {logs['loss']} in epoch {epoch + 1}: training diverged, "
                "and stopped there. The last checkpoint is kept. Lower the learning "
                "rate, in another folder."
            )
        test = self.model.evaluate(self._test, verbose=0, return_dict=True)
        logs.update({f"test_{name}": value for name, value in test.items()})
        self.history.append(
            {
                "epoch": epoch + 1,
                "seconds": round(time.monotonic() - self._started, 3),
                "learning_rate": float(self.model.optimizer.learning_rate),
                **{name: float(value) for name, value in logs.items()},
            }
        )
        self._checkpoints.save(self.model, epoch + 1, {"history": self.history})
        write_atomically(self._path, _csv(self.history))


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
