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
    is_trusted: np.ndarray | None = None,
) -> np.ndarray:
    """Which labels count as wrong: those of quality below 1/2, or the lowest ones.

    Args:
        quality: `label_quality`, shape `(n,)`; NaN for what is not known, which is no
            issue: a warning is logged where fewer are marked for it.
        num_issues: how many to take, from 0 to n. Defaults to `None`.
        issue_rate: the share to take, in [0, 1]. Defaults to `None`; with neither, the
            rule above decides.
        is_trusted: which labels a person has confirmed, or decided on, bool `(n,)`: no
            issues either. Defaults to `None`: none.

    Returns:
        bool, shape `(n,)`.

    Raises:
        ValueError: for a number out of range, or both.
    """
    check_choice(num_issues, issue_rate)
    if issue_rate is not None:
        num_issues = round(issue_rate * len(quality))
    is_known = ~np.isnan(quality)
    if is_trusted is None:
        is_trusted = np.zeros(len(quality), bool)
    may_be = is_known & ~is_trusted
    if num_issues is None:
        return may_be & (quality < 0.5)
    if num_issues > len(quality):
        raise ValueError(
            f"`num_issues` must be at most {len(quality)}, the number of examples. "
            f"Received: num_issues={num_issues}."
        )
    num_marked = int(may_be.sum())
    if num_issues > num_marked:
        wish = "num_issues" if issue_rate is None else f"issue_rate={issue_rate} of all"
        reasons = []
        if num_unknown := int((~is_known & ~is_trusted).sum()):
            reasons.append(
                f"nothing is known of the other {num_unknown} of {len(quality)} "
                "examples, which were never trained on"
            )
        if num_trusted := int(is_trusted.sum()):
            reasons.append(f"{num_trusted} are trusted, or decided on")
        logger.warning(
            "%d labels are marked as issues, not %d (%s): %s.",
            *(num_marked, num_issues, wish, ", and ".join(reasons)),
        )
    chosen = np.zeros(len(quality), bool)
    lowest_first = np.argsort(np.where(may_be, quality, np.inf), kind="stable")
    chosen[lowest_first[:num_issues]] = True
    return chosen & may_be


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
