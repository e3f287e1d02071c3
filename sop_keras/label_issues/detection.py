"""How well wrong labels are found, where the clean ones are known."""

from __future__ import annotations

import numpy as np


def detection_figures(
    quality: np.ndarray, is_issue: np.ndarray, is_wrong: np.ndarray
) -> dict[str, float | None]:
    """The usual figures of a ranking and of a choice; all in [0, 1].

    Args:
        quality: the higher, the cleaner, shape `(n,)`.
        is_issue: which labels were taken for wrong, bool, `(n,)`.
        is_wrong: which are, bool, `(n,)`.

    Returns:
        `auroc` (ties count half), `average_precision` and `precision_at_k` (k is the
        number of wrong labels) of the ranking by quality, lowest first; `precision`
        and `recall` of the choice. None where it would be 0 / 0, or where a quality is
        not finite.

    Raises:
        ImportError: without scikit-learn.
    """
    num_wrong, num_issues = int(is_wrong.sum()), int(is_issue.sum())
    hits = int((is_issue & is_wrong).sum())
    figures: dict[str, float | None] = {
        "auroc": auroc(-quality, is_wrong),
        "average_precision": None,
        "precision_at_k": None,
        "precision": hits / num_issues if num_issues else None,
        "recall": hits / num_wrong if num_wrong else None,
    }
    if num_wrong and np.isfinite(quality).all():
        from sklearn.metrics import average_precision_score

        figures["average_precision"] = float(
            average_precision_score(is_wrong, -quality)
        )
        lowest = np.argsort(quality, kind="stable")[:num_wrong]
        figures["precision_at_k"] = float(is_wrong[lowest].mean())
    return figures


def auroc(scores: np.ndarray, is_wrong: np.ndarray) -> float | None:
    """Area under the ROC curve of `scores` for finding `is_wrong`; ties count half.

    None where all or none are wrong, or a score is not finite.

    Raises:
        ImportError: without scikit-learn.
    """
    if is_wrong.all() or not is_wrong.any() or not np.isfinite(scores).all():
        return None
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(is_wrong, scores))
