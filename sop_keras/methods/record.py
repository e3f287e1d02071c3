"""Records: what is known of a method before Keras is imported.

A method is two files of this folder: `NAME.py` with its mathematics, and
`NAME_record.py` with its `RECORD`: name, title, and a dataclass of its settings. All
that a launcher, a run's folder or a report must know of a method is in the record.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sop_keras.label_issues.doubts import Doubt, Evidence, general_doubts
from sop_keras.settings import check_settings


@dataclass(frozen=True)
class MethodSettings:
    """The hyper-parameters of a method in a run; made of fields by `setting`.

    Raises:
        ValueError: for a value that its field does not allow.
    """

    def __post_init__(self) -> None:
        check_settings(self)

    @property
    def second_view(self) -> str | None:
        """The augmentation of a second view; None where there is one view alone."""
        return None

    @property
    def num_trainings(self) -> int:
        """How often all epochs of a run are trained, the last time for the result."""
        return 1

    def rate_factors(self, epochs: int) -> Sequence[float] | None:
        """Factors on the network's learning rate, one an epoch; None for none.

        Args:
            epochs: of the run.
        """
        return None

    def first_run(self) -> Mapping[str, Any] | None:
        """The settings that differ in the run that must come before; None for none.

        It is a run of its own, of another method, on the same data.
        """
        return None

    def arguments_of_first(self, model: Any) -> dict[str, Any]:
        """The arguments of the method's class that the run before has found.

        Args:
            model: of that run, as it ended.
        """
        return {}

    def arguments(
        self, given_labels: np.ndarray, num_classes: int, is_balanced: bool
    ) -> dict[str, Any]:
        """The arguments of the method's class.

        Args:
            given_labels: of the training examples, integers `(n,)`.
            num_classes: K.
            is_balanced: whether each epoch has equally many examples of each class.
        """
        return dataclasses.asdict(self)

    def doubts(self, evidence: Evidence) -> tuple[Doubt, ...]:
        """Why the findings of a run are not to be trusted, as of the method's class.

        Args:
            evidence: what is known of its training.
        """
        return general_doubts(evidence)


@dataclass(frozen=True)
class MethodRecord:
    """A method as the launcher, runs and reports know it.

    Args:
        name: of `--method`, and in a run's files.
        title: as the paper's tables and reports write it.
        paper: where it was published.
        settings: the dataclass of its settings.
        method: its class, as `"module:Class"`.
        finds_label_issues: whether it tells wrong labels from right ones. Defaults to
            `True`.
        noise_score: what the column `noise_score` of its label issues is, as text.
            Defaults to that of a method that finds none.
    """

    name: str
    title: str
    paper: str
    settings: type[MethodSettings]
    method: str
    finds_label_issues: bool = True
    noise_score: str = "cross entropy"

    @property
    def class_name(self) -> str:
        """The name of its class, as `sop_keras.methods` has it."""
        return self.method.partition(":")[2]

    def load(self) -> type[Any]:
        """Its class; Keras is imported."""
        module, _, name = self.method.partition(":")
        return getattr(importlib.import_module(module), name)

    def settings_from(self, values: Mapping[str, Any]) -> MethodSettings:
        """Its settings, out of values by name; others are left out."""
        names = [one.name for one in dataclasses.fields(self.settings)]
        return self.settings(**{name: values[name] for name in names if name in values})
