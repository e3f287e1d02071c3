"""What features tell beside wrong labels: images of no class, and those met twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sop_keras.auditing.class_pairs import AlikePairs, alike_pairs
from sop_keras.auditing.feature_rows import FeatureRows, SomeRows
from sop_keras.auditing.near_duplicates import (
    LEAST_SIMILARITY,
    contradictory_groups,
    find_duplicates,
)
from sop_keras.auditing.outliers import find_outliers
from sop_keras.drawing.cells import shown_name
from sop_keras.label_issues.decisions import NO_LABEL

if TYPE_CHECKING:
    import pandas as pd

_MOST_LISTED, _MOST_OF_GROUP = 1_000, 100
_PAIRS_NAMED = 5


@dataclass(frozen=True)
class BesideLabels:
    """Outliers, near-duplicates and classes that look like one, of n examples.

    Args:
        columns: arrays `(n,)` for the table of an audit: `outlier_score`, `is_outlier`,
            and `duplicate_group`, -1 for images that there is one of.
        contradictory: groups of near-duplicates under different labels, of which a
            person has yet to decide: one of each is wrong for certain.
        is_open: which examples nobody has decided on, bool `(n,)`.
        is_removed: which a person removed, likewise.
        alike: classes that look like one; empty where they were not looked for.
        noun: what an example is.
        near_share: the share of near-duplicates, where these are too many to be any, so
            that `duplicate_group` is of equal features alone; None where it is not.
    """

    columns: dict[str, np.ndarray]
    contradictory: np.ndarray
    is_open: np.ndarray
    is_removed: np.ndarray
    alike: AlikePairs = ()
    noun: str = "image"
    near_share: float | None = None

    def facts(self, class_names: Sequence[str]) -> dict[str, str]:
        """How many there are, as texts by name.

        Args:
            class_names: one a class, in label order.
        """
        groups = self.columns["duplicate_group"]
        num_groups = len(np.unique(groups[groups >= 0]))
        is_outlier = self.columns["is_outlier"]
        of_no_class = f"{int((is_outlier & self.is_open).sum()):,}"
        if num_decided := int((is_outlier & ~self.is_open).sum()):
            of_no_class += f", and {num_decided:,} decided on"
        duplicates = (
            f"{num_groups:,} groups, {len(self.contradictory):,} of them under "
            "different labels"
        )
        if self.near_share is not None:
            duplicates += (
                f"; of equal features alone, as {100 * self.near_share:.0f} % of all "
                f"are at a cosine of {LEAST_SIMILARITY:g} or more to another one"
            )
        facts = {
            f"{self.noun.capitalize()}s of no class": of_no_class,
            "Near-duplicates": duplicates,
        }
        names = [shown_name(name) for name in class_names]
        pairs = [
            f"{names[first]} and {names[second]} ({share:.2f})"
            for first, second, share in self.alike[:_PAIRS_NAMED]
        ]
        if more := len(self.alike) - len(pairs):
            pairs.append(f"{more:,} more pairs")
        return facts | (
            {"Classes that look like one": "; ".join(pairs)} if pairs else {}
        )

    def figures(self, ids: np.ndarray) -> dict[str, Any]:
        """The same as JSON knows it, with at most 1,000 of each, by ids.

        Of a group of duplicates there are at most 100 ids, and their number. What a
        person has decided on is not there: of groups, removed examples.

        Args:
            ids: of the examples, `(n,)`.
        """
        is_listed = self.columns["is_outlier"] & self.is_open
        score = np.where(is_listed, self.columns["outlier_score"], -np.inf)
        order = np.argsort(-score, kind="stable")[: int(is_listed.sum())]
        groups = np.where(self.is_removed, -1, self.columns["duplicate_group"])
        listed = self.contradictory[:_MOST_LISTED].tolist()
        share = self.near_share
        return {
            "num_outliers": int(is_listed.sum()),
            "outliers": ids[order[:_MOST_LISTED]].tolist(),
            "num_contradictory_duplicates": len(self.contradictory),
            "contradictory_duplicates": [
                ids[groups == one][:_MOST_OF_GROUP].tolist() for one in listed
            ],
            "contradictory_duplicate_sizes": [
                int((groups == one).sum()) for one in listed
            ],
            "too_many_near_duplicates": None if share is None else round(share, 4),
            "alike_classes": [list(pair) for pair in self.alike[:_MOST_LISTED]],
        }


def beside_labels(
    features: FeatureRows,
    table: pd.DataFrame,
    num_classes: int | None = None,
    noun: str = "image",
) -> BesideLabels:
    """Find images of no class, near-duplicates, and classes that look like one.

    Args:
        features: of n examples.
        table: of an audit, a row an example in the same order: given labels, and what
            was decided. Labels of groups and of classes are those that were decided.
        num_classes: K, to look for classes that look like one. Defaults to `None`: they
            are not looked for.
        noun: what an example is. Defaults to `"image"`.

    Raises:
        ValueError: for features that are not finite or all alike.
    """
    given = table["given_label"].to_numpy()
    right, is_open = _right_labels(table)
    is_removed = right == NO_LABEL
    outliers = find_outliers(features, given)
    duplicates = find_duplicates(features)
    groups = duplicates.groups
    kept = np.where(is_removed, -1, groups)
    contradictory = contradictory_groups(kept, right)
    contradictory = contradictory[np.isin(contradictory, kept[is_open])]
    alike: AlikePairs = ()
    if num_classes is not None:
        stays = np.flatnonzero(~is_removed)
        alike = alike_pairs(SomeRows(features, stays), right[stays], num_classes)
    columns = {
        "outlier_score": outliers.outlier_score,
        "is_outlier": outliers.is_outlier,
        "duplicate_group": groups,
    }
    near_share = duplicates.near_share if duplicates.are_equal else None
    return BesideLabels(
        columns, contradictory, is_open, is_removed, alike, noun, near_share
    )


def _right_labels(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Labels as they were decided, or given; and which are still open."""
    decision = table["decision"].to_numpy()
    right = table["given_label"].to_numpy().copy()
    is_other = np.isin(decision, ("suggested", "other"))
    right[is_other] = table["suggested_label"].to_numpy()[is_other]
    right[decision == "remove"] = NO_LABEL
    return right, decision == ""
