"""Where a run's data are now, as flags say it."""

from __future__ import annotations

import dataclasses
import os

import flags_of
from absl import flags

from sop_keras.data.datasets.by_name import NOT_RECORDED, DataFiles, is_fetched
from sop_keras.settings import flag_of
from sop_keras.training.saved_run import recorded_files


def files_of_run(values: flags.FlagValues, folder: str | os.PathLike[str]) -> DataFiles:
    """Where a run's data were in training, but for what the flags say otherwise.

    Raises:
        RunFolderError: if the run's data.json is damaged.
    """
    given = {
        one.name: flags_of.value_of(values, one)
        for one in flags_of.fields_of(DataFiles)
        if flags_of.is_given(values, flag_of(one))
    }
    return dataclasses.replace(recorded_files(folder), **given)


def limits_given(files: DataFiles) -> list[str]:
    """The flags that a command on a run needs again, as its folder does not say them.

    Args:
        files: where the run's data set is.
    """
    return [
        flags_of.written(one, getattr(files, one.name))
        for one in flags_of.fields_of(DataFiles)
        if one.name in NOT_RECORDED and getattr(files, one.name) != one.default
    ]


def limits_of_run(files: DataFiles, dataset: str) -> list[str]:
    """The same, with leave to fetch the data set that the run has just been allowed.

    Args:
        files: where the run's data set is.
        dataset: its name.
    """
    words = limits_given(files)
    if files.may_fetch is None and is_fetched(dataset):
        words.append(f"--may_fetch={dataset}")
    return words
