"""The report of a run, from its folder to the page."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np

from sop_keras import methods
from sop_keras.data.datasets.by_name import DataFiles
from sop_keras.data.datasets.dataset import Examples
from sop_keras.data.images.encoded_images import ImageFiles
from sop_keras.files.atomic import replacing
from sop_keras.files.folders import make_folder
from sop_keras.files.shown_text import shown
from sop_keras.report.comparisons import Comparisons
from sop_keras.report.drawings import draw_all
from sop_keras.report.headline import check_figures, settings_of, statistics_of
from sop_keras.report.page import Page, render
from sop_keras.report.parts import ReportExamples, num_outside
from sop_keras.report.run_labels import labels_of
from sop_keras.training.picture_folder import default_folder
from sop_keras.training.saved_run import (
    load_run,
    method_of,
    recorded_files,
    run_settings,
)

logger = logging.getLogger(__name__)

_NUM_CHANGES = 10


def write_report(
    folder: str | os.PathLike[str],
    files: DataFiles | None = None,
    output: str | os.PathLike[str] | None = None,
    num_examples: int = 200,
    picture_folder: str | os.PathLike[str] | None = None,
    similar: Mapping[int, Sequence[int] | np.ndarray] | None = None,
) -> Path:
    """Write the report of a complete run whose method finds wrong labels.

    That is one HTML page that needs no network, and its plots as PNG in a folder of the
    same name beside it. The page has the first `parts.NUM_FIRST` examples in itself;
    further ones are in files of that folder, which the page loads when it gets there.
    They are written part by part: memory does not grow with their number.

    On the page people go through the examples and decide which label is right; it saves
    what they decided as a file that `read_decisions` reads.

    Args:
        folder: the run's folder.
        files: where its data set is. Defaults to `None`: where it was in training.
        output: the page, `NAME.html`. Defaults to `None`: `report.html` in `folder`.
        num_examples: how many labels the page shows, at least 1. Defaults to `200`.
        picture_folder: of images that are files, those in this folder or below it are
            shown; the page says how many are not. Defaults to `None`: the folder of the
            manifest, or of the data set. The run may be somebody else's, whose list of
            images can name any file of this machine.
        similar: for ids of examples, the ids of others that look like them, such as a
            row of an array `(n, m)`; the review shows these beside it. Defaults to
            `None`: it shows some of the given and of the suggested class that are most
            surely right.

    Returns:
        The page's path.

    Raises:
        FileNotFoundError: if the folder is not that of a run, or lacks the table of
            label issues, or the data set is not to be found.
        ValueError: for a run whose method finds none, one that is not complete, other
            data, or an argument that cannot be.
        OutputError: if something cannot be written.
    """
    folder = Path(folder)
    path = Path(output) if output is not None else folder / "report.html"
    _check(folder, path, num_examples)
    run = load_run(folder, files)
    check_figures(run)
    labels = labels_of(run)
    train = run.data.train
    allowed = _allowed(train, files or recorded_files(folder), picture_folder)
    comparisons = Comparisons(labels, train, allowed, similar)
    examples = ReportExamples(
        labels, train, run.class_names, num_examples, allowed, comparisons
    )
    first = examples.first()
    drawn = draw_all(run, labels)
    pictures = path.with_suffix("")
    make_folder(pictures, inside=pictures.parent)
    num_left_out = num_outside(first.rows) + examples.write_others(pictures, first)
    page = Page(
        title=f"Label report: {run.data.dataset.name}",
        summary=(
            f"{run.experiment.record.title} on {len(run.data.train):,} "
            f"training examples of {run.data.dataset.name}: whose labels look wrong."
        ),
        warnings=[*run.doubts(), *_left_out(num_left_out, len(examples), allowed)],
        statistics=statistics_of(run, labels),
        settings=settings_of(run),
        plots=drawn,
        changes=labels.frequent_changes(_NUM_CHANGES),
        class_names=run.class_names,
        first=first,
        folder=quote(os.fsencode(pictures.name)),
    )
    for plot in drawn:
        _write(pictures / f"{plot.name}.png", plot.light)
    # Half surrogates are no characters: names that have them are shown escaped.
    _write(path, render(page).encode("utf-8", "backslashreplace"))
    return path


def _allowed(
    train: Examples, files: DataFiles, folder: str | os.PathLike[str] | None
) -> Path | None:
    if not isinstance(train.images, ImageFiles):
        return None
    return default_folder(train.images, files) if folder is None else Path(folder)


def _left_out(count: int, num_examples: int, allowed: Path | None) -> list[str]:
    """What is said of pictures that are left out; nothing where none is."""
    if not count:
        return []
    text = (
        f"{count:,} of the {num_examples:,} pictures are left out: their files are not "
        f"in {shown(allowed or '')}, links followed. If the list of images is to be "
        "trusted, say where they may be: --picture_folder=FOLDER (or --data_dir) to "
        "`sop-keras report`, `picture_folder` to `write_report`."
    )
    logger.warning("%s", text)
    return [text]


def _check(folder: Path, path: Path, num_examples: int) -> None:
    """Find what is wrong before the data are loaded."""
    if path.suffix != ".html":
        raise ValueError(
            f"The report is a page: its name must end in .html. Received: {path}."
        )
    if num_examples < 1:
        raise ValueError(
            f"`num_examples` must be at least 1. Received: num_examples={num_examples}."
        )
    record = method_of(folder, run_settings(folder))
    if not record.finds_label_issues:
        raise ValueError(
            f"{folder} is a run of {record.title}, which says nothing about single "
            f"labels. Choose a run of --method={methods.DEFAULT}."
        )


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as partial:
        partial.write_bytes(content)
