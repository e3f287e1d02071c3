"""The table of label issues, from a trained model and its training data."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from sop_keras.core.data_errors import DataError, clear_data_errors
from sop_keras.core.label_checks import check_indices
from sop_keras.core.prediction import batch_predictor
from sop_keras.core.training_data import unpack
from sop_keras.label_issues.scores import (
    check_choice,
    label_issues,
    not_begun,
    score_labels,
)
from sop_keras.methods.objective import log_probabilities

if TYPE_CHECKING:
    import pandas as pd

    from sop_keras.core.model import SOPModel

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

# Entries of predictions that are scored together; more examples than a batch has.
_ENTRIES_AT_ONCE = 1_000_000


class UniqueIds:
    """Sees to it that no id comes twice, batch by batch: one byte an example.

    That also ends a stream without an end.

    Args:
        num_examples: ids are in `[0, num_examples)`.
    """

    def __init__(self, num_examples: int):
        self._came = np.zeros(num_examples, bool)

    def add(self, ids: np.ndarray) -> None:
        """Take a batch of ids into account, integers `(n,)`.

        Raises:
            ValueError: if one has come already, or is out of range.
        """
        unique, counts = np.unique(
            check_indices(ids, len(self._came)), return_counts=True
        )
        counts = counts + self._came[unique]
        if (counts > 1).any():
            raise ValueError(
                f"Each example must come once, but the index {unique[counts > 1][0]} "
                f"came {counts.max()} times. Leave out repeat() and batches drawn at "
                "random."
            )
        self._came[unique] = True


class LabelScores:
    """The scores of labels, added up batch by batch: O(1) memory an example.

    Args:
        model: trained.

    Raises:
        ValueError: if the model has not been trained.
    """

    def __init__(self, model: SOPModel):
        if model.training_record.is_empty():
            raise ValueError(
                "The model has not been trained: u and v of all examples are where "
                "they started, and say nothing about labels. Call fit() first, or load "
                "the weights of a trained model."
            )
        self._model = model
        self._columns: list[dict[str, np.ndarray]] = []
        self._waiting: list[tuple[np.ndarray, ...]] = []
        self._ids = UniqueIds(model.num_examples)
        self._at_once = -(-_ENTRIES_AT_ONCE // model.num_classes)

    def add(self, outputs: np.ndarray, ids: np.ndarray, labels: np.ndarray) -> None:
        """Take a batch into account.

        Args:
            outputs: the network's, shape `(n, num_classes)`.
            ids: integers `(n,)`.
            labels: the given labels, integers `(n,)`.

        Raises:
            ValueError: if an id has come already, or is out of range.
        """
        self._ids.add(ids)
        self._waiting.append((outputs, ids, labels))
        if sum(len(ids) for _, ids, _ in self._waiting) >= self._at_once:
            self._score()

    def table(
        self, num_issues: int | None = None, issue_rate: float | None = None
    ) -> pd.DataFrame:
        """All that were added, in that order, with the columns `COLUMNS`.

        Args:
            num_issues: as of `label_issues`.
            issue_rate: as of `label_issues`.

        Raises:
            ValueError: if nothing was added, or for a wrong number of issues.
        """
        import pandas as pd

        if self._waiting:
            self._score()
        if not self._columns:
            raise ValueError("There are no examples: the data gave no batch.")
        columns = {
            name: np.concatenate([piece[name] for piece in self._columns])
            for name in self._columns[0]
        }
        columns["is_label_issue"] = label_issues(
            columns["label_quality"], num_issues, issue_rate
        )
        num_unknown = int(np.isnan(columns["label_quality"]).sum())
        if num_unknown:
            logger.warning(
                "%d of %d examples have never been in a training batch: nothing is "
                "known of their labels (label_quality and noise_score are NaN).",
                *(num_unknown, len(columns["id"])),
            )
        if (warning := not_begun(columns["noise_score"])) is not None:
            logger.warning(warning)
        return pd.DataFrame({name: columns[name] for name in COLUMNS})

    def _score(self) -> None:
        outputs, ids, labels = map(np.concatenate, zip(*self._waiting, strict=True))
        self._waiting = []
        if not np.isfinite(outputs).all():
            raise ValueError(
                "The network gives outputs that are NaN or infinite; nothing can be "
                "said about labels. Did its training diverge?"
            )
        model = self._model
        is_other = model.training_record.other_label(ids, labels)
        if is_other.any():
            raise ValueError(
                f"{is_other.sum()} of {len(ids)} examples were trained on under "
                f"another label: the first is index {ids[is_other][0]}, whose label is "
                f"{labels[is_other][0]} here. u and v know about the labels of fit() "
                "alone. Pass these, in the same order, or with their ids."
            )
        log_probs = log_probabilities(
            ops.cast(outputs, "float32"), from_logits=model.from_logits
        )
        noise = model.estimate_noise(ids, labels)
        columns = {"id": ids.astype(np.int64)}
        columns |= score_labels(ops.convert_to_numpy(log_probs), noise, labels)
        is_known = model.training_record.is_written(ids)
        for name in ("label_quality", "noise_score"):
            columns[name] = np.where(is_known, columns[name], np.nan)
        self._columns.append(columns)


def find_label_issues(
    model: SOPModel,
    x: Any,
    y: Any = None,
    batch_size: int = 128,
    num_issues: int | None = None,
    issue_rate: float | None = None,
) -> pd.DataFrame:
    """As `SOPModel.label_issues`."""
    check_choice(num_issues, issue_rate)
    check_batch_size(batch_size)
    scores = LabelScores(model)
    predict = batch_predictor(model)
    with clear_data_errors():
        for inputs, labels, ids in lookup_batches(model, x, y, batch_size):
            scores.add(np.asarray(predict(inputs)), ids, labels)
    return scores.table(num_issues, issue_rate)


def check_batch_size(batch_size: int) -> None:
    """Check how many examples are predicted at a time.

    Raises:
        ValueError: if that is no integer of at least 1.
    """
    if not (isinstance(batch_size, (int, np.integer)) and batch_size >= 1):
        raise ValueError(
            "`batch_size` must be an integer of at least 1. Received: "
            f"batch_size={batch_size!r}."
        )


def lookup_batches(
    model: SOPModel, x: Any, y: Any, batch_size: int
) -> Iterator[tuple[Any, np.ndarray, np.ndarray]]:
    """Inputs, labels and ids of data as `SOPModel.label_issues` takes them.

    Args:
        model: whose ids they are.
        x: arrays or a stream.
        y: for arrays, their labels, with ids or without.
        batch_size: for arrays.

    Yields:
        A batch: the network's inputs, and labels and ids, integers `(n,)`.

    Raises:
        ValueError: for data that `SOPModel.label_issues` refuses. Ids that come twice
            are not looked for: `UniqueIds`.
    """
    x, y = model.indexed_data(x, y)
    if y is not None:
        for start in range(0, len(y["index"]), batch_size):
            part = slice(start, start + batch_size)
            inputs = keras.tree.map_structure(lambda a, part=part: a[part], x)
            yield inputs, _integers(y["label"][part]), y["index"][part]
        return
    for batch in _elements(x):
        inputs, labels, ids, _ = unpack(batch)
        yield inputs, _integers(np.asarray(labels)), np.asarray(ids)


def _integers(labels: np.ndarray) -> np.ndarray:
    """Labels `(n,)` of such ones, or of one-hot rows."""
    return labels.argmax(axis=-1) if labels.ndim == 2 else labels


def _elements(x: Any) -> Iterator[Any]:
    if callable(x):  # gives the parts of replicas: of one, the whole batches
        x = x(tf.distribute.InputContext())
    if isinstance(x, tf.data.Dataset):
        if x.cardinality() == tf.data.INFINITE_CARDINALITY:
            raise DataError(
                "The data set has no end. Pass each example once: leave repeat() out."
            )
        yield from x
    elif isinstance(x, keras.utils.PyDataset):
        if x.num_batches is None:
            raise DataError(
                "The PyDataset has no end: its num_batches is None. Pass one that "
                "gives each example once."
            )
        yield from (x[place] for place in range(x.num_batches))
    else:  # a generator
        yield from x
