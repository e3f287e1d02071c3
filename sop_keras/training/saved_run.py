"""A complete run, read back from its folder, with the data it was trained on."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sop_keras import methods
from sop_keras.data.datasets.by_name import (
    DataFiles,
    check_not_fetched,
    check_recorded_path,
)
from sop_keras.files.untrusted import opened_text, read_text
from sop_keras.label_issues.doubts import Evidence, largest_of
from sop_keras.label_issues.export import read_label_issues
from sop_keras.training.experiment import Experiment
from sop_keras.training.experiment_data import ExperimentData, load_data
from sop_keras.training.result_types import shortened
from sop_keras.training.run_folder import (
    LABEL_ISSUES,
    MAX_JSON_BYTES,
    RunFolderError,
    data_differences,
    read_files,
    read_json,
    read_result,
    read_suggested,
    recorded,
)

if TYPE_CHECKING:
    import pandas as pd

_MAX_HISTORY_BYTES = 2**26

_SAY_WHERE = (
    "Say where its data are now: --data_dir=FOLDER (and --manifest, --human_labels or "
    "--imagenet_dir, if they are used) to a launcher, `files` to `load_run`."
)


@dataclass(frozen=True)
class SavedRun:
    """A complete run and its data; made by `load_run`.

    Args:
        folder: the run's folder.
        experiment: the settings.
        data: what it was trained on.
        history: a dict an epoch, of `history.csv`.
        result: the content of `result.json`.
    """

    folder: Path
    experiment: Experiment
    data: ExperimentData
    history: list[dict[str, float]]
    result: dict[str, Any]

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name a class, in label order."""
        return self.data.dataset.class_names

    @property
    def is_audit(self) -> bool:
        """Whether it is of a head on a frozen network's features, and no training."""
        return "features" in self.result

    def label_issues(self) -> pd.DataFrame:
        """The run's table of label issues, as `read_label_issues` gives it.

        Raises:
            FileNotFoundError: if it has none.
            ValueError: if it is damaged.
        """
        path = self.folder / LABEL_ISSUES
        record = self.experiment.record
        if not record.finds_label_issues and not path.is_file():
            raise FileNotFoundError(
                f"There is no {path}: {record.title} finds no wrong labels. Train with "
                f"--method={methods.DEFAULT}."
            )
        return read_label_issues(path)

    def doubts(self) -> list[str]:
        """Why the table of label issues is not to be trusted; empty if it is.

        Raises:
            FileNotFoundError: if it has none.
            ValueError: if it is damaged.
        """
        if (said := self.result.get("doubts")) is not None:
            return said
        # A run of an earlier version, which said less.
        scores = self.label_issues()["noise_score"].to_numpy()
        evidence = Evidence(largest_score=largest_of(scores))
        return [one.text for one in self.experiment.method.doubts(evidence)]


def load_run(
    folder: str | os.PathLike[str],
    files: DataFiles | None = None,
    data: ExperimentData | None = None,
) -> SavedRun:
    """Read a complete run, and load the data it was trained on.

    Args:
        folder: the run's folder.
        files: where the data set is. Defaults to `None`: where it was when the run was
            trained (`recorded_files`).
        data: of the run, where they are loaded already. Defaults to `None`: they are
            loaded.

    Raises:
        FileNotFoundError: if the folder is not that of a run, or the data set is not to
            be found.
        RunFolderError: if the run is not complete, its files are damaged, its settings
            are not those of an experiment, or the data are not those that it was
            trained on.
    """
    folder = Path(folder)
    settings = run_settings(folder)
    result = read_result(folder)
    history = _history(folder / "history.csv")
    if result is None or history is None:
        missing = "result.json" if result is None else "history.csv"
        raise RunFolderError(
            f"There is no {folder / missing}: the run is not complete. The command "
            "that started it finishes it."
        )
    suggested = read_suggested(folder)
    method_of(folder, settings)
    try:
        experiment = Experiment.from_settings({**settings, **suggested})
    except ValueError as error:
        raise RunFolderError(f"{folder / 'config.json'}: {error}") from None
    if data is None:
        data = _load(folder, experiment, files or recorded_files(folder))
    there = read_json(folder / "data.json")
    changed = [] if there is None else data_differences(there, data)
    if changed:
        raise RunFolderError(
            f"These are not the data that {folder} was trained on "
            f"({'; '.join(changed)}). {_SAY_WHERE}"
        )
    return SavedRun(folder, experiment, data, history, result)


