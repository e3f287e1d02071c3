"""A run as it was asked for, before TensorFlow is imported."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sop_keras.data.datasets.by_name import DataFiles
from sop_keras.files.untrusted import opened_text
from sop_keras.training.execution import Execution
from sop_keras.training.experiment import Experiment
from sop_keras.training.run_folder import FIRST_RUN, RunFolder
from sop_keras.training.run_lock import check_not_locked

if TYPE_CHECKING:
    import tensorflow as tf

    from sop_keras.training.run import Run


@dataclass(frozen=True)
class PlannedRun:
    """What a run will be, and the folder that may hold it.

    Args:
        experiment: the settings.
        folder: where its files go.
        files: where its data set is.
        execution: how it is computed.

    Raises:
        RunFolderError: if the folder holds a run of other settings, or damaged files.
        LinkedFolderError: if a folder in it that would be written to is a link.
    """

    experiment: Experiment
    folder: Path
    files: DataFiles
    execution: Execution

    def __post_init__(self) -> None:
        self._own_files.check()

    @property
    def _own_files(self) -> RunFolder:
        return RunFolder(self.folder, self.experiment, self.files)

    @property
    def result(self) -> dict[str, Any] | None:
        """The run's result, or None while it is not complete."""
        return self._own_files.result

    def history(self) -> list[dict[str, float]]:
        """A row for each epoch that is done, from 1, of the training that counts."""
        before = self.experiment.total_epochs - self.experiment.epochs
        rows = _rows_of(self.folder)[before:]
        return [{**row, "epoch": epoch} for epoch, row in enumerate(rows, start=1)]

    def epochs_done(self) -> list[dict[str, float]]:
        """A row for each epoch that is done, of all that come before those, too."""
        return [*_rows_of(self.folder / FIRST_RUN), *_rows_of(self.folder)]

    @property
    def num_epochs(self) -> int:
        """How many epochs it takes to the end, those that come before included."""
        changes = self.experiment.method.first_run()
        if changes is None:
            return self.experiment.total_epochs
        plain = replace(self.experiment, weight_average="none", test_views="none")
        return self.experiment.total_epochs + replace(plain, **changes).total_epochs

    def check_not_running(self) -> None:
        """Check that the run may be trained: no process of this machine does.

        Of several machines, the first one locks the folder, so none is asked here.

        Raises:
            RunLockedError: if one does.
        """
        if self.result is None and self.execution.strategy != "multi_worker":
            check_not_locked(self.folder)

    def make(self, strategy: tf.distribute.Strategy | None = None) -> Run:
        """The run itself; TensorFlow is imported.

        Args:
            strategy: as `Run` takes it. Defaults to `None`: made when training starts.
        """
        from sop_keras.training.run import Run

        return Run(self.experiment, self.folder, self.files, self.execution, strategy)


def _rows_of(folder: Path) -> list[dict[str, float]]:
    """The rows of a run's `history.csv`; none before its first epoch."""
    try:
        with opened_text(folder / "history.csv") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        return []
    return [{name: float(cell) for name, cell in row.items() if cell} for row in rows]
