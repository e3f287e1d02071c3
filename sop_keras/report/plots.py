"""The plots of a report, each for a light and for a dark page."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sop_keras.drawing.cells import percents
from sop_keras.drawing.class_matrix import MatrixStyle, draw_class_matrix
from sop_keras.report.run_labels import RunLabels

_DOTS_PER_INCH = 140
_NUM_BINS = 50
# Points of a curve: more cannot be told apart.
_MAX_POINTS = 2_000

_SCORES = {
    "label_quality": ("Label quality", "the probability that a label is right"),
    "noise_score": ("Noise score", "what the example's rows say alone"),
}

# Columns of history.csv beside `accuracy`: how training labels are fitted.
_FITS = {
    "memorization/right_labels_fitted": "right labels fitted",
    "memorization/wrong_labels_corrected": "wrong labels seen through",
    "memorization/wrong_labels_fitted": "wrong labels fitted",
}


@dataclass(frozen=True)
class Theme:
    """The colours of a plot, as matplotlib takes them.

    Args:
        background: of the page's cards.
        ink: of text.
        faint: of lines that are no data.
        colors: of data, in this order.
    """

    background: str
    ink: str
    faint: str
    colors: tuple[str, str, str, str]


LIGHT = Theme(
    "#ffffff", "#23272c", "#9aa1a9", ("#2463a6", "#c24f2a", "#2e8560", "#777")
)
DARK = Theme("#1c1f23", "#d9dde2", "#6d757e", ("#6fa9e8", "#f08a61", "#5fc296", "#999"))


def draw_training(
    history: Sequence[Mapping[str, float]], noise_rate: float | None, theme: Theme
) -> Figure:
    """Training accuracy by epoch, as in Figure 1 of the paper.

    Args:
        history: a dict an epoch, as of `SavedRun`.
        noise_rate: the share of wrong training labels, where it is known: a network
            that fits all right labels and no wrong one has the accuracy of 1 less it.
        theme: the colours.
    """
    curves = {"accuracy": "given labels"}
    curves |= {name: text for name, text in _FITS.items() if name in history[-1]}
    figure, axis = _figure(theme)
    _draw_curves(axis, history, curves, theme)
    if noise_rate is not None:
        axis.axhline(
            100 * (1 - noise_rate), label="share of right labels", **_guide(theme)
        )
    _finish(axis, theme, "Training accuracy", legend=len(axis.lines) > 1)
    return figure


def draw_tests(history: Sequence[Mapping[str, float]], theme: Theme) -> Figure:
    """Accuracy by epoch on all that the run was evaluated on.

    Args:
        history: a dict an epoch, as of `SavedRun`.
        theme: the colours.
    """
    curves = {
        name: name.removesuffix("_accuracy")
        for name in history[-1]
        if name.endswith("_accuracy")
    }
    if "val_accuracy" in curves:
        curves["val_accuracy"] = "validation, given labels"
    figure, axis = _figure(theme)
    _draw_curves(axis, history, curves, theme)
    title = "Test accuracy" if "test_accuracy" in curves else "Validation accuracy"
    _finish(axis, theme, title, legend=len(curves) > 1)
    return figure


def draw_matrix(
    matrix: np.ndarray, class_names: Sequence[str], kind: str, theme: Theme
) -> Figure:
    """A matrix of label noise, darker where there is more of it.

    Args:
        matrix: P(given label | true label), `(K, K)`.
        class_names: K of them.
        kind: of the matrix: `"estimated"` or `"true"`.
        theme: the colours.
    """
    figure, axis = _figure(theme)
    style = MatrixStyle(
        most_numbers=12,
        most_names=30,
        longest_name=20,
        name_sizes=(8.0, 6.5),
        number_size=7,
        background=theme.background,
        ink=theme.ink,
        darkest=theme.colors[0],
    )
    draw_class_matrix(axis, matrix, class_names, percents(matrix), style)
    axis.set(xlabel="given label", ylabel=f"{kind} class")
    _finish(axis, theme, f"Label noise, {kind}", grid=False)
    return figure


def draw_histogram(labels: RunLabels, column: str, theme: Theme) -> Figure:
    """How many labels have which score; apart for right and for wrong labels.

    Args:
        labels: of the run.
        column: `"label_quality"` or `"noise_score"`.
        theme: the colours.
    """
    figure, axis = _figure(theme)
    is_wrong, values = labels.is_wrong, labels.column(column)
    groups = {"all labels": np.ones(len(labels), bool)}
    if is_wrong is not None:
        groups = {"right labels": ~is_wrong, "wrong labels": is_wrong}
    # Of labels that a person has confirmed, the rows say nothing.
    bins = np.histogram_bin_edges(values[np.isfinite(values)], _NUM_BINS)
    if column == "label_quality":
        bins = np.linspace(0, 1, _NUM_BINS + 1)
        axis.axvline(0.5, **_guide(theme))
    for color, (text, chosen) in zip(theme.colors, groups.items(), strict=False):
        counts, _ = np.histogram(values[chosen], bins)
        style: dict[str, Any] = {"fill": True, "alpha": 0.4, "edgecolor": color}
        axis.stairs(counts, bins, label=text, facecolor=color, **style)
    axis.set_yscale("symlog", linthresh=1)
    axis.set_ylim(0, 10 * max(1, np.histogram(values, bins)[0].max()))  # and a legend
    title, meaning = _SCORES[column]
    axis.set(xlabel=f"{column}: {meaning}", ylabel="labels")
    _finish(axis, theme, title, legend=is_wrong is not None)
    return figure


def draw_precision_recall(labels: RunLabels, theme: Theme) -> Figure:
    """Precision by recall of finding wrong labels, from the lowest quality on.

    Args:
        labels: of the run, with some clean labels known and wrong.
        theme: the colours.

    Raises:
        ImportError: without scikit-learn.
    """
    from sklearn.metrics import precision_recall_curve

    is_wrong, is_issue = labels.is_wrong, labels.column("is_label_issue")
    assert is_wrong is not None
    precision, recall, _ = precision_recall_curve(
        is_wrong, -labels.column("label_quality")
    )
    places = np.unique(np.linspace(0, len(recall) - 1, _MAX_POINTS).astype(int))
    figure, axis = _figure(theme)
    axis.plot(
        100 * recall[places],
        100 * precision[places],
        color=theme.colors[0],
        label="lowest quality first",
    )
    hits = (is_wrong & is_issue).sum()
    if is_issue.any():
        axis.plot(
            100 * hits / is_wrong.sum(),
            100 * hits / is_issue.sum(),
            "o",
            color=theme.colors[1],
            label="label issues",
        )
    axis.axhline(100 * is_wrong.mean(), label="at random", **_guide(theme))
    axis.set(xlabel="recall, %", ylabel="precision, %", xlim=(0, 102), ylim=(0, 102))
    _finish(axis, theme, "Finding wrong labels", legend=True)
    return figure


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        # Letters that no font here has are boxes in the picture; the page has them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(content, format="png", dpi=_DOTS_PER_INCH)
    return content.getvalue()


def _figure(theme: Theme) -> tuple[Figure, Axes]:
    figure = Figure((4.8, 4.2), layout="constrained", facecolor=theme.background)
    return figure, figure.add_subplot()


def _guide(theme: Theme) -> dict[str, Any]:
    """How a line looks that is no data."""
    return {"color": theme.faint, "linestyle": "--", "linewidth": 1}


def _draw_curves(
    axis: Axes,
    history: Sequence[Mapping[str, float]],
    curves: Mapping[str, str],
    theme: Theme,
) -> None:
    for color, (name, text) in zip(cycle(theme.colors), curves.items(), strict=False):
        rows = [row for row in history if name in row]
        axis.plot(
            [row["epoch"] for row in rows],
            [100 * row[name] for row in rows],
            color=color,
            label=text,
            marker="o" if len(rows) == 1 else None,
        )
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set(xlabel="epoch", ylabel="%")


def _finish(
    axis: Axes, theme: Theme, title: str, *, grid: bool = True, legend: bool = False
) -> None:
    """Give all but the data the colours of the theme."""
    axis.set_facecolor(theme.background)
    axis.set_title(title, fontsize=11, color=theme.ink, loc="left")
    axis.tick_params(colors=theme.ink, which="both", length=2)
    for one in (axis.xaxis, axis.yaxis):
        one.label.set_color(theme.ink)
        one.label.set_fontsize(9)
    for side, spine in axis.spines.items():
        spine.set_color(theme.faint)
        spine.set_visible(not grid or side in ("left", "bottom"))
    if grid:
        axis.grid(color=theme.faint, alpha=0.25, linewidth=0.8)
    if legend:
        axis.legend(fontsize=8, labelcolor=theme.ink, frameon=False)