def _load(folder: Path, experiment: Experiment, files: DataFiles) -> ExperimentData:
    check_not_fetched(experiment.dataset, folder, files)
    try:
        return load_data(experiment, files)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"The data of the run {folder} are not where they are looked for. {error} "
            f"{_SAY_WHERE}"
        ) from None


def run_settings(folder: Path) -> dict[str, Any]:
    """What a run's config.json says.

    Raises:
        FileNotFoundError: if the folder does not have it.
        RunFolderError: if it is damaged.
    """
    path = folder / "config.json"
    if not path.is_file():
        runs = sorted(one.parent.name for one in folder.glob("*/config.json"))
        reason = "it has no config.json" if folder.exists() else "it does not exist"
        mend = (
            f"It holds runs, choose one: {', '.join(runs)}."
            if runs
            else "Give the folder that the training printed, such as "
            f"runs/digits-seed0/{methods.DEFAULT}."
        )
        raise FileNotFoundError(
            f"{folder} is not the folder of a run: {reason}. {mend}"
        )
    try:
        settings = json.loads(read_text(path, MAX_JSON_BYTES))
    except RecursionError:
        raise RunFolderError(f"{path} is no JSON object: it is too deep.") from None
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path} is no JSON object: {error}.") from None
    if not isinstance(settings, dict):
        raise RunFolderError(f"{path} is no JSON object: {shortened(settings)}.")
    return settings


def method_of(folder: Path, settings: dict[str, Any]) -> methods.MethodRecord:
    """The record of a run's method.

    Args:
        folder: the run's folder.
        settings: what its config.json says.

    Raises:
        RunFolderError: if it names no method, or one that is not known here.
    """
    path = folder / "config.json"
    if "method" not in settings:
        raise RunFolderError(
            f'{path} has no "method": these are not the settings of an experiment. '
            "Put a good copy there."
        )
    name = settings["method"]
    if name not in methods.names():
        raise RunFolderError(
            f"{path} was written by the method {shortened(name)}, which is not "
            "registered here: import the module that registers it "
            "(sop_keras.methods.register), then "
            "call sop_keras.write_report in that process. "
            f"Known here: {', '.join(methods.names())}."
        )
    return methods.record(name)


def recorded_files(folder: str | os.PathLike[str]) -> DataFiles:
    """Where a run's data were when it was trained.

    Args:
        folder: the run's folder.

    Raises:
        RunFolderError: if its data.json is damaged.
    """
    there = read_files(Path(folder))
    # Folders of earlier versions do not have all of them.
    known = recorded(DataFiles())
    for name in known:
        check_recorded_path(name, there.get(name), folder)
    try:
        return DataFiles(**{name: there[name] for name in known if name in there})
    except ValueError as error:
        raise RunFolderError(
            f"{Path(folder) / 'data.json'} is damaged: {error} Put a good copy there."
        ) from None


def _history(path: Path) -> list[dict[str, float]] | None:
    """The rows of history.csv, without cells that an epoch left empty."""
    try:
        with opened_text(path, _MAX_HISTORY_BYTES) as file:
            rows = list(csv.DictReader(file))
        if not rows:
            raise ValueError("it has no row, not even of one epoch")
        if not all(row.get("epoch") for row in rows):
            raise ValueError("it has a row without its epoch")
        return [
            {name: float(cell) for name, cell in row.items() if cell} for row in rows
        ]
    except FileNotFoundError:
        return None
    except (OSError, TypeError, ValueError, csv.Error) as error:
        raise RunFolderError(
            f"{path} cannot be read: {error}. Put a good copy there."
        ) from None
