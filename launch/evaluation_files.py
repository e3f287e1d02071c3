"""The figures of an evaluation as files: JSON, CSV and pictures."""

from __future__ import annotations

import csv
import io
import json
import warnings
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from sop_keras.data.datasets.dataset import Source
from sop_keras.training.checkpoint import write_atomically
from sop_keras.training.evaluation import Evaluation, choose_parts
from sop_keras.training.run import versions

# Classes in the picture of a confusion matrix: at most so many with the counts in the
# cells, with the classes' names beside them; and inches for each of them.
MAX_WITH_COUNTS, MAX_WITH_NAMES = 20, 100
INCHES_WITH_COUNTS, INCHES_WITH_NAMES, INCHES_OF_ALL = 0.55, 0.16, 10
LONGEST_NAME = 24
INK, GREY, BARS = "#222222", "#777777", "#1f5fbf"


def forget(path: Path, parts: Collection[str]) -> None:
    """Take these parts out of the list that an earlier evaluation left.

    Its images may have been mended since.
    """
    if path.exists():
        with path.open(newline="") as file:
            rows = [row for row in csv.reader(file) if row[0] not in parts]
        write_csv(path, rows)


def write(
    folder: Path, part: str, evaluation: Evaluation, source: Source, model: Path
) -> None:
    """Write the figures of a part, as JSON, CSV and pictures."""
    figures = {
        "model": str(model),
        "dataset": source.name,
        "part": part,
        "num_left_out": len(choose_parts(source, [part])[part]) - evaluation.num_images,
        **evaluation.figures(),
        "mean": source.mean,
        "std": source.std,
        "versions": versions(),
    }
    text = json.dumps(figures, indent=2, allow_nan=False)
    write_atomically(folder / f"{part}.json", text)
    names = source.class_names
    write_csv(folder / f"{part}_per_class.csv", class_rows(evaluation, names))
    rows = [["label \\ predicted", *names]]
    counts = evaluation.confusion.tolist()
    rows += [[name, *line] for name, line in zip(names, counts, strict=True)]
    write_csv(folder / f"{part}_confusion.csv", rows)
    title = (
        f"{source.name}, {part}: {100 * evaluation.accuracy:.2f} % of "
        f"{evaluation.num_images:,} images"
    )
    draw_confusion(evaluation, names, title, folder / f"{part}_confusion.png")
    draw_reliability(evaluation, title, folder / f"{part}_reliability.png")


def class_rows(evaluation: Evaluation, names: Sequence[str]) -> list[list[Any]]:
    """A row for each class, below a header; empty cells for what 0 / 0 would be."""
    rows: list[list[Any]] = [
        ["class", "name", "images", "correct", "accuracy", "precision"]
    ]
    figures = evaluation.figures()
    for place, name in enumerate(names):
        correct = int(evaluation.confusion[place, place])
        images = int(evaluation.confusion[place].sum())
        ratios = (
            figures[f"class_{one}"][place] for one in ("accuracies", "precisions")
        )
        rows.append([place, name, images, correct, *ratios])
    return rows


def write_csv(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write rows with all texts quoted, whatever is in them."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerows(rows)
    # What is no character, half of a pair, has no place in a file.
    write_atomically(path, text.getvalue().encode(errors="backslashreplace").decode())


def draw_confusion(
    evaluation: Evaluation, names: Sequence[str], title: str, path: Path
) -> None:
    """Labels by predictions; the darker, the more of the label's images."""
    counts = evaluation.confusion
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    inches = INCHES_OF_ALL
    if len(names) <= MAX_WITH_NAMES:
        few = len(names) <= MAX_WITH_COUNTS
        inches = len(names) * (INCHES_WITH_COUNTS if few else INCHES_WITH_NAMES)
    inches = max(inches, 3)
    figure = Figure(figsize=(inches + 2.6, inches + 1.6), layout="constrained")
    axis = figure.add_subplot()
    # A root, so that rare confusions can be seen beside the diagonal.
    image = axis.imshow(100 * shares, cmap="Blues", norm=PowerNorm(0.5, 0, 100))
    bar = figure.colorbar(image, ax=axis, shrink=0.7, ticks=[0, 1, 5, 20, 50, 100])
    bar.set_label("% of the label's images")
    axis.set_title(title, fontsize=11, parse_math=False)
    axis.set_xlabel("predicted")
    axis.set_ylabel("label")
    if len(names) <= MAX_WITH_NAMES:
        shown = [shown_name(name) for name in names]
        style = {"fontsize": 9 if few else 7, "parse_math": False}
        axis.set_yticks(range(len(names)), shown, **style)
        turn = 90 if max(map(len, shown)) > 3 else 0
        axis.set_xticks(range(len(names)), shown, rotation=turn, **style)
        if few:
            _write_counts(axis, counts, shares)
    _save(figure, path)


def _write_counts(axis: Any, counts: np.ndarray, shares: np.ndarray) -> None:
    for line, column in np.argwhere(counts):
        color = "white" if shares[line, column] > 0.3 else INK
        axis.text(
            column,
            line,
            str(counts[line, column]),
            color=color,
            fontsize=8,
            ha="center",
            va="center",
        )


def draw_reliability(evaluation: Evaluation, title: str, path: Path) -> None:
    """Accuracy by confidence, above how many images have that confidence."""
    bins = evaluation.calibration()
    width = bins[0]["up_to"]
    places = [one["above"] for one in bins]
    accuracies = [100 * (one["accuracy"] or 0) for one in bins]
    shares = [100 * one["images"] / evaluation.num_images for one in bins]
    figure = Figure(figsize=(4.6, 5.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    style = {"width": width, "align": "edge", "color": BARS, "edgecolor": "white"}
    upper.bar(places, accuracies, **style)
    upper.plot([0, 1], [0, 100], "--", color=GREY)
    upper.set_xlim(0, 1)
    upper.set_ylim(0, 100)
    upper.set_ylabel("accuracy, %")
    error = 100 * evaluation.calibration_error
    upper.set_title(
        f"{title}\nexpected calibration error {error:.2f} %",
        fontsize=9,
        parse_math=False,
    )
    lower.bar(places, shares, **style)
    lower.set_ylabel("images, %")
    lower.set_xlabel("confidence (the largest probability)")
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    partial = path.with_name(f"{path.name}.partial")
    with warnings.catch_warnings():
        # Letters that no font here has are boxes in the picture; the CSV has them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(partial, format="png", dpi=110)
    partial.replace(path)


def shown_name(name: str) -> str:
    """A class's name, in one short line of characters that can be shown."""
    shown = "".join(one if one.isprintable() else "?" for one in name)
    return shown if len(shown) <= LONGEST_NAME else f"{shown[: LONGEST_NAME - 3]}..."
