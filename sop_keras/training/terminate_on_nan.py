"""TerminateOnNaN: stops a training whose numbers are no longer finite."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import keras
import numpy as np
from keras import ops

from sop_keras.core import sparse_variable
from sop_keras.core.disk_rows import rows_on_disk
from sop_keras.data.batches.batch_ids import batch_ids
from sop_keras.files.atomic import write_atomically
from sop_keras.training.checkpoint import Checkpoints
from sop_keras.training.experiment import Experiment
from sop_keras.training.experiment_data import ExperimentData

_MAX_IDS_IN_MESSAGE = 10
_ROWS_AT_ONCE = 65_536


class DivergenceError(ValueError):
    """A loss, or weights, that are NaN or infinite."""


class TerminateOnNaN:
    """Ends a training at the first batch whose loss is NaN or infinite.

    The error names the batch, and `non_finite_batch.csv` lists its examples: epoch and
    step (both from 1), id and given label. Where an execution of Keras takes several
    batches, it is one of those.

    Args:
        folder: where that file goes.
        experiment: the run's settings.
        data: the run's data.
        checkpoints: of the run, for the message.
        writes: whether this process writes the file: of several machines, one does.
    """

    def __init__(
        self,
        folder: Path,
        experiment: Experiment,
        data: ExperimentData,
        checkpoints: Checkpoints,
        writes: bool,
    ):
        self._path = folder / "non_finite_batch.csv"
        self._experiment = experiment
        self._data = data
        self._checkpoints = checkpoints
        self._writes = writes

    def check_loss(
        self, model: keras.Model, loss: float, epoch: int, steps: range
    ) -> None:
        """Check the loss after some batches.

        Args:
            model: after the batches.
            loss: the mean over the epoch so far: once it is not finite, it stays so.
            epoch: whole epochs done.
            steps: the batches since the last check, from 0 in the epoch.

        Raises:
            DivergenceError: if it is not finite.
        """
        if not math.isfinite(loss):
            self._stop(f"The loss is {loss}", model, epoch, steps)

    def check_weights(self, model: keras.Model, epoch: int, steps: range) -> None:
        """Check networks, tables and optimizers before they become a checkpoint.

        A step whose loss was finite may have left them so that no other will be.

        Args:
            model: after the batches.
            epoch: whole epochs done before them.
            steps: the last batches, from 0 in the epoch.

        Raises:
            DivergenceError: if they are not finite.
        """
        optimizers = [one for o in model.optimizers() for one in o.variables]
        for rows in rows_on_disk(model):  # which was looked at as it was written
            if not rows.is_finite:
                self._stop(f"{rows.path} is not finite", model, epoch, steps)
        for variable in (*model.weights, *optimizers):
            if not keras.backend.is_float_dtype(variable.dtype):
                continue
            if not all(map(_is_finite, _pieces(variable))):
                self._stop(f"{variable.path} is not finite", model, epoch, steps)

    def _stop(
        self, what: str, model: keras.Model, epoch: int, steps: range
    ) -> NoReturn:
        batches = self._batches(model, epoch, steps)
        last = self._checkpoints.newest
        kept = f"The checkpoint {last}, before it, is kept. " if last else ""
        step = f"step {steps.start + 1}"
        if len(steps) > 1:
            step = f"one of the steps {steps.start + 1} to {steps.stop}"
        raise DivergenceError(
            f"{what} in epoch {epoch + 1} after {step}, on the examples "
            f"{_shown(batches)} ({self._write(batches, epoch, steps)}): training "
            f"diverged, and stopped there. {kept}Lower the learning rate, in another "
            "folder, or look at these examples."
        )

    def _batches(
        self, model: keras.Model, epoch: int, steps: range
    ) -> list[np.ndarray]:
        """The ids of each batch, int64."""
        experiment, train = self._experiment, self._data.train
        if (plan := model.epoch_plan) is not None:  # networks that learn in turn
            planned = plan.batches[steps.start : steps.stop]
            return [train.ids[one.places].astype(np.int64) for one in planned]
        ids = batch_ids(
            train,
            self._data.dataset,
            batch_size=experiment.batch_size,
            seed=experiment.seed,
            epoch=epoch,
            step=steps.start,
            num_steps=len(steps),
            examples_per_class=experiment.examples_per_class,
        )
        size = experiment.batch_size
        return [ids[start : start + size] for start in range(0, len(ids), size)]

    def _write(self, batches: list[np.ndarray], epoch: int, steps: range) -> str:
        """Write the examples of the batches to the file; says where all are."""
        train = self._data.train
        order = np.argsort(train.ids)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("epoch", "step", "id", "given_label"))
        for step, ids in zip(steps, batches, strict=True):
            labels = train.labels[order[np.searchsorted(train.ids, ids, sorter=order)]]
            for identity, label in zip(ids, labels, strict=True):
                writer.writerow((epoch + 1, step + 1, identity, label))
        try:
            if self._writes:
                write_atomically(self._path, text.getvalue())
        except OSError as error:  # that training diverged is what must be said
            return f"all of them could not be written: {error}"
        return f"all of them: {self._path}"


def _shown(batches: list[np.ndarray]) -> str:
    ids = np.concatenate(batches)
    first = ", ".join(map(str, ids[:_MAX_IDS_IN_MESSAGE]))
    return first + (", ..." if len(ids) > _MAX_IDS_IN_MESSAGE else "")


def _pieces(variable: keras.Variable) -> Iterator[Any]:
    """The variable's values; of a large table, so many rows at a time.

    The whole of one may not fit where it is computed with, beside itself.
    """
    if len(variable.shape) != 2 or variable.shape[0] <= _ROWS_AT_ONCE:
        yield variable
        return
    for start in range(0, variable.shape[0], _ROWS_AT_ONCE):
        stop = min(start + _ROWS_AT_ONCE, variable.shape[0])
        yield sparse_variable.gather(variable, np.arange(start, stop))


def _is_finite(values: Any) -> bool:
    # Neither NaN nor infinity is lost in a sum, and it needs no memory.
    return bool(ops.isfinite(ops.sum(values)))
