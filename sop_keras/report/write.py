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
from sop_keras.label_issues.decisions import Decisions
from sop_keras.report.comparisons import Comparisons
from sop_keras.report.drawings import draw_all
from sop_keras.report.headline import check_figures, settings_of, statistics_of
from sop_keras.report.no_images import NoImages
from sop_keras.report.page import DECISIONS, Page, render
from sop_keras.report.parts import ReportExamples, num_outside
from sop_keras.report.run_labels import labels_of
from sop_keras.report.sections import ids_of, sections_of
from sop_keras.report.subject import Subject
from sop_keras.training.experiment_data import ExperimentData
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
    data: ExperimentData | None = None,
    decisions: str = DECISIONS,
    earlier: Decisions | None = None,
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
        data: of the run, where they are loaded already. Defaults to `None`: they are
            loaded.
        decisions: the name of the file that decisions are saved as. Defaults to
            `"decisions.csv"`.
        earlier: what people had decided before: the file has it as well, but of
            examples that are decided on anew. Defaults to `None`: nothing.

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
    check_page(path, num_examples)
    _check_method(folder)
    run = load_run(folder, files, data)
    check_figures(run)
    labels, name = labels_of(run), run.data.dataset.name
    train = run.data.train
    subject = Subject(
        title=f"Label report: {name}",
        summary=(
            f"{run.experiment.record.title} on {len(train):,} training examples of "
            f"{name}: whose labels look wrong."
        ),
        doubts=run.doubts(),
        labels=labels,
        train=train,
        class_names=run.class_names,
        statistics=statistics_of(run, labels),
        settings=settings_of(run),
        history=run.history,
        views="" if run.experiment.augment == "none" else " on augmented images",
        sections=sections_of(run.result, labels, run.class_names),
    )
    allowed = _allowed(train, files or recorded_files(folder), picture_folder)
    return write_page(subject, path, num_examples, allowed, similar, decisions, earlier)


def write_page(
    subject: Subject,
    path: Path,
    num_examples: int,
    allowed: Path | None = None,
    similar: Mapping[int, Sequence[int] | np.ndarray] | None = None,
    decisions: str = DECISIONS,
    earlier: Decisions | None = None,
) -> Path:
    """Write a page, and what is beside it.

    Args:
        subject: what it is of.
        path: the page, `NAME.html`.
        num_examples: as of `write_report`.
        allowed: of images that are files, those elsewhere are not shown. Defaults to
            `None`: all are.
        similar: as of `write_report`. Defaults to `None`.
        decisions: as of `write_report`. Defaults to `DECISIONS`.
        earlier: likewise. Defaults to `None`.

    Returns:
        The page's path.

    Raises:
        ValueError: for similar ones that are no examples.
        OutputError: if something cannot be written.
    """
    labels, train, names = subject.labels, subject.train, subject.class_names
    comparisons = Comparisons(labels, train, allowed, similar)
    examples = ReportExamples(
        labels,
        train,
        names,
        num_examples,
        allowed,
        comparisons,
        ids_of(subject.sections),
    )
    first = examples.first()
    drawn = draw_all(labels, names, subject.history, subject.views)
    pictures = path.with_suffix("")
    make_folder(pictures, inside=pictures.parent)
    num_left_out = examples.write_others(pictures, first)
    num_left_out += num_outside([*first.rows, *first.more_rows])
    num_pictures = len(examples) + len(first.more_rows)
    page = Page(
        title=subject.title,
        summary=subject.summary,
        warnings=[*subject.doubts, *_left_out(num_left_out, num_pictures, allowed)],
        statistics=subject.statistics,
        settings=subject.settings,
        plots=drawn,
        changes=labels.frequent_changes(_NUM_CHANGES),
        class_names=names,
        first=first,
        folder=quote(os.fsencode(pictures.name)),
        sections=subject.sections,
        has_images=not isinstance(train.images, NoImages),
        decisions=decisions,
        earlier=earlier,
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


def check_page(path: Path, num_examples: int) -> None:
    """Check where a page goes, and how large it is to be.

    Raises:
        ValueError: for what cannot be.
    """
    if path.suffix != ".html":
        raise ValueError(
            f"The report is a page: its name must end in .html. Received: {path}."
        )
    if num_examples < 1:
        raise ValueError(
            f"`num_examples` must be at least 1. Received: num_examples={num_examples}."
        )


def _check_method(folder: Path) -> None:
    """Find a run that says nothing of labels before the data are loaded."""
    record = method_of(folder, run_settings(folder))
    if not record.finds_label_issues:
        raise ValueError(
            f"{folder} is a run of {record.title}, which says nothing about single "
            f"labels. Choose a run of --method={methods.DEFAULT}."
        )


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as partial:
        partial.write_bytes(content)
