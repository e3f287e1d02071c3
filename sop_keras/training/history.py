"""What is kept of every epoch: a row of figures and a checkpoint."""

from __future__ import annotations

import csv
import io
import math
import time
from pathlib import Path
from typing import Any

import keras

from sop_keras.data import BadImages, evaluation_batches
from sop_keras.training.checkpoint import Checkpoints, write_atomically
from sop_keras.training.experiment import ExperimentData


class DivergenceError(ValueError):
    """A loss that is NaN or infinite."""


class EpochRecorder(keras.callbacks.Callback):
    """Evaluates on the test sets, writes a checkpoint, then a row of `history.csv`.

    A loss that is not finite ends the training with a DivergenceError instead.

    The checkpoint holds the rows up to it, so that the file is made right again when a
    run continues after a kill between the two.

    Args:
        folder: where `history.csv` is.
        checkpoints: where the model's state goes.
        data: the run's data.
        history: rows of the epochs done so far.
        bad_images: what test images that cannot be read are reported to.

    Attributes:
        history: one dict an epoch: `epoch` (from 1), `seconds` (of that epoch, with its
            evaluation), `learning_rate` (of the network, at its end) and Keras' logs,
            with `test_loss` and `test_accuracy`, and the same of each further test set
            under its name.
        bad_images: as given.
    """

    def __init__(
        self,
        folder: Path,
        checkpoints: Checkpoints,
        data: ExperimentData,
        history: list[dict[str, Any]],
        bad_images: BadImages,
    ):
        super().__init__()
        self.history = list(history)
        self.bad_images = bad_images
        self._path = folder / "history.csv"
        self._checkpoints = checkpoints
        self._tests = {
            name: evaluation_batches(
                examples, data.source, part=name, bad_images=bad_images
            )
            for name, examples in data.tests.items()
        }
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
        for test, batches in self._tests.items():
            figures = self.model.evaluate(batches, verbose=0, return_dict=True)
            if not figures:
                self.bad_images.refuse(
                    f"None of the images of the {test} examples can be used."
                )
            logs.update({f"{test}_{name}": value for name, value in figures.items()})
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
    fields = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, fieldnames=fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
