"""The files that say what run a folder holds."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import Field, asdict, fields
from pathlib import Path
from typing import Any, Protocol

from sop_keras.data.datasets.by_name import NOT_RECORDED, DataFiles
from sop_keras.files.atomic import write_atomically
from sop_keras.files.folders import check_not_linked
from sop_keras.files.untrusted import read_text
from sop_keras.settings import flag_of
from sop_keras.training.experiment import Experiment, settings_of
from sop_keras.training.experiment_data import ExperimentData
from sop_keras.training.result_types import damage_of, shortened

# Of `data.json`: values that say nothing to a reader.
_DIGESTS = ("ids", "labels", "file_names")
# Of `DataFiles`: what names a file or a folder, and what lists the examples.
_PATHS = ("data_dir", "human_labels", "imagenet_dir", "manifest", "test_manifest")
SUGGESTED = "suggested.json"
LABEL_ISSUES = "label_issues.csv"
FIRST_RUN = "first_run"
# Of `data.json`: with what images are standardised, which earlier versions do not say.
_SCALE = "standardised"
_TABLES = ("manifest", "test_manifest")
# What training writes into, below the run's folder.
_FOLDERS = (
    *("checkpoints", "table", "tensorboard/train", "tensorboard/validation"),
    FIRST_RUN,
)
MAX_JSON_BYTES = 2**26


class RunFolderError(ValueError):
    """A folder that does not hold this run, or holds it damaged."""


class Described(Protocol):
    """Data that say what they are: `ExperimentData`, or rows of features."""

    def description(self) -> dict[str, Any]:
        """What other data do not have, by name, as JSON knows it."""


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
        return read_result(self.path)

    def write_result(self, result: dict[str, Any]) -> None:
        """Write `result.json`: the run is complete."""
        write_atomically(self.path / "result.json", json.dumps(result, indent=2))

    @property
    def suggested(self) -> dict[str, Any]:
        """Settings that an earlier version suggested as the run began, by name."""
        suggested = read_suggested(self.path)
        known = {one.name for one in fields(self._experiment.method)}
        if unknown := suggested.keys() - known:
            raise RunFolderError(
                f"{self.path / SUGGESTED} is damaged: {self._experiment.record.title} "
                f"has no setting {shortened(min(unknown))}. Put a good copy there."
            )
        return suggested

    def begin(self, data: ExperimentData) -> None:
        """Make the folder, with the files that say what run it holds.

        Args:
            data: what the run is trained on.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        contents = {
            "config.json": self._experiment.settings(),
            "data.json": {
                **data.description(),
                "files": recorded(self._files),
                _SCALE: {
                    "mean": [float(one) for one in data.dataset.mean],
                    "std": [float(one) for one in data.dataset.std],
                },
            },
        }
        for name, content in contents.items():
            write_atomically(self.path / name, json.dumps(content, indent=2))

    def check(self) -> None:
        """Check that the folder may hold this run, before anything is loaded.

        Raises:
            RunFolderError: if it holds a run of other settings, or damaged files.
            LinkedFolderError: if a folder in it that training writes to is a link.
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
        # Damaged: better said now than after hours of training.
        if self.result is None:
            for name in _FOLDERS:
                check_not_linked(self.path / name, inside=self.path)

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
        there = read_files(self.path)
        now = recorded(self._files)
        for name in _TABLES:
            path = now[name]
            if there and there.get(name) != path:
                raise RunFolderError(
                    f"{self.path} holds a complete run on another table ({name}: "
                    f"{shortened(there.get(name))} there, {path!r} now). Choose "
                    "another folder."
                )


def recorded(files: DataFiles) -> dict[str, Any]:
    """Where the data are, as `data.json` has it: the same from any directory."""
    options = {k: v for k, v in asdict(files).items() if k not in NOT_RECORDED}
    for name in _PATHS:
        path = options[name]
        if path is not None and (name, path) != ("imagenet_dir", "none"):
            options[name] = os.path.abspath(path)
    return options


def data_differences(there: dict[str, Any], data: Described) -> list[str]:
    """What of `data` is not as a run's `data.json` says; empty for the run's data.

    Args:
        there: the content of `data.json`.
        data: what was loaded now.
    """
    # As long as they say the same, they may have moved.
    there = {k: value for k, value in there.items() if k not in ("files", _SCALE)}
    now = data.description()
    # Of other examples, the ids and labels are others as well.
    digests = {name: (there.pop(name, None), now.pop(name, None)) for name in _DIGESTS}
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
            changed.append(_class_difference(one, other or []))
        else:
            flag = flag_of(known[name]) if known and name in known else name
            shown = name if flag == name else f"{name} (--{flag})"
            changed.append(f"{shown}: {shortened(one)} there, {shortened(other)} now")
    return changed


def _class_difference(there: Any, now: list[str]) -> str:
    if not isinstance(there, list):
        return f"class_names: {shortened(there)} there"
    if len(there) != len(now):
        return f"{len(there)} classes there, {len(now)} now"
    number = next(i for i, one in enumerate(there) if one != now[i])
    return f"class {number}: {shortened(there[number])} there, {now[number]!r} now"


def read_result(folder: Path) -> dict[str, Any] | None:
    """What a run's `result.json` says; None while the run is not complete.

    Raises:
        RunFolderError: if it is damaged, or says what no run does.
    """
    path = folder / "result.json"
    result = read_json(path)
    if result is not None and (damage := damage_of(result)) is not None:
        raise RunFolderError(f"{path} is damaged: {damage}. Put a good copy there.")
    return result


def read_suggested(folder: Path) -> dict[str, Any]:
    """Settings that an earlier version suggested as a run began, by name.

    Raises:
        RunFolderError: if the file is damaged.
    """
    suggested = read_json(folder / SUGGESTED) or {}
    for name, value in suggested.items():
        if type(value) not in (int, float):
            raise RunFolderError(
                f"{folder / SUGGESTED} is damaged: its {shortened(name)} is "
                f"{shortened(value)}, not a number. Put a good copy there."
            )
    return suggested


def read_scale(folder: Path) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Means and standard deviations that a run's images are standardised with.

    Returns:
        One of each a channel, of pixel values scaled to [0, 1]; or None where the
        folder does not say them.

    Raises:
        RunFolderError: if its `data.json` is damaged.
    """
    path = folder / "data.json"
    scale = (read_json(path) or {}).get(_SCALE)
    if scale is None:
        return None
    match scale:
        case {"mean": [*mean], "std": [*std]} if len(mean) == len(std) > 0:
            numbers = [*mean, *std]
            # Integers may be larger than any float; and NaN is below nothing.
            are_good = all(type(x) in (int, float) and abs(x) < 2**64 for x in numbers)
            if are_good and min(std) > 0:
                return tuple(mean), tuple(std)
    raise RunFolderError(
        f'{path} is damaged: its "{_SCALE}" is {shortened(scale)}, not a mean and a '
        "standard deviation of each channel. Put a good copy there."
    )


def read_files(folder: Path) -> dict[str, Any]:
    """Where a run's data were, as its `data.json` has it; nothing if it has not.

    Raises:
        RunFolderError: if it is damaged.
    """
    path = folder / "data.json"
    there = (read_json(path) or {}).get("files", {})
    if not isinstance(there, dict):
        raise RunFolderError(
            f'{path} is damaged: its "files" is {shortened(there)}, not a JSON object. '
            "Put a good copy there."
        )
    return there


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file of a run's folder; None where there is no file.

    Raises:
        RunFolderError: if it is damaged, of more than 64 MiB, or no regular file.
    """
    try:
        content = json.loads(read_text(path, MAX_JSON_BYTES))
    except FileNotFoundError:
        return None
    except RecursionError:
        raise RunFolderError(
            f"{path} cannot be read as JSON: its objects are nested too deep. Put a "
            "good copy there, or choose another folder; nothing in it was changed."
        ) from None
    except (OSError, ValueError) as error:
        raise RunFolderError(
            f"{path} cannot be read as JSON: {error}. Put a good copy there, or choose "
            "another folder; nothing in it was changed."
        ) from None
    if not isinstance(content, dict):
        raise RunFolderError(f"{path} is not a JSON object. Choose another folder.")
    return content
