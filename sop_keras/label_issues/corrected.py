"""A data set under better labels, as manifests that a new training reads.

Not imported with the package: it needs Pillow, as all images in files do.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from sop_keras.data.datasets.dataset import Examples
from sop_keras.data.datasets.manifest_table import is_no_value, is_number
from sop_keras.data.images.encoded_images import EncodedImages, ImageFiles
from sop_keras.files.atomic import replacing, write_new
from sop_keras.files.formulas import is_formula
from sop_keras.files.parquet import pyarrow_for
from sop_keras.label_issues.decisions import NO_LABEL, Decisions
from sop_keras.validation import check_choice_of

if TYPE_CHECKING:
    import pandas as pd

KEEP = "keep"
ACTIONS = ("relabel", "drop", KEEP)
CONFLICT = "conflict"
FORMATS = ("csv", "parquet")

_LINE_BREAK = re.compile(r"[\r\n]")

_SUFFIXES = {b"\xff\xd8": ".jpg", b"\x89P": ".png", b"GI": ".gif", b"BM": ".bmp"}


@dataclass(frozen=True)
class Correction:
    """What was done to some training examples.

    Args:
        before: those that the table of label issues has, in the order of the data, n.
        kinds: what people decided about each, texts `(n,)`: one of `decisions.KINDS`,
            `CONFLICT`, or `""` for nothing.
        is_issue: which are label issues that nobody decided on, bool `(n,)`.
        labels: what each has now, int64 `(n,)`; `NO_LABEL` for those left out.
        after: what to train on now.
        action: one of `ACTIONS`: what was done with label issues.
    """

    before: Examples
    kinds: np.ndarray
    is_issue: np.ndarray
    labels: np.ndarray
    after: Examples
    action: str


@dataclass(frozen=True)
class Manifests:
    """What `write_manifests` wrote.

    Args:
        train: the manifest of the training examples.
        test: that of the test examples; None where there are none.
        has_names: whether labels are the classes' names there, not their numbers.
    """

    train: Path
    test: Path | None
    has_names: bool


def correct_labels(
    examples: Examples,
    issues: pd.DataFrame,
    action: str,
    num_classes: int,
    decisions: Decisions | None = None,
) -> Correction:
    """Relabel, or leave out, what people decided on and the other label issues.

    Args:
        examples: training examples under the labels that were trained on.
        issues: their table of label issues, in any order. Examples that it does not
            have (their images cannot be read) are left out.
        action: for the label issues that nobody decided on: `"relabel"` gives each its
            suggested label; `"drop"` leaves them out; `"keep"`, with decisions alone,
            leaves them as they are.
        num_classes: suggested labels are in `[0, num_classes)`.
        decisions: what people decided: those examples get the decided label, which for
            `"given"` is their own, or are left out, whatever the table says of them.
            Those that people disagree on stay as they are. Defaults to `None`: nobody
            decided anything.

    Raises:
        ValueError: for another action, a table or decisions of other examples, or if
            nothing would be left.
    """
    check_choice_of("action", action, ACTIONS)
    if action == KEEP and decisions is None:
        raise ValueError(
            "`keep` is for the label issues that nobody decided on: without decisions "
            "nothing would change. Pass them, or choose relabel or drop."
        )
    positions = match_examples(examples, issues, num_classes)
    rows = np.argsort(positions)  # in the order of the data
    before = examples.take(positions[rows])
    labels = np.array(before.labels, np.int64)
    kinds = np.full(len(before), "", object)
    if decisions is not None:
        _apply(decisions, before, kinds, labels)
    is_issue = issues["is_label_issue"].to_numpy()[rows] & (kinds == "")
    if action != KEEP:
        suggested = issues["suggested_label"].to_numpy()[rows]
        labels[is_issue] = suggested[is_issue] if action == "relabel" else NO_LABEL
    is_left = labels != NO_LABEL
    if not is_left.any():
        what = "are to be removed or" if decisions is not None else "are"
        raise ValueError(
            f"All {len(before)} examples {what} label issues: nothing would be left. "
            "Drop fewer of them (`num_issues`, `issue_rate`), or relabel them."
        )
    after = before.take(is_left).with_labels(labels[is_left])
    return Correction(before, kinds, is_issue, labels, after, action)


def _apply(
    decisions: Decisions, examples: Examples, kinds: np.ndarray, labels: np.ndarray
) -> None:
    """Put the kind and the label of each decision where its example is."""
    conflicts = np.array([one.id for one in decisions.conflicts], np.int64)
    decided, disagreed = (
        _places(examples.ids, ids) for ids in (decisions.ids, conflicts)
    )
    is_other = (decisions.kinds == "given") & (decisions.labels != labels[decided])
    if is_other.any():
        row = is_other.argmax()
        raise ValueError(
            "The decisions are on other labels: somebody confirmed the label "
            f"{decisions.labels[row]} of the example of id {decisions.ids[row]}, whose "
            f"given label is {labels[decided[row]]}. Pass those that were made with "
            "the report of this run."
        )
    is_own = decisions.labels == labels[decided]  # whatever key it was decided with
    kinds[decided] = np.where(is_own, "given", decisions.kinds)
    kinds[disagreed] = CONFLICT
    labels[decided] = decisions.labels


def _places(ids: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where some ids are among those of the examples."""
    order = np.argsort(ids)
    places = order[np.searchsorted(ids, wanted, sorter=order).clip(max=len(ids) - 1)]
    is_none = ids[places] != wanted
    if is_none.any():
        raise ValueError(
            f"The decisions are on other examples: {is_none.sum()} of their "
            f"{len(wanted)} ids are not among the run's training examples; the first "
            f"is {wanted[is_none.argmax()]}. Pass those that were made with the report "
            "of this run."
        )
    return places


