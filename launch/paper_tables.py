"""A table of the paper with our figures beside it: Markdown, CSV and a picture."""

from __future__ import annotations

import csv
import dataclasses
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from paper import Column, Table

from sop_keras.files.atomic import replacing, write_atomically

# Hollow beside filled: told apart without colours too.
POINT = {"markersize": 6, "capsize": 2.5, "linestyle": "none"}
PAPER = {**POINT, "marker": "o", "color": "#777777", "markerfacecolor": "white"}
OURS = {**POINT, "marker": "D", "color": "#1f5fbf"}
FAILED = "#c0392b"


@dataclasses.dataclass(frozen=True)
class Ours:
    """What came out of a cell's runs.

    Args:
        values: one of each complete run, in the table's unit.
        error: what ended the others. Defaults to `None`: nothing.
    """

    values: list[float]
    error: str | None = None

    @property
    def mean(self) -> float | None:
        """Over the runs; None where there are none."""
        return float(np.mean(self.values)) if self.values else None

    @property
    def std(self) -> float | None:
        """The sample's standard deviation; None for fewer than two runs."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None

    def __str__(self) -> str:
        texts = ["failed"] if self.error else []
        if self.mean is not None:
            std = "" if self.std is None else f" +- {self.std:.2f}"
            texts = [f"{self.mean:.2f}{std} ({len(self.values)})", *texts]
        return ", ".join(texts)


Results = dict[tuple[str, str], Ours]
"""By the names of row and column."""


def write(folder: Path, table: Table, results: Results, notes: Sequence[str]) -> None:
    """Write table.md, table.csv and table.png."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "table.md", markdown(table, results, notes))
    write_csv(table, results, folder / "table.csv")
    with replacing(folder / "table.png") as partial:
        draw(table, results, notes, partial)


def markdown(table: Table, results: Results, notes: Sequence[str]) -> str:
    """The table as Markdown: for each method the paper's row and, below it, ours."""
    rows = [["method", "", *(column.title for column in table.columns)]]
    rows += [["---"] * len(rows[0])]
    for row in table.rows:
        published = (figure.text if figure else "-" for figure in row.figures)
        rows.append([row.name, "paper", *published])
        if row.method is not None:
            ours = (results.get((row.name, c.name), "") for c in table.columns)
            rows.append(["", "ours (seeds)", *map(str, ours)])
    lines = [f"# Table {table.number}. {table.title}", ""]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    for (method, column), one in results.items():
        if one.error:
            notes = [*notes, f"Failed: {method}, {column}: {one.error}"]
    return "\n\n".join(["\n".join(lines), *notes]) + "\n"


def write_csv(table: Table, results: Results, path: Path) -> None:
    """A line for each method and column."""
    fields = ["table", "method", "cell", "unit", "paper_mean", "paper_std"]
    with replacing(path) as partial, partial.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*fields, "seeds", "mean", "std", "error"])
        for row in table.rows:
            for column, figure in zip(table.columns, row.figures, strict=True):
                published = [figure.mean, figure.std] if figure else ["", ""]
                ours = results.get((row.name, column.name), Ours([]))
                line = [table.number, row.name, column.name, table.unit, *published]
                line += [len(ours.values), ours.mean, ours.std, ours.error]
                writer.writerow(line)


def draw(table: Table, results: Results, notes: Sequence[str], path: Path) -> None:
    """A panel for each column: the paper's figures and ours, a line a method."""
    mpl.use("agg")
    import matplotlib.pyplot as plt

    wide = min(4, len(table.columns))
    high = math.ceil(len(table.columns) / wide)
    width = max(6.5, 1.3 + 2.7 * wide)
    figure, axes = plt.subplots(
        high,
        wide,
        figsize=(width, 1.5 + (0.8 + 0.34 * len(table.rows)) * high),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axis, column in zip(axes.flat, table.columns, strict=True):
        _draw_panel(axis, table, column, results)
    figure.suptitle(f"Table {table.number}. {table.title}", fontsize=11)
    handles = [
        axes[0][0].errorbar([], [], xerr=[], label=label, **style)
        for label, style in (("paper", PAPER), ("ours", OURS))
    ]
    figure.legend(handles=handles, loc="outside lower right", ncols=2, fontsize=9)
    # Matplotlib's own wrapping does not know the layout.
    caption = [textwrap.fill(note, int(13 * width)) for note in notes]
    figure.supxlabel("\n".join(caption), fontsize=8, ha="left", x=0.01)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_panel(axis: Any, table: Table, column: Column, results: Results) -> None:
    place = table.columns.index(column)
    for line, row in enumerate(table.rows):
        if (figure := row.figures[place]) is not None:
            axis.errorbar(figure.mean, line - 0.14, xerr=figure.std, **PAPER)
        ours = results.get((row.name, column.name), Ours([]))
        if ours.mean is not None:
            axis.errorbar(ours.mean, line + 0.14, xerr=ours.std, **OURS)
        if ours.error:
            where = {"transform": axis.get_yaxis_transform(), "ha": "right"}
            axis.text(0.98, line + 0.3, "failed", color=FAILED, fontsize=8, **where)
    axis.set_title(column.title, fontsize=10)
    axis.set_yticks(range(len(table.rows)), [row.name for row in table.rows])
    axis.set_ylim(len(table.rows) - 0.5, -0.5)  # the first row on top
    axis.set_xlabel("test accuracy, %")
    axis.margins(x=0.12)
    axis.grid(alpha=0.3)
