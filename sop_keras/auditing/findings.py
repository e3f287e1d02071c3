"""Wrong labels by features: from features and labels to a table."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sop_keras.auditing.feature_rows import ArrayRows, FeatureRows, blocks
from sop_keras.auditing.head import Head, HeadProgress, train_head
from sop_keras.auditing.head_settings import HeadSettings
from sop_keras.auditing.judgement import Judgement, judge
from sop_keras.label_issues.decisions import DECISION, NO_LABEL, Decisions
from sop_keras.label_issues.doubts import Doubt
from sop_keras.label_issues.find import COLUMNS, LabelScores

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

LEAST_EXAMPLES = 20
"""Of fewer, nothing is said."""


@dataclass(frozen=True)
class Findings:
    """What is found in n labels.

    Args:
        table: a row an example, in the order of the examples: the columns of label
            issues, and `decision`, what a person decided, or nothing.
        head: that was trained.
        judgement: what it says of the labels that nobody removed.
        num_wrong: how many labels are wrong, as far as it can be estimated; those that
            a person has decided on are counted as decided.
        num_wrong_interval: the lower and the higher estimate.
        doubts: why all this is not to be trusted; none if it is.
    """

    table: pd.DataFrame
    head: Head
    judgement: Judgement
    num_wrong: float
    num_wrong_interval: tuple[float, float]
    doubts: tuple[Doubt, ...]


def find_wrong_labels(
    features: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    *,
    ids: np.ndarray | None = None,
    places: np.ndarray | None = None,
    decisions: Decisions | None = None,
    settings: HeadSettings | None = None,
    progress: HeadProgress | None = None,
) -> Findings:
    """Train a head on features, and judge the labels by it.

    What people decided is learnt from: the head is trained on the labels that they say
    are right, without what they removed. Decided examples are never marked: of those
    whose label is right `label_quality` is 1, of the others NaN, like their
    `noise_score`.

    Args:
        features: floats, shape `(num_rows, D)`; may be mapped from a file.
        labels: of n examples, integers `(n,)` in `[0, num_classes)`.
        num_classes: K, at least 2.
        ids: of the examples, integers `(n,)`, none twice. Defaults to `None`: their
            places.
        places: the row of `features` of each example, `(n,)`. Defaults to `None`: in
            their order.
        decisions: of people, by id. Defaults to `None`: none.
        settings: of the head. Defaults to `None`: `HeadSettings()`.
        progress: called after each epoch of the head. Defaults to `None`.

    Raises:
        ValueError: for labels that cannot be, one class alone, fewer than
            `LEAST_EXAMPLES` examples, decisions on other examples or labels, and
            features that are not finite, all alike or of another number.
    """
    labels = np.asarray(labels)
    places = np.arange(len(labels)) if places is None else np.asarray(places)
    ids = np.arange(len(labels)) if ids is None else np.asarray(ids, np.int64)
    _check(features, labels, num_classes, ids, places)
    labels = labels.astype(np.int64)
    said, right = _decided(ids, labels, decisions)
    stays = np.flatnonzero(right != NO_LABEL)
    _check_enough(labels[stays])
    rows = ArrayRows(features, places[stays])
    is_decided = said[stays] != ""
    decided = np.flatnonzero(is_decided)
    head = train_head(
        rows,
        right[stays],
        num_classes,
        settings,
        trusted=decided,
        given=labels[stays][decided],
        progress=progress,
    )
    counts = np.zeros((num_classes, num_classes))
    np.add.at(counts, (right[stays][is_decided], labels[stays][is_decided]), 1)
    judgement = judge(head, rows, labels[stays], counts, is_decided)
    table, doubts = _table(head, rows, ids[stays], right[stays], judgement)
    table = _with_decided(table, ids, labels, said, right)
    found_wrong = int(((said != "") & (right != labels)).sum())
    low, high = judgement.num_wrong_interval
    return Findings(
        table,
        head,
        judgement,
        found_wrong + judgement.num_wrong,
        (found_wrong + low, found_wrong + high),
        doubts,
    )


def _check(
    features: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    ids: np.ndarray,
    places: np.ndarray,
) -> None:
    if getattr(features, "ndim", 0) != 2 or features.dtype.kind != "f":
        raise ValueError(
            "`features` must be floats of shape (n, D), a row an example. Received: "
            f"{getattr(features, 'dtype', type(features).__name__)} of shape "
            f"{getattr(features, 'shape', None)}."
        )
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(
            "`labels` must be integers of shape (n,): the number of each example's "
            f"class. Received: {labels.dtype} of shape {labels.shape}."
        )
    if not len(labels) == len(places) == len(ids):
        raise ValueError(
            "There must be one label, id and row of features an example. Received: "
            f"{len(labels)} labels, {len(ids)} ids, {len(places)} rows."
        )
    if len(places) and not 0 <= places.min() <= places.max() < len(features):
        raise ValueError(
            f"There are {len(features)} rows of features for {len(labels)} labels. "
            "Give as many as there are labels."
        )
    if len(labels) and not 0 <= labels.min() <= labels.max() < num_classes:
        raise ValueError(
            f"Labels must be in [0, {num_classes}). Received: labels from "
            f"{labels.min()} to {labels.max()}."
        )
    if len(np.unique(ids)) != len(ids):
        raise ValueError("`ids` must be different. Received: some twice.")


def _check_enough(labels: np.ndarray) -> None:
    if len(labels) < LEAST_EXAMPLES:
        raise ValueError(
            f"At least {LEAST_EXAMPLES} examples are needed to tell wrong labels from "
            f"right ones. Received: {len(labels)}."
        )
    if len(np.unique(labels)) < 2:
        raise ValueError(
            f"All {len(labels)} examples have the label {labels[0]}: with one class "
            "alone, there is nothing to tell apart."
        )


def _decided(
    ids: np.ndarray, labels: np.ndarray, decisions: Decisions | None
) -> tuple[np.ndarray, np.ndarray]:
    """What was decided of each example, or ""; and the labels that are right."""
    said, right = np.full(len(ids), "", object), labels.copy()
    if decisions is None or not len(decisions):
        return said, right
    order = np.argsort(ids)
    found = np.searchsorted(ids, decisions.ids, sorter=order)
    at = order[np.minimum(found, len(ids) - 1)]
    if (wrong := ids[at] != decisions.ids).any():
        raise ValueError(
            f"There are decisions on {int(wrong.sum())} examples that are not among "
            f"the {len(ids)} here; the first has the id {decisions.ids[wrong][0]}. Are "
            "they on other data?"
        )
    is_own = decisions.labels == labels[at]  # whatever key it was decided with
    said[at] = np.where(is_own, "given", decisions.kinds)
    right[at] = decisions.labels
    other = (decisions.kinds == "given") & (decisions.labels != labels[at])
    if other.any():
        place = int(np.flatnonzero(other)[0])
        raise ValueError(
            f"The given label of id {decisions.ids[place]} was decided to be right, "
            f"and it is {labels[at][place]} here, not {decisions.labels[place]}: the "
            "decisions are on other labels."
        )
    return said, right


def _table(
    head: Head,
    rows: FeatureRows,
    ids: np.ndarray,
    labels: np.ndarray,
    judgement: Judgement,
) -> tuple[pd.DataFrame, tuple[Doubt, ...]]:
    """The table of what was trained on, under the labels that it was trained on."""
    scores = LabelScores(head.model)
    for places, features in blocks(rows, beside=8 * head.model.num_classes):
        scores.add(head.logits(features), places, labels[places])
    table = scores.table()
    table["id"] = ids
    table["label_quality"] = judgement.quality
    table["suggested_label"] = judgement.suggested
    table["given_label_prob"] = judgement.given_prob
    table["suggested_label_prob"] = judgement.suggested_prob
    table["is_label_issue"] = (judgement.quality < 0.5) & (not scores.doubts)
    return table, scores.doubts


def _with_decided(
    table: pd.DataFrame,
    ids: np.ndarray,
    labels: np.ndarray,
    said: np.ndarray,
    right: np.ndarray,
) -> pd.DataFrame:
    """The table of all examples, in their order, with what was decided."""
    table = table.set_index("id").reindex(ids).reset_index()
    table["given_label"] = labels
    is_decided, is_right = said != "", right == labels
    removed = is_decided & (right == NO_LABEL)
    for name in ("given_label_prob", "suggested_label_prob"):
        table.loc[removed, name] = np.nan
    table.loc[removed, "suggested_label"] = labels[removed]
    table.loc[is_decided, ["label_quality", "noise_score"]] = np.nan
    table.loc[is_decided & is_right, "label_quality"] = 1.0
    is_other = is_decided & ~is_right & ~removed
    table.loc[is_other, "suggested_label"] = right[is_other]
    table["is_label_issue"] = table["is_label_issue"].eq(True) & ~is_decided
    table["suggested_label"] = table["suggested_label"].astype(np.int64)
    return table[list(COLUMNS)].assign(**{DECISION: said})


def most_confused(table: pd.DataFrame, count: int) -> list[tuple[int, int, int]]:
    """The most frequent issues: given label, suggested label, how many, at most."""
    issues: Any = table[table["is_label_issue"]]
    pairs = issues.groupby(["given_label", "suggested_label"]).size()
    first: Sequence[Any] = list(
        pairs.sort_values(ascending=False, kind="stable").items()
    )
    return [(int(one), int(other), int(n)) for (one, other), n in first[:count]]