def match_examples(
    examples: Examples, issues: pd.DataFrame, num_classes: int
) -> np.ndarray:
    """Where the examples of a table of label issues are in the data.

    Args:
        examples: training examples under the labels that were trained on.
        issues: their table of label issues, in any order, maybe without some of them.
        num_classes: suggested labels are in `[0, num_classes)`.

    Returns:
        The place in `examples` of each row, integers `(n,)`.

    Raises:
        ValueError: if the table is empty, has an id twice, or one that the data do not
            have with the given label, or suggests a label out of range.
    """
    ids = issues["id"].to_numpy()
    if not len(ids):
        raise ValueError(
            "The table of label issues is empty: it has no row. Pass the one that the "
            "run wrote."
        )
    unique, counts = np.unique(ids, return_counts=True)
    if len(unique) < len(ids):
        raise ValueError(
            f"The table of label issues has the id {unique[counts > 1][0]} more than "
            "once. Pass the one that the run wrote."
        )
    order = np.argsort(examples.ids)
    places = np.searchsorted(examples.ids, ids, sorter=order).clip(max=len(order) - 1)
    positions = order[places]
    given = issues["given_label"].to_numpy()
    is_own = (examples.ids[positions] == ids) & (examples.labels[positions] == given)
    if not is_own.all():
        row = is_own.argmin()
        raise ValueError(
            "The table of label issues is one of other examples, or of other labels: "
            f"of its {len(ids)} rows, {is_own.sum()} have an id and a label of the "
            f"data. No example of id {ids[row]} has the given label {given[row]}. Pass "
            "the data that the run was trained on."
        )
    suggested = issues["suggested_label"].to_numpy()
    is_class = (suggested >= 0) & (suggested < num_classes)
    if not is_class.all():
        row = is_class.argmin()
        raise ValueError(
            f"The table of label issues suggests the label {suggested[row]} for the "
            f"example of id {ids[row]}; labels are in [0, {num_classes}). Pass the one "
            "that the run wrote."
        )
    return positions


def write_manifests(
    folder: str | os.PathLike[str],
    train: Examples,
    test: Examples | None,
    class_names: Sequence[str],
    table_format: str = "csv",
) -> Manifests:
    """Write examples as manifests, as `load_dataset("manifest", ...)` reads them.

    Their columns are `path`, `label`, `clean_label` where it is known, and `id`: that
    of the data set, so that seeds and rows of the noise table keep their meaning.
    Images that are files stay where they are and have absolute paths. Images in memory
    become PNG files in `folder/images`, of the same pixels; those in records become
    files of the same bytes.

    Labels are the classes' names where the manifest gives exactly these back: all
    classes occur, and their names are distinct texts that are neither numbers nor say
    that there is no value (N/A), without line breaks, NUL or blanks around them; in CSV
    also none that a spreadsheet would run as a formula, for an apostrophe in front
    would make it another class. Else they are the classes' numbers. In CSV all texts
    are quoted.

    An interrupted call leaves no training manifest: it is written last, in one step.

    Args:
        folder: where they go; made if needed, otherwise empty.
        train: training examples.
        test: test examples; None for no test manifest.
        class_names: one name a class, in label order.
        table_format: `"csv"` or `"parquet"`. Defaults to `"csv"`.

    Raises:
        ValueError: for a folder that is not empty, or paths of images that a manifest
            cannot hold.
        ImportError: for Parquet without pyarrow.
        OSError: if something cannot be read or written.
    """
    folder = Path(folder)
    check_empty(folder)
    check_choice_of("table_format", table_format, FORMATS)
    parts = {"train": train} if test is None else {"test": test, "train": train}
    paths = {part: folder / f"{part}.{table_format}" for part in parts}
    if table_format == "parquet":
        pyarrow_for(paths["train"])
    for part, examples in parts.items():
        if isinstance(examples.images, ImageFiles):
            _check_paths(_file_paths(examples.images), part, table_format)
    has_names = _can_be_labels(train, class_names, table_format)
    folder.mkdir(parents=True, exist_ok=True)
    write = _write_csv if table_format == "csv" else _write_parquet
    for part, examples in parts.items():
        columns: dict[str, list[Any]] = {"path": _paths(examples, folder, part)}
        labels = {"label": examples.labels, "clean_label": examples.clean_labels}
        for name, values in labels.items():
            if values is not None:
                columns[name] = values.tolist()
                if has_names:
                    columns[name] = [class_names[label] for label in columns[name]]
        columns["id"] = examples.ids.tolist()
        write(paths[part], columns)
    return Manifests(paths["train"], paths.get("test"), has_names)


