"""The files that say what run a folder holds."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import Field, asdict
from pathlib import Path
from typing import Any

from sop_keras.data.datasets.by_name import DataFiles
from sop_keras.files.atomic import write_atomically
from sop_keras.settings import flag_of
from sop_keras.training.experiment import Experiment, settings_of
from sop_keras.training.experiment_data import ExperimentData

# Of `data.json`: values that say nothing to a reader.
_DIGESTS = ("ids", "labels", "file_names")
# Of `DataFiles`: what names a file or a folder, and what lists the examples.
_PATHS = ("data_dir", "human_labels", "imagenet_dir", "manifest", "test_manifest")
SUGGESTED = "suggested.json"
LABEL_ISSUES = "label_issues.csv"
FIRST_RUN = "first_run"
_TABLES = ("manifest", "test_manifest")


class RunFolderError(ValueError):
    """A folder that does not hold this run, or holds it damaged."""


class RunFolder:
    """`config.json`, `data.json` and `result.json` of one run.

    Args:
        path: the folder; it need not be there.
        experiment: the settings of the run.
        files: where its data set is.
    """

    def __init__(self, path: Path, experiment: Experiment, files: DataFiles):
        self.path = path
        self._experiment = experiment
        self._files = files

    @property
    def result(self) -> dict[str, Any] | None:
        """What `result.json` says, or None while the run is not complete."""
        return read_json(self.path / "result.json")

    def write_result(self, result: dict[str, Any]) -> None:
        """Write `result.json`: the run is complete."""
        write_atomically(self.path / "result.json", json.dumps(result, indent=2))

    @property
    def suggested(self) -> dict[str, Any]:
        """Settings that an earlier version suggested as the run began, by name."""
        return read_json(self.path / SUGGESTED) or {}

    def begin(self, data: ExperimentData) -> None:
        """Make the folder, with the files that say what run it holds.

        Args:
            data: what the run is trained on.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        contents = {
            "config.json": self._experiment.settings(),
            "data.json": {**data.description(), "files": recorded(self._files)},
        }
        for name, content in contents.items():
            write_atomically(self.path / name, json.dumps(content, indent=2))

    def check(self) -> None:
        """Check that the folder may hold this run, before anything is loaded.

        Raises:
            RunFolderError: if it holds a run of other settings, or damaged files.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RunFolderError(f"{self.path} is a file; a run needs a folder.")
        config = read_json(self.path / "config.json")
        if config is None:
            leftovers = [
                name
                for name in ("result.json", "history.csv", "checkpoints")
                if (self.path / name).exists()
            ]
            if leftovers:
                raise RunFolderError(
                    f"{self.path} has {', '.join(leftovers)} but no config.json that "
                    "says what run that is. Choose another folder, or remove it."
                )
            return
        config = Experiment.completed(config)
        now = self._experiment.settings()
        known = {**settings_of(config.get("method")), **settings_of(now["method"])}
        changed = _differences(config, now, known)
        if changed:
            raise RunFolderError(
                f"{self.path} holds a run of other settings ({'; '.join(changed)}). "
                "Choose another folder, remove it to train anew, or give the flags as "
                "they were."
            )
        _ = self.result  # damaged: better said now than after hours of training

    def check_data(self, data: ExperimentData) -> None:
        """Check that the data are those that a run in the folder began with.

        Raises:
            RunFolderError: for other data.
        """
        there = read_json(self.path / "data.json")
        changed = [] if there is None else data_differences(there, data)
        if changed:
            raise RunFolderError(
                f"{self.path} holds a run on other data ({'; '.join(changed)}). Choose "
                "another folder, or remove it to train anew."
            )

    def check_tables(self) -> None:
        """Check that a complete run is not taken for one on another table.

        Raises:
            RunFolderError: for another table.
        """
        there = (read_json(self.path / "data.json") or {}).get("files", {})
        now = recorded(self._files)
        for name in _TABLES:
            path = now[name]
            if there and there.get(name) != path:
                raise RunFolderError(
                    f"{self.path} holds a complete run on another table ({name}: "
                    f"{there.get(name)} there, {path} now). Choose another folder."
                )


def recorded(files: DataFiles) -> dict[str, Any]:
    """Where the data are, as `data.json` has it: the same from any directory."""
    options = asdict(files)
    for name in _PATHS:
        path = options[name]
        if path is not None and (name, path) != ("imagenet_dir", "none"):
            options[name] = os.path.abspath(path)
    return options


def data_differences(there: dict[str, Any], data: ExperimentData) -> list[str]:
    """What of `data` is not as a run's `data.json` says; empty for the run's data.

    Args:
        there: the content of `data.json`.
        data: what was loaded now.
    """
    # As long as they say the same, they may have moved.
    there = {name: value for name, value in there.items() if name != "files"}
    now = data.description()
    # Of other examples, the ids and labels are others as well.
    digests = {name: (there.pop(name, None), now.pop(name)) for name in _DIGESTS}
    return _differences(there, now) or [
        f"other {name.replace('_', ' ')}"
        for name, (one, other) in digests.items()
        if one != other
    ]


def _differences(
    there: dict[str, Any],
    now: dict[str, Any],
    known: Mapping[str, Field[Any]] | None = None,
) -> list[str]:
    """What differs, by name, with both values; of known settings, the flags too."""
    changed = []
    for name in sorted({*there, *now}):
        one, other = there.get(name), now.get(name)
        if one == other:
            continue
        if name == "class_names":
            changed.append(_class_difference(one or [], other or []))
        else:
            flag = flag_of(known[name]) if known and name in known else name
            shown = name if flag == name else f"{name} (--{flag})"
            changed.append(f"{shown}: {one!r} there, {other!r} now")
    return changed


def _class_difference(there: list[str], now: list[str]) -> str:
    if len(there) != len(now):
        return f"{len(there)} classes there, {len(now)} now"
    number = next(i for i, one in enumerate(there) if one != now[i])
    return f"class {number}: {there[number]!r} there, {now[number]!r} now"


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file of a run's folder; None where there is no file.

    Raises:
        RunFolderError: if it is damaged.
    """
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RunFolderError(
            f"{path} cannot be read as JSON: {error}. Put a good copy there, or choose "
            "another folder; nothing in it was changed."
        ) from None
    if not isinstance(content, dict):
        raise RunFolderError(f"{path} is not a JSON object. Choose another folder.")
    return content
