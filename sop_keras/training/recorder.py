"""What is kept of a training while it goes on: figures and checkpoints."""

from __future__ import annotations

import csv
import io
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from sop_keras.core.agreement import on_any_worker
from sop_keras.core.strategies import is_chief, is_multi_worker
from sop_keras.data.images.bad_images import BadImages
from sop_keras.files.atomic import write_atomically
from sop_keras.files.tensorboard import Scalars
from sop_keras.monitoring.noise_monitor import NoiseMonitor
from sop_keras.training.checkpoint import Checkpoints
from sop_keras.training.experiment_data import ExperimentData
from sop_keras.training.inputs import evaluation_input
from sop_keras.training.preemption import Preemption
from sop_keras.training.progress import Progress, metric_values, restore_metrics
from sop_keras.training.run_lock import RunLock
from sop_keras.training.terminate_on_nan import TerminateOnNaN

# Several machines: how often they ask each other whether to save, or to stop.
_STEPS_BETWEEN_QUESTIONS = 10


class Recorder(keras.callbacks.Callback):
    """Counts batches and epochs, and writes all that is written while they pass.

    After each epoch it evaluates on the test sets, writes a checkpoint, then a row of
    `history.csv`, and last what TensorBoard shows, the monitor's pages included: where
    these cannot be drawn or written, the epoch is not lost. Within an epoch it writes
    checkpoints as time passes. After each batch it looks whether the loss is finite and
    whether the training is to stop.

    The checkpoint holds the rows up to it, so that the file is made right again when a
    run continues after a kill between the two. An epoch that was interrupted is given
    to `fit` as one of fewer batches; its metrics go on from the checkpoint's.

    Args:
        folder: where `history.csv` and `tensorboard/` are.
        checkpoints: where the model's state goes.
        data: the run's data.
        progress: how far the run has come.
        checkpoint_minutes: how long after a checkpoint the next one is written inside
            an epoch; 0: none are.
        terminate_on_nan: what looks at the numbers.
        preemption: what knows of a SIGTERM.
        bad_images: what test images that cannot be read are reported to.
        strategy: what the run trains under. Of several machines, the first one writes.
        monitor: what looks at the noise table after each epoch, on that machine.
            Defaults to `None`: nothing does.
        lock: on the run's folder, looked at before a checkpoint is written. Defaults to
            `None`: another process writes it, or none else does.

    Attributes:
        progress: how far the run has come, at the last checkpoint. `history` in it has
            one dict an epoch: `epoch` (from 1), `seconds` (of that epoch, with its
            evaluation), `learning_rate` (of the network, at its end) and Keras' logs,
            with `test_loss` and `test_accuracy`, the same of each further test set
            under its name, and the monitor's scalars.
        bad_images: as given.
    """

    def __init__(
        self,
        folder: Path,
        checkpoints: Checkpoints,
        data: ExperimentData,
        progress: Progress,
        *,
        checkpoint_minutes: float,
        terminate_on_nan: TerminateOnNaN,
        preemption: Preemption,
        bad_images: BadImages,
        strategy: tf.distribute.Strategy,
        monitor: NoiseMonitor | None = None,
        lock: RunLock | None = None,
    ):
        super().__init__()
        self.progress = progress
        self.bad_images = bad_images
        self._path = folder / "history.csv"
        self._checkpoints = checkpoints
        self._terminate_on_nan = terminate_on_nan
        self._preemption = preemption
        self._strategy = strategy
        self._monitor = monitor
        self._lock = lock
        self._writes = is_chief(strategy)
        self._scalars = Scalars(folder / "tensorboard")
        self._num_classes = data.dataset.num_classes
        self._tests = {
            name: evaluation_input(examples, data.dataset, name, bad_images)
            for name, examples in data.tests.items()
        }
        self._steps_per_epoch = 0
        self._checkpoint_seconds = 60 * checkpoint_minutes
        self._saved = time.monotonic()
        # Of the epoch that `fit` is in.
        self._started = time.monotonic()
        self._first_step = 0
        self._steps = range(0)  # the last execution's
        if progress.history and self._writes:
            write_atomically(self._path, _csv(progress.history))

    @property
    def seconds(self) -> float:
        """Seconds of training and evaluation in all epochs, interruptions left out."""
        return sum(row["seconds"] for row in self.progress.history)

    def set_model(self, model: keras.Model) -> None:
        """Take the model, for the monitor too."""
        super().set_model(model)
        if self._monitor is not None:
            self._monitor.set_model(model)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Start the clock and the metrics, where the last checkpoint has them."""
        self._started = time.monotonic() - self.progress.seconds
        self._first_step = self.progress.step
        self._steps = range(self._first_step, self._first_step)
        self._steps_per_epoch = self._first_step + self.params["steps"]
        if self._first_step:
            restore_metrics(self.model, self.progress.metrics, self._num_classes)

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Count, look at the loss, and save where it is time to.

        With several steps in an execution, `batch` is the last of them, or would be:
        those beyond the epoch's end do not take place.
        """
        done = min(self._first_step + batch + 1, self._steps_per_epoch)
        self._steps = range(self._steps.stop, done)
        epoch = self.progress.epoch
        self._terminate_on_nan.check_loss(
            self.model, (logs or {})["loss"], epoch, self._steps
        )
        if done == self._steps_per_epoch:
            return  # saved once it is evaluated
        is_preempted = self._agreed(self._preemption.is_requested, done)
        if is_preempted or self._agreed(self._is_time_to_save(), done):
            self._terminate_on_nan.check_weights(self.model, epoch, self._steps)
            progress = replace(
                self.progress,
                step=done,
                seconds=time.monotonic() - self._started,
                metrics=metric_values(self.model),
            )
            self._save(progress)
        if is_preempted:
            self._preemption.stop(f"after batch {done} of epoch {epoch + 1}")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Evaluate, save, record; other callbacks find the test figures in `logs`."""
        logs = {} if logs is None else logs
        for test, batches in self._tests.items():
            figures = self.model.evaluate(batches, verbose=0, return_dict=True)
            if not figures:
                self.bad_images.refuse(
                    f"None of the images of the {test} examples can be used."
                )
            logs.update({f"{test}_{name}": value for name, value in figures.items()})
        figures = {
            "learning_rate": float(
                keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
            ),
            **{name: float(value) for name, value in logs.items()},
        }
        self._terminate_on_nan.check_weights(self.model, epoch, self._steps)
        # No callback beside this one: it would miss an epoch that ends in a stop.
        look = None if self._monitor is None else self._monitor.look()
        row = {
            "epoch": epoch + 1,
            "seconds": round(time.monotonic() - self._started, 3),
            **figures,
            **(look.figures if look is not None else {}),
        }
        history = [*self.progress.history, row]
        self._save(Progress(self.progress.seed, epoch + 1, history=history))
        if self._writes:
            write_atomically(self._path, _csv(history))
            if self._monitor is not None and look is not None:
                self._monitor.write(epoch, look, logs)
            self._scalars.write(epoch, figures)
        if on_any_worker(self._strategy, self._preemption.is_requested):
            self._preemption.stop(f"after epoch {epoch + 1}")

    def _agreed(self, condition: bool, step: int) -> bool:
        """Whether a condition holds on any machine, which they ask now and then."""
        if is_multi_worker(self._strategy) and step % _STEPS_BETWEEN_QUESTIONS:
            return False
        return on_any_worker(self._strategy, condition)

    def _is_time_to_save(self) -> bool:
        since = time.monotonic() - self._saved
        return 0 < self._checkpoint_seconds <= since

    def _save(self, progress: Progress) -> None:
        if self._lock is not None:
            self._lock.check()
        self._checkpoints.save(self.model, progress)
        self.progress = progress
        self._saved = time.monotonic()


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    fields = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, fieldnames=fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