def check_empty(folder: Path) -> None:
    """Check that manifests can be written to a folder.

    Raises:
        ValueError: if it is a file, or has files.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        what = "is not empty" if folder.is_dir() else "is a file"
        raise ValueError(
            f"{folder} {what}: manifests and images need a folder of their own. Choose "
            "another, or remove it."
        )


def _can_be_labels(
    train: Examples, class_names: Sequence[str], table_format: str
) -> bool:
    labels = [train.labels]
    if train.clean_labels is not None:
        labels.append(train.clean_labels)
    if len(np.unique(np.concatenate(labels))) < len(class_names):
        return False  # the classes of a manifest are those that occur
    if len(set(class_names)) < len(class_names):
        return False
    return all(_can_be_label(name, table_format) for name in class_names)


def _can_be_label(name: str, table_format: str) -> bool:
    # Of classes with numbers for names, none may have another.
    if not _is_kept(name, table_format) or is_number(name) or is_no_value(name):
        return False
    try:
        name.encode()
    except UnicodeEncodeError:  # half of a pair
        return False
    return table_format != "csv" or not is_formula(name)


def _is_kept(text: str, table_format: str) -> bool:
    """Whether a manifest gives exactly this text back."""
    if table_format == "csv" and _LINE_BREAK.search(text):
        return False
    return bool(text) and text == text.strip() and "\0" not in text


def _file_paths(images: ImageFiles) -> list[str]:
    """Absolute ones; bytes that are no text as Python's functions take them."""
    folder = os.path.abspath(images.folder)
    return [os.path.join(folder, os.fsdecode(name)) for name in images.names]


def _check_paths(paths: list[str], part: str, table_format: str) -> None:
    bad = [path for path in paths if not _is_kept(path, table_format)]
    if bad:
        raise ValueError(
            f"The paths of {len(bad)} {part} images have line breaks, or blanks at the "
            f"end, which a manifest cannot hold; the first is {bad[0]!r}. Rename the "
            "files"
            + (", or write Parquet, which holds line breaks." * (table_format == "csv"))
        )


def _paths(examples: Examples, folder: Path, part: str) -> list[str]:
    """Where a manifest finds the images, which are files afterwards."""
    images = examples.images
    if isinstance(images, ImageFiles):
        return _file_paths(images)
    paths = []
    (folder / "images" / part).mkdir(parents=True)
    for position, one in enumerate(examples.ids.tolist()):
        if isinstance(images, EncodedImages):
            content = images.read(position)
            suffix = _SUFFIXES.get(content[:2], "")
        else:
            content, suffix = _png(images[position]), ".png"
        paths.append(f"images/{part}/{one}{suffix}")
        write_new(folder / paths[-1], content)
    return paths


def _png(pixels: np.ndarray) -> bytes:
    """A PNG file of uint8 pixels `(height, width, 1 or 3)`."""
    stream = io.BytesIO()
    grey = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    Image.fromarray(grey).save(stream, "PNG")
    return stream.getvalue()


def _write_csv(path: Path, columns: dict[str, list[Any]]) -> None:
    # Bytes of paths that are no text are what they were.
    with (
        replacing(path) as partial,
        partial.open(
            "w", encoding="utf-8", errors="surrogateescape", newline=""
        ) as file,
    ):
        writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def _write_parquet(path: Path, columns: dict[str, list[Any]]) -> None:
    arrow, parquet = pyarrow_for(path)
    paths = [path.encode(errors="surrogateescape") for path in columns["path"]]
    table = arrow.table({**columns, "path": arrow.array(paths, arrow.binary())})
    with replacing(path) as partial:
        parquet.write_table(table, partial)
