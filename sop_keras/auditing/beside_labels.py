"""What features tell beside wrong labels: images of no class, and those met twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sop_keras.auditing.feature_rows import FeatureRows
from sop_keras.auditing.near_duplicates import (
    contradictory_groups,
    duplicate_groups,
)
from sop_keras.auditing.outliers import find_outliers

_MOST_LISTED = 1_000


@dataclass(frozen=True)
class BesideLabels:
    """Outliers and near-duplicates among n examples.

    Args:
        columns: arrays `(n,)` for the table of an audit: `outlier_score`, `is_outlier`,
            and `duplicate_group`, -1 for images that there is one of.
        contradictory: groups of near-duplicates under different labels: one of each is
            wrong for certain.
    """

    columns: dict[str, np.ndarray]
    contradictory: np.ndarray

    def facts(self) -> dict[str, str]:
        """How many there are, as texts by name."""
        groups = self.columns["duplicate_group"]
        num_groups = len(np.unique(groups[groups >= 0]))
        return {
            "Images of no class": f"{int(self.columns['is_outlier'].sum()):,}",
            "Near-duplicates": f"{num_groups:,} groups, {len(self.contradictory):,} of "
            "them under different labels",
        }

    def figures(self, ids: np.ndarray) -> dict[str, Any]:
        """The same as JSON knows it, with the ids of at most 1,000 of each.

        Args:
            ids: of the examples, `(n,)`.
        """
        score = np.where(
            self.columns["is_outlier"], self.columns["outlier_score"], -np.inf
        )
        order = np.argsort(-score, kind="stable")[: int(np.isfinite(score).sum())]
        groups = self.columns["duplicate_group"]
        return {
            "outliers": ids[order[:_MOST_LISTED]].tolist(),
            "contradictory_duplicates": [
                ids[groups == one].tolist() for one in self.contradictory[:_MOST_LISTED]
            ],
        }


def beside_labels(features: FeatureRows, labels: np.ndarray) -> BesideLabels:
    """Find images of no class, and near-duplicates.

    Args:
        features: of n examples.
        labels: their given labels, integers `(n,)`.

    Raises:
        ValueError: for features that are not finite or all alike.
    """
    outliers = find_outliers(features, labels)
    groups = duplicate_groups(features)
    columns = {
        "outlier_score": outliers.outlier_score,
        "is_outlier": outliers.is_outlier,
        "duplicate_group": groups,
    }
    return BesideLabels(columns, contradictory_groups(groups, labels))
