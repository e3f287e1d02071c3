"""What benchmarks/audit.py measured, as Markdown."""

from __future__ import annotations

import csv
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

COLUMNS = (
    *("setting", "seed", "method", "num_wrong", "auroc", "average_precision"),
    *("precision_at_k", "seconds", "note", "estimated", "least", "most"),
    "reliability",
)
OURS = "audit"
LEAD = 0.005
"""The AUROC by which ours should lead."""

_TEXTS = ("setting", "method", "note", "reliability")
_NUM_BINS = 10

Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """The rows of a file, numbers as numbers, None for nothing; [] for no file.

    A row that a killed process left unfinished is not one.
    """
    if not path.exists():
        return []
    with path.open(newline="") as file:
        rows = [one for one in csv.DictReader(file) if None not in one.values()]
    for row in rows:
        row["seed"] = int(row["seed"])
        for name in set(COLUMNS) - {*_TEXTS, "seed"}:
            row[name] = float(row[name]) if row[name] else None
    return rows


def reliability_text(quality: np.ndarray, is_right: np.ndarray) -> str:
    """In ten bins of quality: how many labels, their mean quality, the share of right.

    Args:
        quality: in [0, 1], `(n,)`.
        is_right: which labels are, bool `(n,)`.

    Returns:
        `count:quality:share`, a bin after another; empty bins are left out.
    """
    bins = np.minimum((quality * _NUM_BINS).astype(int), _NUM_BINS - 1)
    return " ".join(
        f"{here.sum()}:{quality[here].mean():.3f}:{is_right[here].mean():.3f}"
        for here in (bins == one for one in range(_NUM_BINS))
        if here.any()
    )


def markdown(rows: list[Row]) -> str:
    """Tables of the rankings, and of what ours says beside.

    Rankings are means over the seeds that all methods of a setting have.
    """
    seeds: dict[str, dict[str, set[int]]] = {}
    for row in rows:
        of_methods = seeds.setdefault(row["setting"], {})
        of_methods.setdefault(row["method"], set()).add(row["seed"])
    cells: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row["seed"] in set.intersection(*seeds[row["setting"]].values()):
            cells.setdefault((row["method"], row["setting"]), []).append(row)
    settings = list(dict.fromkeys(setting for _, setting in cells))
    methods = list(dict.fromkeys(method for method, _ in cells))
    parts = [_rankings(cells, methods, settings)]
    parts += _not_led(cells, methods, settings)
    own = [row for row in rows if row["method"] == OURS]
    return "\n\n".join([*parts, _numbers(own), _reliability(own)])


def _rankings(
    cells: dict[tuple[str, str], list[Row]], methods: list[str], settings: list[str]
) -> str:
    lines = [["method", *settings, "seconds"]]
    for method in methods:
        line = [f"`{method}`"]
        for setting in settings:
            found = cells.get((method, setting), [])
            line.append(
                " / ".join(
                    f"{mean(row[name] for row in found):.4f}"
                    for name in ("auroc", "average_precision")
                )
                if found
                else ""
            )
        all_seconds = [
            row["seconds"]
            for setting in settings
            for row in cells.get((method, setting), [])
        ]
        lines.append([*line, f"{mean(all_seconds):.0f}"])
    return "AUROC / average precision:\n\n" + _table(lines)


def _not_led(
    cells: dict[tuple[str, str], list[Row]], methods: list[str], settings: list[str]
) -> list[str]:
    """Methods that ours does not lead by `LEAD`."""
    found = []
    for setting in settings:
        known = {
            method: mean(row["auroc"] for row in cells[method, setting])
            for method in methods
            if (method, setting) in cells
        }
        if OURS in known:
            ours = known.pop(OURS)
            found += [
                f"- {setting}: `{method}`, by {ours - auroc:+.4f}"
                for method, auroc in known.items()
                if ours - auroc < LEAD
            ]
    return [f"Not led by {LEAD} AUROC:\n\n" + "\n".join(found)] if found else []


def _numbers(own: list[Row]) -> str:
    lines = [["setting", "seed", "wrong", "estimated", "interval", "AUROC"]]
    lines += [
        [
            row["setting"],
            str(row["seed"]),
            f"{row['num_wrong']:,.0f}",
            f"{row['estimated']:,.0f}",
            f"{row['least']:,.0f} to {row['most']:,.0f}",
            f"{row['auroc']:.4f}",
        ]
        for row in own
    ]
    return _table(lines)


def _reliability(own: list[Row]) -> str:
    lines = [["setting", "seed", "labels: mean quality, share of right ones; ten bins"]]
    for row in own:
        bins = [one.split(":") for one in row["reliability"].split()]
        text = "; ".join(
            f"{int(count):,}: {quality}, {share}" for count, quality, share in bins
        )
        lines.append([row["setting"], str(row["seed"]), text])
    return _table(lines)


def _table(lines: list[list[str]]) -> str:
    """Lines of cells as Markdown, the first as its head."""
    lines = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
