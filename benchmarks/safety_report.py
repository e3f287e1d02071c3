"""How SOP with rates "auto" does in the safety grid, bar by bar."""

from __future__ import annotations

import csv
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

CROSS_ENTROPY, AUTO, PAPER, SUGGESTED = "cross_entropy", "auto", "paper", "suggested"

LESS_ACCURATE = 0.01
"""How much less accurate than cross entropy, or than the best, one may be."""
WORSE_AUROC = 0.01
MOST_FLAGGED = 0.05
MOST_WARNED = 0.1
CLOSE = 0.03
"""Cells so near to a bar are to have more seeds."""

# A share of wrong labels from which a cell counts as noisy: symmetric noise of 20%
# leaves 10% of two classes' labels wrong, asymmetric noise of a rare class hardly any.
_NOISY = 0.05

# Cells whose two arms differ by a rounding of the file's numbers are equal.
_ROUNDING = 1e-9

_TEXTS = ("cell", "arm", "warnings")

Row = dict[str, Any]


class CellResult(NamedTuple):
    """A cell's figures, means over seeds.

    Args:
        name: the cell's.
        seeds: how many cross entropy and "auto" both have.
        pair: their figures over these, by arm; `warned`: whether it was in any seed.
        arms: likewise of all arms, over the seeds that all have.
    """

    name: str
    seeds: int
    pair: dict[str, Row]
    arms: dict[str, Row]

    @property
    def wrong(self) -> float:
        """The share of wrong labels."""
        return self.pair[AUTO]["wrong"]

    @property
    def fixed(self) -> dict[str, Row]:
        """The arms with numbers."""
        others = (CROSS_ENTROPY, AUTO)
        return {name: one for name, one in self.arms.items() if name not in others}

    def gain(self) -> float:
        """How much more accurate "auto" is than cross entropy."""
        return _gain(self.pair, AUTO)


class Bar(NamedTuple):
    """What is asked, what came, and which cells miss it."""

    asked: str
    figure: str
    is_met: bool
    missed: list[str]


def read_rows(path: Path) -> list[Row]:
    """The lines of a file, numbers as numbers, None for nothing; [] for no file.

    A line that a killed process left unfinished is not one.
    """
    if not path.exists():
        return []
    rows = []
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if None in row or None in row.values():
                continue
            rows.append({name: _value(name, text) for name, text in row.items()})
    return rows


