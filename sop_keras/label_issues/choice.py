"""Which labels are taken for wrong: by their quality, or so many."""

from __future__ import annotations

import logging

import numpy as np

from sop_keras.validation import check_fraction, check_integer

logger = logging.getLogger(__name__)


def label_issues(
    quality: np.ndarray,
    num_issues: int | None = None,
    issue_rate: float | None = None,
) -> np.ndarray:
    """Which labels count as wrong: those of quality below 1/2, or the lowest ones.

    Args:
        quality: `label_quality`, shape `(n,)`; NaN for what is not known, which is no
            issue: a warning is logged where fewer are marked for it.
        num_issues: how many to take, from 0 to n. Defaults to `None`.
        issue_rate: the share to take, in [0, 1]. Defaults to `None`; with neither, the
            rule above decides.

    Returns:
        bool, shape `(n,)`.

    Raises:
        ValueError: for a number out of range, or both.
    """
    check_choice(num_issues, issue_rate)
    if issue_rate is not None:
        num_issues = round(issue_rate * len(quality))
    if num_issues is None:
        return quality < 0.5  # NaN is not
    if num_issues > len(quality):
        raise ValueError(
            f"`num_issues` must be at most {len(quality)}, the number of examples. "
            f"Received: num_issues={num_issues}."
        )
    is_known = ~np.isnan(quality)
    num_known = int(is_known.sum())
    if num_issues > num_known:
        wish = "num_issues" if issue_rate is None else f"issue_rate={issue_rate} of all"
        logger.warning(
            "%d labels are marked as issues, not %d (%s): nothing is known of "
            "the other %d of %d examples, which were never trained on.",
            *(num_known, num_issues, wish, len(quality) - num_known, len(quality)),
        )
    chosen = np.zeros(len(quality), bool)
    chosen[np.argsort(quality, kind="stable")[:num_issues]] = True
    return chosen & is_known


def check_choice(num_issues: int | None, issue_rate: float | None) -> None:
    """Check what `label_issues` is asked for, before quality is known.

    Raises:
        ValueError: for both, or a number out of range.
    """
    if num_issues is not None and issue_rate is not None:
        raise ValueError(
            "`num_issues` and `issue_rate` say the same in two ways: give one. "
            f"Received: num_issues={num_issues}, issue_rate={issue_rate}."
        )
    if issue_rate is not None:
        check_fraction("issue_rate", issue_rate)
    if num_issues is not None:
        check_integer("num_issues", num_issues, 0)
