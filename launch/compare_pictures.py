"""The pictures of a comparison: accuracy and cost as bars, and curves by epoch."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from cells import Cell
from compare_table import Row, accuracy_key, paper_notes, split_notes, split_of, std
from figure1 import COLORS, LINES

from sop_keras.files.atomic import replacing

BAR, COST, FAILED = "#1f5fbf", "#9aa5b1", "#c0392b"
BEST = {"marker": "|", "color": "#0c2d63", "markersize": 9, "markeredgewidth": 1.6}
PAPER = {"marker": "o", "color": "#555555", "markerfacecolor": "white", "markersize": 5}
ERROR = {"elinewidth": 1.2, "capsize": 2.5, "ecolor": "#0c2d63"}
MOST_COLUMNS = 3
WIDE = 8
"""Costs that are so many times apart are shown on a logarithmic axis."""


def draw_bars(
    rows: Sequence[Row], title: str, notes: Sequence[str], path: Path
) -> None:
    """A panel for each noise and one for the cost, the method that leads on top."""
    plt = _pyplot()
    titles = _by_accuracy(rows)
    noises = list(dict.fromkeys(row.noise for row in rows))
    wide = min(MOST_COLUMNS, len(noises) + 1)
    high = math.ceil((len(noises) + 1) / wide)
    label = max(map(len, titles))
    width = 2.6 * wide + 0.075 * label + 0.4
    figure, axes = plt.subplots(
        high,
        wide,
        figsize=(max(5.4, width), 1.3 + (0.75 + 0.27 * len(titles)) * high),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    panels = list(axes.flat)
    for axis, noise in zip(panels, noises, strict=False):
        _draw_accuracies(axis, [row for row in rows if row.noise == noise], titles)
        axis.set_title(noise, fontsize=10)
    cost = panels[len(noises)]
    _draw_costs(cost, rows, titles)
    for axis in panels[len(noises) + 1 :]:
        axis.set_visible(False)
    for axis in panels:
        axis.set_yticks(range(len(titles)), titles)
        axis.set_ylim(len(titles) - 0.4, -0.6)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="x", alpha=0.3)
        axis.set_axisbelow(True)
    figure.suptitle(title, fontsize=11)
    handles = [mpl.patches.Patch(color=BAR, alpha=0.8, label="last epoch")]
    handles.append(
        mpl.lines.Line2D([], [], linestyle="none", label="best epoch", **BEST)
    )
    if any(row.paper for row in rows):
        line = mpl.lines.Line2D([], [], linestyle="none", label="paper", **PAPER)
        handles.append(line)
    figure.legend(
        handles=handles,
        loc="outside lower right",
        ncols=len(handles),
        fontsize=8,
        frameon=False,
    )
    _caption(figure, [*notes, *split_notes(rows), *paper_notes(rows)])
    _save(plt, figure, path)


def _draw_accuracies(axis: Any, rows: Sequence[Row], titles: Sequence[str]) -> None:
    low, high = _limits(rows)
    for row in rows:
        place = titles.index(row.title)
        if row.last:
            middle = float(np.mean(row.last))
            axis.barh(
                place,
                middle - low,
                left=low,
                height=0.62,
                color=BAR,
                alpha=0.8,
                xerr=std(row.last),
                error_kw=ERROR,
            )
            axis.plot(float(np.mean(row.best)), place, linestyle="none", **BEST)
            axis.text(
                low + 0.012 * (high - low),
                place,
                f"{middle:.1f}",
                va="center",
                fontsize=8,
                color="white",
            )
        if row.paper is not None:
            axis.errorbar(row.paper.mean, place, xerr=row.paper.std, **PAPER)
        if row.error:
            _failed(axis, place)
    axis.set_xlim(low, high)
    axis.set_xlabel(f"{split_of(rows)} accuracy, %" + " (axis cut)" * (low > 0))


def _limits(rows: Sequence[Row]) -> tuple[float, float]:
    """Of an axis of accuracies: with room below the lowest one for its number."""
    known = [one for row in rows for one in (*row.last, *row.best)]
    known += [row.paper.mean for row in rows if row.paper]
    if not known:
        return 0.0, 100.0
    lowest, highest = min(known), max(known)
    spread = max(highest - lowest, 2.0)
    return max(0.0, lowest - 0.45 * spread), highest + 0.12 * spread


def _draw_costs(axis: Any, rows: Sequence[Row], titles: Sequence[str]) -> None:
    """Training time of a run, by cross entropy's where that is known; means of noises.

    Args:
        axis: to draw on.
        rows: of all noises.
        titles: from top to bottom.
    """
    has_ratios = any(row.run_ratio is not None for row in rows)
    for place, title in enumerate(titles):
        known = [
            value
            for row in rows
            if row.title == title
            and (value := row.run_ratio if has_ratios else row.run_seconds) is not None
        ]
        if known:
            value = float(np.mean(known))
            axis.barh(place, value, height=0.62, color=COST)
            text = f" {value:.2f}" if has_ratios else f" {value:.0f}"
            axis.text(value, place, text, va="center", fontsize=8)
    axis.set_title("cost", fontsize=10)
    unit = "CE = 1" if has_ratios else "s"
    axis.set_xlabel(f"time of a whole run, {unit}")
    values = [bar.get_width() for bar in axis.patches]
    if values and max(values) > WIDE * min(values):
        axis.set_xscale("log")
        axis.set_xlim(0.8 * min(values), 2.2 * max(values))
    else:
        axis.margins(x=0.2)


def draw_curves(cells: Sequence[Cell], title: str, split: str, path: Path) -> None:
    """Training accuracy above, that of the split below, a column for each noise.

    A line is the mean over complete runs, its band their range.

    Args:
        cells: complete or not; one is, at least.
        title: of the picture.
        split: what methods are compared on, as readers know it.
        path: the file.
    """
    plt = _pyplot()
    cells = [cell for cell in cells if cell.run.result is not None]
    noises = list(dict.fromkeys(cell.noise.title for cell in cells))
    names = list(dict.fromkeys(cell.setting.title for cell in cells))
    looks = dict(
        zip(names, zip(itertools.cycle(COLORS), itertools.cycle(LINES)), strict=False)
    )
    figure, axes = plt.subplots(
        2,
        len(noises),
        figsize=(3.4 * len(noises) + 0.075 * max(map(len, names)) + 1.0, 5.6),
        sharex="col",
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    handles: dict[str, Any] = {}
    for column, noise in enumerate(noises):
        for name in names:
            runs = [
                history
                for cell in cells
                if (cell.noise.title, cell.setting.title) == (noise, name)
                and (history := cell.run.history())
            ]
            for line, is_test in enumerate((False, True)):
                curves = _curves(runs, is_test)
                if not curves.size:
                    continue
                color, style = looks[name]
                epochs = np.arange(1, curves.shape[1] + 1)
                middle = curves.mean(axis=0)
                axis = axes[line][column]
                drawn = axis.plot(epochs, middle, style, color=color, label=name)
                handles.setdefault(name, drawn[0])
                band = (curves.min(axis=0), curves.max(axis=0))
                axis.fill_between(epochs, *band, color=color, alpha=0.12, linewidth=0)
                axis.xaxis.get_major_locator().set_params(integer=True)
        axes[0][column].set_title(noise, fontsize=10)
        axes[1][column].set_xlabel("epoch")
    axes[0][0].set_ylabel("training accuracy (given labels), %")
    axes[1][0].set_ylabel(f"{split} accuracy, %")
    for axis in axes.flat:
        axis.grid(alpha=0.3)
    figure.suptitle(title, fontsize=11)
    figure.legend(
        handles=list(handles.values()),
        loc="outside center right",
        fontsize=9,
        frameon=False,
    )
    _save(plt, figure, path)


def _curves(runs: Sequence[Sequence[dict[str, float]]], is_test: bool) -> np.ndarray:
    """Percent, `(runs, epochs)`."""
    found = [
        [
            100 * row[key]
            for row in history
            if (key := accuracy_key(row) if is_test else "accuracy") in row
        ]
        for history in runs
    ]
    return np.array([curve for curve in found if curve])


def _by_accuracy(rows: Sequence[Row]) -> list[str]:
    """The titles, the highest mean over noises first; those without one last."""
    last: dict[str, list[float]] = {}
    for row in rows:
        last.setdefault(row.title, []).extend(row.last)
    return sorted(last, key=lambda title: -np.mean(last[title] or [-1.0]))


def _failed(axis: Any, place: int) -> None:
    axis.text(
        0.98,
        place,
        "failed",
        color=FAILED,
        fontsize=8,
        ha="right",
        va="center",
        transform=axis.get_yaxis_transform(),
    )


def _caption(figure: Any, notes: Sequence[str]) -> None:
    # Matplotlib's own wrapping does not know the layout.
    width = int(14 * figure.get_figwidth())
    text = "\n".join(textwrap.fill(note, width) for note in notes)
    figure.supxlabel(text, fontsize=8, ha="left", x=0.01)


def _pyplot() -> Any:
    mpl.use("agg")
    import matplotlib.pyplot as plt

    return plt


def _save(plt: Any, figure: Any, path: Path) -> None:
    with replacing(path) as partial:
        figure.savefig(partial, dpi=110)
    plt.close(figure)
