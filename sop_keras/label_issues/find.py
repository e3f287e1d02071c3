"""The table of label issues, from a trained model and its training data."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sop_keras.label_issues.choice import check_choice, label_issues
from sop_keras.label_issues.decisions import DECISION
from sop_keras.label_issues.doubts import Doubt, Evidence, largest_of

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

COLUMNS = (
    "id",
    "given_label",
    "suggested_label",
    "label_quality",
    "noise_score",
    "given_label_prob",
    "suggested_label_prob",
    "is_label_issue",
)

MORE_COLUMNS = (DECISION, "outlier_score", "is_outlier", "duplicate_group")
"""What an audit knows beside: files have these, too; `decision` alone is read back."""

LEAST_LOG_PROB = np.log(1e-300)
"""The floor of logarithms of probabilities."""

# Entries of predictions that are scored together; more examples than a batch has.
_ENTRIES_AT_ONCE = 1_000_000


class TrainedModel(Protocol):
    """What is asked of a model: all of it is in `NoisyLabelModel`."""

    method: Any
    tables: Any
    training_record: Any
    num_examples: int
    num_classes: int

    def evidence(self) -> Evidence:
        """What is known of its training."""

    def shared_values(self) -> dict[str, np.ndarray]:
        """The variables that its method keeps beside the tables, by name."""

    def log_probs(self, outputs: np.ndarray) -> np.ndarray:
        """Logarithms of the probabilities in outputs, `(n, num_classes)`."""

    def looked_up(
        self, x: Any, y: Any, batch_size: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Outputs, labels and ids, batch by batch."""


class LabelScores:
    """The scores of labels, added up batch by batch: O(1) memory an example.

    Args:
        model: trained.

    Attributes:
        doubts: why they are not to be trusted, once there is a `table`.

    Raises:
        ValueError: if the model has not been trained, or its method finds no label
            issues.
    """

    def __init__(self, model: TrainedModel):
        if not model.method.finds_label_issues:
            raise ValueError(
                f"{type(model.method).__name__} finds no wrong labels: it has no rows "
                "for examples that would tell. Train with a method that does, such as "
                "SOP."
            )
        if model.training_record.is_empty():
            raise ValueError(
                "The model has not been trained: the rows of all examples are where "
                "they started, and say nothing about labels. Call fit() first, or load "
                "the weights of a trained model."
            )
        self.doubts: tuple[Doubt, ...] = ()
        self._model = model
        self._columns: list[dict[str, np.ndarray]] = []
        self._waiting: list[tuple[np.ndarray, ...]] = []
        self._at_once = -(-_ENTRIES_AT_ONCE // model.num_classes)

    def add(self, outputs: np.ndarray, ids: np.ndarray, labels: np.ndarray) -> None:
        """Take a batch into account.

        Args:
            outputs: the network's, shape `(n, num_classes)`.
            ids: integers `(n,)`, none of which has come already.
            labels: the given labels, integers `(n,)`.
        """
        self._waiting.append((outputs, ids, labels))
        if sum(len(ids) for _, ids, _ in self._waiting) >= self._at_once:
            self._score()

    def table(
        self, num_issues: int | None = None, issue_rate: float | None = None
    ) -> pd.DataFrame:
        """All that were added, in that order, with the columns `COLUMNS`.

        Of a training that is not to be trusted, no label is marked without a number.

        Args:
            num_issues: as of `label_issues`.
            issue_rate: as of `label_issues`.

        Raises:
            ValueError: for a wrong number of issues.
        """
        import pandas as pd

        if self._waiting:
            self._score()
        columns = {
            name: np.concatenate([piece[name] for piece in self._columns])
            for name in self._columns[0]
        }
        columns["is_label_issue"] = label_issues(
            columns["label_quality"],
            num_issues,
            issue_rate,
            columns.pop("is_trusted"),
        )
        num_unknown = int(np.isnan(columns["label_quality"]).sum())
        if num_unknown:
            logger.warning(
                "%d of %d examples have never been in a training batch, or with the "
                "weight 0 alone: nothing is known of their labels (label_quality and "
                "noise_score are NaN).",
                *(num_unknown, len(columns["id"])),
            )
        self.doubts = self._doubts(columns["noise_score"])
        for doubt in self.doubts:
            logger.warning(doubt.text)
        if self.doubts and num_issues is None and issue_rate is None:
            columns["is_label_issue"][:] = False
            logger.warning(
                "So no label is marked: num_issues or issue_rate marks those of the "
                "lowest label_quality all the same."
            )
        return pd.DataFrame({name: columns[name] for name in COLUMNS})

    def _doubts(self, noise_scores: np.ndarray) -> tuple[Doubt, ...]:
        """The method's, of the whole training: what was added may be a part of it."""
        evidence = self._model.evidence()
        largest = max(evidence.largest_score, largest_of(noise_scores))
        return self._model.method.doubts(replace(evidence, largest_score=largest))

    def _score(self) -> None:
        outputs, ids, labels = map(np.concatenate, zip(*self._waiting, strict=True))
        self._waiting = []
        model = self._model
        is_other = model.training_record.other_label(ids, labels)
        if is_other.any():
            raise ValueError(
                f"{is_other.sum()} of {len(ids)} examples were trained on under "
                f"another label: the first is index {ids[is_other][0]}, whose label is "
                f"{labels[is_other][0]} here. The rows know about the labels of fit() "
                "alone. Pass these, in the same order, or with their ids."
            )
        log_probs = model.log_probs(outputs)
        rows = {name: np.asarray(one) for name, one in model.tables.rows(ids).items()}
        method = model.method.knowing(model.shared_values())
        scores = method.scores(log_probs, rows, labels)
        log_probs = np.maximum(log_probs.astype(np.float64), LEAST_LOG_PROB)
        places = np.arange(len(labels))
        columns = {
            "id": ids.astype(np.int64),
            "given_label": labels.astype(np.int64),
            "given_label_prob": np.exp(log_probs[places, labels]),
            "suggested_label_prob": np.exp(
                log_probs[places, scores["suggested_label"]]
            ),
            **scores,
        }
        is_known = model.training_record.is_written(ids)
        for name in ("label_quality", "noise_score"):
            columns[name] = np.where(is_known, columns[name], np.nan)
        is_trusted = np.asarray(model.training_record.is_trusted(ids))[:, 0]
        columns["is_trusted"] = is_trusted
        columns["label_quality"] = np.where(is_trusted, 1.0, columns["label_quality"])
        # Its rows are kept neutral: they say nothing.
        columns["noise_score"] = np.where(is_trusted, np.nan, columns["noise_score"])
        self._columns.append(columns)


def find_label_issues(
    model: TrainedModel,
    x: Any,
    y: Any = None,
    batch_size: int = 128,
    num_issues: int | None = None,
    issue_rate: float | None = None,
) -> pd.DataFrame:
    """As `NoisyLabelModel.label_issues`."""
    check_choice(num_issues, issue_rate)
    scores = LabelScores(model)
    for outputs, labels, ids in model.looked_up(x, y, batch_size):
        scores.add(outputs, ids, labels)
    return scores.table(num_issues, issue_rate)
