"""How far a training has come: what a checkpoint holds beside the model."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np


@dataclass(frozen=True)
class Progress:
    """A place in a training, between two batches.

    Args:
        seed: of the run.
        epoch: whole epochs done. Defaults to `0`.
        step: batches done of the epoch after those; 0 once it is done and evaluated.
            Defaults to `0`.
        seconds: spent in that epoch so far, interruptions left out. Defaults to `0.0`.
        history: a row of figures for each whole epoch. Defaults to none.
        metrics: the values of the metrics' variables, sums and counts over the epoch's
            batches so far (`metric_values`). Defaults to none: at an epoch's begin.
    """

    seed: int
    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    metrics: list[np.ndarray] = field(default_factory=list)

    def check(self) -> None:
        """Check the types of what was read from a file.

        Raises:
            ValueError: for values that no training has.
        """
        for name in ("seed", "epoch", "step"):
            value = getattr(self, name)
            if type(value) is not int or (value < 0 and name != "seed"):
                raise ValueError(f"its {name} is {value!r}")
        if not _is_number(self.seconds):
            raise ValueError(f"its seconds are {self.seconds!r}")
        rows = self.history if isinstance(self.history, list) else [None]
        for row in rows:
            if not isinstance(row, dict) or not all(
                value is None or _is_number(value) for value in row.values()
            ):
                raise ValueError("its history is no list of rows of numbers")

    def is_within(self, epochs: int, steps: int, columns: Set[str]) -> bool:
        """Whether it is a place of a training, with a row for each epoch before it.

        Args:
            epochs: of the training.
            steps: batches in an epoch.
            columns: what each row has, at least.
        """
        is_place = self.epoch <= epochs and self.step < steps
        return (
            is_place
            and len(self.history) == self.epoch
            and all(columns <= row.keys() for row in self.history)
        )

    def __str__(self) -> str:
        within = f" and batch {self.step} of the next" if self.step else ""
        return f"epoch {self.epoch}{within}"


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def metric_values(model: keras.Model) -> list[np.ndarray]:
    """What the metrics of a compiled model have added up."""
    return [variable.numpy() for variable in _variables(model)]


def restore_metrics(
    model: keras.Model, values: list[np.ndarray], num_classes: int
) -> None:
    """Have the metrics go on from values that `metric_values` gave.

    Args:
        model: compiled.
        values: as given.
        num_classes: K, of the model's outputs `(batch_size, K)`.
    """
    if len(_variables(model)) < len(values):
        # Keras makes those of compile()'s metrics when it first updates them.
        model.compute_metrics(
            None, np.zeros(1, np.int64), np.zeros((1, num_classes), np.float32)
        )
    for variable, value in zip(_variables(model), values, strict=True):
        variable.assign(value)


def _variables(model: keras.Model) -> list[Any]:
    return [variable for metric in model.metrics for variable in metric.variables]
