"""The figures of an evaluation as files: JSON, CSV and pictures."""

from __future__ import annotations

import csv
import io
import json
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sop_keras.data.datasets.dataset import Dataset
from sop_keras.drawing.class_matrix import MatrixStyle, draw_class_matrix
from sop_keras.files.atomic import replacing, write_atomically
from sop_keras.files.formulas import without_formulas
from sop_keras.files.untrusted import opened_text
from sop_keras.training.evaluation import Evaluation, choose_splits
from sop_keras.training.versions import versions

STYLE = MatrixStyle(
    most_numbers=20,
    most_names=100,
    longest_name=24,
    name_sizes=(9, 7),
    number_size=8,
)
# For each class in the picture of a confusion matrix, in inches; and for all of them,
# where they have no names.
INCHES_WITH_COUNTS, INCHES_WITH_NAMES, INCHES_OF_ALL = 0.55, 0.16, 10
GREY, BARS = "#777777", "#1f5fbf"


def forget(path: Path, splits: Collection[str]) -> None:
    """Take these splits out of the list that an earlier evaluation left.

    Its images may have been mended since.
    """
    if path.exists():
        with opened_text(path, errors="backslashreplace") as file:
            try:
                rows = [row for row in csv.reader(file) if {*row[:1]} - {*splits}]
            except csv.Error as error:
                raise ValueError(
                    f"{path} is no list of images: {error}. Remove it."
                ) from None
        write_csv(path, rows)


def figures_of_views(evaluation: Evaluation, views: str) -> dict[str, float]:
    """Figures of several views of each image, under the names of the plain ones.

    Args:
        evaluation: of the views.
        views: which: what their names end with, such as `accuracy_flip`.
    """
    return {
        f"accuracy_{views}": evaluation.accuracy,
        f"top_k_accuracy_{views}": evaluation.top_k_accuracy,
        f"cross_entropy_{views}": evaluation.cross_entropy,
        f"expected_calibration_error_{views}": evaluation.calibration_error,
    }


def write(
    folder: Path,
    split: str,
    evaluation: Evaluation,
    dataset: Dataset,
    model: Path,
    of_views: Mapping[str, float] | None = None,
) -> None:
    """Write the figures of a split, as JSON, CSV and pictures.

    Args:
        folder: where to.
        split: what was evaluated on.
        evaluation: of it.
        dataset: what it is a part of.
        model: the file.
        of_views: figures of several views of each image, beside those. Defaults to
            `None`: there are none.
    """
    figures = {
        "model": str(model),
        "dataset": dataset.name,
        "split": split,
        "num_left_out": len(choose_splits(dataset, [split])[split])
        - evaluation.num_images,
        **evaluation.figures(),
        **(of_views or {}),
        "mean": dataset.mean,
        "std": dataset.std,
        "versions": versions(),
    }
    text = json.dumps(figures, indent=2, allow_nan=False)
    write_atomically(folder / f"{split}.json", text)
    names = dataset.class_names
    write_csv(folder / f"{split}_per_class.csv", class_rows(evaluation, names))
    title = (
        f"{dataset.name}, {split}: {100 * evaluation.accuracy:.2f} % of "
        f"{evaluation.num_images:,} images"
    )
    if evaluation.confusion is not None:
        rows = [["label \\ predicted", *names]]
        counts = evaluation.confusion.tolist()
        rows += [[name, *line] for name, line in zip(names, counts, strict=True)]
        write_csv(folder / f"{split}_confusion.csv", rows)
        path = folder / f"{split}_confusion.png"
        draw_confusion(evaluation.confusion, names, title, path)
    draw_reliability(evaluation, title, folder / f"{split}_reliability.png")


def class_rows(evaluation: Evaluation, names: Sequence[str]) -> list[list[Any]]:
    """A row for each class, below a header; empty cells for what 0 / 0 would be."""
    rows: list[list[Any]] = [
        ["class", "name", "images", "correct", "accuracy", "precision"]
    ]
    figures = evaluation.figures()
    for place, name in enumerate(names):
        correct = int(evaluation.num_correct[place])
        images = int(evaluation.num_of_label[place])
        ratios = (
            figures[f"class_{one}"][place] for one in ("accuracies", "precisions")
        )
        rows.append([place, name, images, correct, *ratios])
    return rows


def write_csv(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write rows with all texts quoted, and none that a spreadsheet would run."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerows(
        [without_formulas(one) if isinstance(one, str) else one for one in row]
        for row in rows
    )
    # What is no character, half of a pair, has no place in a file.
    write_atomically(path, text.getvalue().encode(errors="backslashreplace").decode())


def draw_confusion(
    counts: np.ndarray, names: Sequence[str], title: str, path: Path
) -> None:
    """Labels by predictions; the darker, the more of the label's images."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    inches = INCHES_OF_ALL
    if len(names) <= STYLE.most_names:
        few = len(names) <= STYLE.most_numbers
        inches = len(names) * (INCHES_WITH_COUNTS if few else INCHES_WITH_NAMES)
    inches = max(inches, 3)
    figure = Figure(figsize=(inches + 2.6, inches + 1.6), layout="constrained")
    axis = figure.add_subplot()
    texts = {
        (line, column): str(counts[line, column])
        for line, column in np.argwhere(counts).tolist()
    }
    image = draw_class_matrix(axis, shares, names, texts, STYLE)
    bar = figure.colorbar(image, ax=axis, shrink=0.7)
    percent = [0, 1, 5, 20, 50, 100]
    bar.set_ticks([one / 100 for one in percent], labels=[str(one) for one in percent])
    bar.set_label("% of the label's images")
    axis.set_title(title, fontsize=11, parse_math=False)
    axis.set_xlabel("predicted")
    axis.set_ylabel("label")
    _save(figure, path)


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
    with replacing(path) as partial, warnings.catch_warnings():
        # Letters that no font here has are boxes in the picture; the CSV has them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(partial, format="png", dpi=110)
