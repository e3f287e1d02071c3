"""How many of the labels that people looked at were wrong, and whether to look on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sop_keras.label_issues.decisions import Decisions

if TYPE_CHECKING:
    import pandas as pd

WINDOW = 50
"""How many decided examples are one window."""

WORTH = 0.1
"""The share of wrong labels down to which looking is worth it."""

# The normal distribution has 95% of its mass within so many deviations.
_Z = 1.959963984540054


@dataclass(frozen=True)
class Share:
    """How many of some decided labels were wrong.

    Args:
        num_decided: of how many.
        num_wrong: so many.
    """

    num_decided: int
    num_wrong: int

    @property
    def share(self) -> float:
        """The wrong ones among the decided ones; NaN of none."""
        return self.num_wrong / self.num_decided if self.num_decided else math.nan

    def interval(self) -> tuple[float, float]:
        """The 95% Wilson interval of the share; all of [0, 1] for none decided."""
        return wilson_interval(self.num_wrong, self.num_decided)


@dataclass(frozen=True)
class Window(Share):
    """`WINDOW` decided labels that are neighbours by quality.

    Args:
        first: the rank of the first one; the lowest quality has rank 1.
        last: the rank of the last one.
        smoothed: the share that does not rise from a window to the next.
    """

    first: int
    last: int
    smoothed: float


@dataclass(frozen=True)
class WorthLooking:
    """How far looking on is worth it.

    Args:
        last_rank: up to which rank.
        num_undecided: how many examples up to there nobody decided on.
        num_wrong: how many wrong labels are estimated among these.
        is_end_seen: whether the decided labels reach to where wrong ones are few.
    """

    last_rank: int
    num_undecided: int
    num_wrong: float
    is_end_seen: bool


@dataclass(frozen=True)
class SeenPrecision:
    """What decisions say of a table of label issues.

    Args:
        decided: of all decided labels.
        windows: of `WINDOW` each, by rank; of decisions made with this table alone.
        worth_looking_at: what is left to look at.
    """

    decided: Share
    windows: tuple[Window, ...]
    worth_looking_at: WorthLooking


def seen_precision(decisions: Decisions, issues: pd.DataFrame) -> SeenPrecision:
    """How many of the decided labels were wrong, by the rank of their quality.

    A label was wrong if the decided one is another, or the example is to be removed.
    All decisions are counted.

    Ranks are those of `label_quality` among all examples that the table judged, the
    lowest has 1, equal ones by id. What was decided, or trusted, before the table was
    made has none: its quality is 1 or NaN, not what people saw, and its `noise_score`
    is NaN, as of examples that were never trained on. So after several audits, ranks
    are those of the page of the last one.

    A window is `WINDOW` decided labels that follow each other by rank, whatever lies
    between them; what is left at the end, if it is no whole window, belongs to the last
    one. Shares of windows are smoothed: they are the closest ones that never rise from
    a window to the next (isotonic regression, weighted by their numbers).

    Worth looking at are the undecided examples up to the last rank of the last window
    whose smoothed share is at least `WORTH`. If that is the last window of all, nobody
    has seen the end yet, and the next `WINDOW` undecided examples count as well. How
    many of them are wrong is estimated as the sum of the smoothed shares of the windows
    that they are in: the first window whose last rank is not below theirs; behind all
    windows, the last one. Without decisions these are the first `WINDOW` examples, and
    the estimate is NaN.

    Args:
        decisions: on examples of the table.
        issues: the table of label issues, in any order.

    Raises:
        ValueError: for a decision on an example that the table does not have.
    """
    unknown = ~np.isin(decisions.ids, issues["id"].to_numpy())
    if unknown.any():
        raise ValueError(
            f"The table of label issues has no example of id "
            f"{decisions.ids[unknown][0]}, which was decided on. Pass the table of the "
            "run whose report the decisions were made with."
        )
    issues = issues.sort_values(["label_quality", "id"])
    ids, given = issues["id"].to_numpy(), issues["given_label"].to_numpy()
    label_of = dict(zip(decisions.ids.tolist(), decisions.labels.tolist(), strict=True))
    is_decided = np.isin(ids, decisions.ids)
    new = given.copy()
    new[is_decided] = [label_of[one] for one in ids[is_decided].tolist()]
    is_wrong = new != given
    is_judged = issues["label_quality"].notna() & issues["noise_score"].notna()
    (ranked,) = np.nonzero(is_judged.to_numpy())
    (decided,) = np.nonzero(is_decided[ranked])
    (undecided,) = np.nonzero(~is_decided[ranked])
    windows = _windows(decided + 1, is_wrong[ranked[decided]])
    return SeenPrecision(
        Share(len(decisions), int(is_wrong.sum())),
        windows,
        _worth(undecided + 1, windows),
    )


def wilson_interval(count: int, total: int) -> tuple[float, float]:
    """The 95% interval of a share, by Wilson's score; all of [0, 1] for a total of 0.

        (p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)

    Args:
        count: so many, from 0 to `total`.
        total: of how many.
    """
    if not total:
        return 0.0, 1.0
    share, square = count / total, _Z**2 / total
    middle = (share + square / 2) / (1 + square)
    half = math.sqrt(share * (1 - share) * square + square**2 / 4) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)


def _windows(ranks: np.ndarray, is_wrong: np.ndarray) -> tuple[Window, ...]:
    if not len(ranks):
        return ()
    starts = np.arange(0, max(len(ranks) - WINDOW + 1, 1), WINDOW)
    ends = np.append(starts[1:], len(ranks))
    sizes = ends - starts
    wrong = np.add.reduceat(is_wrong.astype(np.int64), starts)
    smoothed = _never_rising(wrong / sizes, sizes)
    return tuple(
        Window(
            num_decided=int(sizes[k]),
            num_wrong=int(wrong[k]),
            first=int(ranks[starts[k]]),
            last=int(ranks[ends[k] - 1]),
            smoothed=float(smoothed[k]),
        )
        for k in range(len(starts))
    )


def _never_rising(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The closest values that never rise: neighbours that do share their mean."""
    blocks: list[tuple[float, float, int]] = []  # mean, weight, how many values
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        mean, total, count = value, weight, 1
        while blocks and blocks[-1][0] < mean:
            before, more, number = blocks.pop()
            mean = (before * more + mean * total) / (more + total)
            total, count = total + more, count + number
        blocks.append((mean, total, count))
    return np.repeat([block[0] for block in blocks], [block[2] for block in blocks])


def _worth(undecided: np.ndarray, windows: tuple[Window, ...]) -> WorthLooking:
    """What is worth a look, of undecided ranks from the lowest on."""
    good = [window for window in windows if window.smoothed >= WORTH]
    is_end_seen = len(good) < len(windows)
    last = good[-1].last if good else 0
    chosen = undecided[undecided <= last]
    if not is_end_seen:
        behind = undecided[undecided > last][:WINDOW]
        chosen = np.append(chosen, behind)
        last = int(behind[-1]) if len(behind) else last
    num_wrong = math.nan
    if windows:
        lasts = [window.last for window in windows]
        places = np.searchsorted(lasts, chosen).clip(max=len(windows) - 1)
        shares = np.array([window.smoothed for window in windows])
        num_wrong = float(shares[places].sum())
    return WorthLooking(last, len(chosen), num_wrong, is_end_seen)