def cell_results(rows: Iterable[Row], distrust: str = "") -> list[CellResult]:
    """Means over seeds, of cells in which both cross entropy and "auto" are done.

    Args:
        rows: of `read_rows`.
        distrust: which warnings count, a regular expression; "" for all.
    """
    by_cell: dict[str, dict[str, dict[int, Row]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for row in rows:
        warned = bool(row["warnings"]) and bool(re.search(distrust, row["warnings"]))
        by_cell[row["cell"]][row["arm"]][row["seed"]] = {**row, "warned": warned}
    results = []
    for name, arms in by_cell.items():
        if CROSS_ENTROPY in arms and AUTO in arms:
            pair = {arm: arms[arm] for arm in (CROSS_ENTROPY, AUTO)}
            if seeds := _common_seeds(pair):
                of_all = _common_seeds(arms)
                means = _arm_means(arms if of_all else pair, of_all or seeds)
                results.append(
                    CellResult(name, len(seeds), _arm_means(pair, seeds), means)
                )
    return results


def bars(results: list[CellResult]) -> list[Bar]:
    """All bars, for at least one cell."""
    clean = [one for one in results if one.wrong == 0]
    noisy = [one for one in results if one.wrong >= _NOISY]
    has_fixed = noisy and set(_common_arms(noisy)) - {CROSS_ENTROPY, AUTO}
    found = [_as_accurate(results), _flagged(clean), *_warned(results)]
    for figure, unit, margin in (
        ("accuracy", "accuracy", LESS_ACCURATE),
        ("auroc", "AUROC of label_quality", WORSE_AUROC),
    ):
        if has_fixed:
            found += [
                _near_best(noisy, figure, unit, margin),
                _near_best_of_each(noisy, figure, unit, margin),
                *_above(noisy, figure, unit),
            ]
    return found


def close_cells(rows: Iterable[Row]) -> set[str]:
    """Cells that miss a bar of single cells, or are within 3 points of it."""
    return {
        one.name
        for one in cell_results(rows)
        if one.gain() < CLOSE - LESS_ACCURATE
        or (one.wrong == 0 and one.pair[AUTO]["flagged_right"] > MOST_FLAGGED - CLOSE)
    }


def markdown(rows: list[Row], distrust: str = "") -> str:
    """The report: a table of the bars, the cells that miss them, means of all arms."""
    results = cell_results(rows, distrust)
    if not results:
        return 'No cell has both cross entropy and "auto" yet.'
    found = bars(results)
    seconds = sum(row["seconds"] for row in rows) / 60
    lines = [
        f"{len(results)} cells, {sum(one.seeds for one in results)} pairs of cross "
        f'entropy and "auto"; {seconds:.0f} minutes of one core.',
        *(
            "",
            "| bar | figure | met | cells that miss it |",
            "| --- | --- | --- | --- |",
        ),
    ]
    lines += [
        f"| {one.asked} | {one.figure} | {'yes' if one.is_met else 'NO'} | "
        f"{len(one.missed) or ''} |"
        for one in found
    ]
    for one in found:
        if one.missed:
            lines += ["", f"Missed: {one.asked}", ""]
            lines += [f"- {text}" for text in one.missed]
    return "\n".join([*lines, "", *_mean_table(results)])


def _as_accurate(results: list[CellResult]) -> Bar:
    missed = [one for one in results if one.gain() < -LESS_ACCURATE - _ROUNDING]
    return Bar(
        "accuracy at least cross entropy's - 1 point in every cell",
        f"worst {100 * min(one.gain() for one in results):+.1f} points",
        not missed,
        [
            f"{_named(one)}: {_percent(one.pair[AUTO]['accuracy'])}, cross entropy "
            f"{_percent(one.pair[CROSS_ENTROPY]['accuracy'])}"
            for one in sorted(missed, key=CellResult.gain)
        ],
    )


def _flagged(clean: list[CellResult]) -> Bar:
    def share(one: CellResult) -> float:
        return one.pair[AUTO]["flagged_right"]

    silent = [one for one in clean if not one.pair[AUTO]["warned"]]
    missed = [one for one in silent if share(one) > MOST_FLAGGED + _ROUNDING]
    worst = max((share(one) for one in silent), default=0.0)
    return Bar(
        "clean labels: at most 5% flagged, or a warning",
        f"worst without a warning {_percent(worst)}, of {len(clean)} cells",
        not missed,
        [
            f"{_named(one)}: {_percent(share(one))}"
            for one in sorted(missed, key=share, reverse=True)
        ],
    )


def _warned(results: list[CellResult]) -> list[Bar]:
    warned = [one for one in results if one.pair[AUTO]["warned"]]
    share = len(warned) / len(results)
    needless = {
        one.name: good
        for one in warned
        if (good := [arm for arm in one.fixed if _is_good(one, arm)])
    }
    return [
        Bar(
            "a warning in at most 10% of the cells",
            _percent(share),
            share <= MOST_WARNED + _ROUNDING,
            [_named(one) for one in warned] if share > MOST_WARNED else [],
        ),
        Bar(
            "no warning where a fixed setting reaches cross entropy - 1 point with at "
            "most 5% flagged",
            f"{len(needless)} of {len(warned)} cells with a warning",
            not needless,
            [
                f"{_named(one)}: {', '.join(needless[one.name])}"
                for one in warned
                if one.name in needless
            ],
        ),
    ]


def _is_good(one: CellResult, arm: str) -> bool:
    flagged = one.arms[arm]["flagged_right"]
    return (
        _gain(one.arms, arm) >= -LESS_ACCURATE - _ROUNDING
        and flagged is not None
        and flagged <= MOST_FLAGGED + _ROUNDING
    )


def _near_best(noisy: list[CellResult], figure: str, unit: str, margin: float) -> Bar:
    means = {
        arm: _mean(_figure(one, arm, figure) for one in noisy)
        for arm in _common_arms(noisy)
    }
    auto = means.pop(AUTO)
    del means[CROSS_ENTROPY]
    best = max(means, key=lambda arm: means[arm])
    return Bar(
        f"noisy: mean {unit} within {margin} of the best setting's",
        f"{auto:.4f}, best {means[best]:.4f} ({best}), of {len(noisy)} cells",
        auto >= means[best] - margin - _ROUNDING,
        [],
    )


def _near_best_of_each(
    noisy: list[CellResult], figure: str, unit: str, margin: float
) -> Bar:
    def behind(one: CellResult) -> float:
        best = max(_figure(one, arm, figure) for arm in one.fixed)
        return best - _figure(one, AUTO, figure)

    mean = _mean(behind(one) for one in noisy)
    worst = sorted(noisy, key=behind, reverse=True)
    is_met = mean <= margin + _ROUNDING
    return Bar(
        f"noisy: mean {unit} within {margin} of that of the best setting of each cell",
        f"{mean:.4f} behind",
        is_met,
        []
        if is_met
        else [
            f"{_named(one)}: {behind(one):.3f} behind"
            for one in worst
            if behind(one) > margin + _ROUNDING
        ],
    )


def _above(noisy: list[CellResult], figure: str, unit: str) -> Iterable[Bar]:
    for arm in (PAPER, SUGGESTED):
        both = [one for one in noisy if arm in one.arms]
        if both:
            auto, other = (
                _mean(_figure(one, name, figure) for one in both)
                for name in (AUTO, arm)
            )
            yield Bar(
                f"noisy: mean {unit} above that of {arm}",
                f"{auto:.4f}, {arm} {other:.4f}",
                auto > other,
                [],
            )


def _mean_table(results: list[CellResult]) -> list[str]:
    """Means over all noisy and over all clean cells, by arm."""
    lines = [
        "| arm | clean: accuracy | balanced | right labels flagged | noisy: accuracy | "
        "balanced | right labels flagged | wrong ones found | AUROC |",
        "| --- |" + " --- |" * 8,
    ]
    clean = [one for one in results if one.wrong == 0]
    noisy = [one for one in results if one.wrong >= _NOISY]
    common = ("accuracy", "balanced_accuracy", "flagged_right")
    for arm in _common_arms(results):
        means = [
            _mean(_figure(one, arm, name) for one in group)
            for group, names in (
                (clean, common),
                (noisy, (*common, "found_wrong", "auroc")),
            )
            for name in names
        ]
        lines.append(f"| {arm} | " + " | ".join(f"{one:.4f}" for one in means) + " |")
    return lines


def _common_arms(results: list[CellResult]) -> list[str]:
    return [arm for arm in results[0].arms if all(arm in one.arms for one in results)]


def _figure(one: CellResult, arm: str, figure: str) -> float:
    """A number, where a network that diverged has none: a guess is worth 0.5."""
    value = one.arms[arm][figure]
    if value is not None:
        return value
    return 0.5 if figure == "auroc" else 0.0


def _named(one: CellResult) -> str:
    notes = [f"{one.seeds} seeds"] * (one.seeds > 1)
    right = one.pair[AUTO]["least_right"]
    if right < 0.5:
        notes.append(f"a class of which {_percent(right)} of the labels are right")
    if one.pair[AUTO]["warned"]:
        notes.append("with a warning")
    return one.name + (f" ({'; '.join(notes)})" if notes else "")


def _gain(arms: dict[str, Row], arm: str) -> float:
    return arms[arm]["accuracy"] - arms[CROSS_ENTROPY]["accuracy"]


def _common_seeds(arms: dict[str, dict[int, Row]]) -> list[int]:
    return sorted(set.intersection(*(set(of_seed) for of_seed in arms.values())))


def _arm_means(arms: dict[str, dict[int, Row]], seeds: list[int]) -> dict[str, Row]:
    return {
        arm: _means([of_seed[seed] for seed in seeds]) for arm, of_seed in arms.items()
    }


def _means(rows: list[Row]) -> Row:
    means: Row = {}
    for name in rows[0]:
        if name not in _TEXTS:
            known = [row[name] for row in rows if row[name] is not None]
            means[name] = _mean(known) if known else None
    means["warned"] = means["warned"] > 0
    return means


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return math.fsum(values) / len(values) if values else math.nan


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _value(name: str, text: str) -> Any:
    if name in _TEXTS:
        return text
    kind: Callable[[str], Any] = int if name == "seed" else float
    return kind(text) if text else None
