"""The figures that the paper has for an experiment."""

from __future__ import annotations

import dataclasses
import functools

import train_flags
from paper import TABLES, Figure

from sop_keras.training.experiment import Experiment


def published(experiment: Experiment) -> Figure | None:
    """The paper's figure of test accuracy; None for settings that are not the paper's.

    Args:
        experiment: of any seed.
    """
    return _figures().get(dataclasses.replace(experiment, seed=0))


@functools.cache
def _figures() -> dict[Experiment, Figure]:
    """The figures of all tables, by the settings of their flagfiles."""
    found = {}
    for table in TABLES.values():
        for cell in table.cells:
            if table.unit != "%" or cell.column.test != "test":
                continue
            values = train_flags.parsed(cell.arguments)
            experiment = train_flags.experiment(values, values.method[0])
            found[dataclasses.replace(experiment, seed=0)] = cell.published
    return found
