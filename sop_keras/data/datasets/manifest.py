"""Images and labels as a table, CSV or Parquet, lists them."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from sop_keras.data.datasets.dataset import Dataset, Examples
from sop_keras.data.datasets.file_lists import printable
from sop_keras.data.datasets.manifest_limits import (
    MAX_MANIFEST_BYTES,
    MAX_MANIFEST_ROWS,
    ManifestLimits,
)
from sop_keras.data.datasets.manifest_table import (
    Problems,
    Table,
    encoded,
    is_number,
    label_integer,
    read_table,
    two_spellings,
)
from sop_keras.data.images.encoded_images import IMAGENET_MEAN, IMAGENET_STD, ImageFiles

logger = logging.getLogger(__name__)

# A class is made for every integer up to the largest label.
_MAX_CLASSES = 2**20

_NUM_SHOWN = 5


def load_manifest(
    manifest: str | os.PathLike[str],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    test_manifest: str | os.PathLike[str] | None = None,
    num_classes: int | None = None,
    resize: int = 256,
    image_size: int = 224,
    max_manifest_bytes: int = MAX_MANIFEST_BYTES,
    max_manifest_rows: int = MAX_MANIFEST_ROWS,
) -> Dataset:
    """Images and labels as a table lists them.

        path,label,clean_label,id
        cats/1.jpg,cat,cat,0
        "cats/2, asleep.jpg",dog,cat,1

    The columns are `path` and `label` and, if wanted, `clean_label` (the true label)
    and `id`, in any order; others are left out with a warning. A file that ends in
    .parquet is read as Parquet, any other as comma-separated values in UTF-8 whose
    first line names the columns. Blanks around a value and blank lines do not count,
    nor does a byte order mark.

    Labels are all integers from 0 (`3.0` is 3), and the classes are `"0"` to the
    largest of the training manifest, or to `num_classes - 1`. Codes most of whose
    numbers up to the largest are none, such as 100023 and 100055, are refused without
    `num_classes`. Or labels are all names, and the classes are those of the training
    manifest, sorted; NaN, None, N/A, - and the like are no names. `label` and
    `clean_label` have the same classes, and so has the test manifest, whose examples
    are measured by `clean_label` where it has that column.

    Ids are unique integers in `[0, 2**31)`; the noise table has a row for every number
    up to the largest. Without the column `id` they are the numbers of the rows, from 0:
    **a row more or less renumbers those below it**. Each row is an example of its own;
    a warning tells of images that are listed again under another label, or in both
    manifests.

    Args:
        manifest: the table of the training examples.
        data_dir: the folder that paths start from, unless they are absolute. Defaults
            to the folder of the manifest that has them.
        test_manifest: the table of the test examples. Defaults to `None`: no test set.
        num_classes: the number of classes, where labels are integers. Defaults to the
            largest label of the training manifest plus 1.
        resize: the length of the shorter side, in pixels, before a crop is cut out.
            Defaults to `256`.
        image_size: the side of the crop, at most `resize`. Defaults to `224`.
        max_manifest_bytes: what a manifest may have, as a file, unpacked from Parquet,
            and in memory, where each path takes as much as the longest. Defaults to
            2 GiB.
        max_manifest_rows: how many rows it may have. Defaults to `10_000_000`.

    Returns:
        A data set called `manifest`, its examples in the order of the rows, with
        ImageNet's `mean` and `std`.

    Raises:
        FileNotFoundError: if there is no such manifest or folder.
        OSError: if a manifest is no regular file, or has too many bytes.
        ImportError: if a manifest is Parquet and pyarrow is not installed.
        ValueError: if a column is missing, or rows lack a path or a label, have a label
            or an id that is not as above, or the id of another row, or a path that no
            file can have, with their lines; if there are too many rows or bytes; or if
            a number is out of range.
    """
    if num_classes is not None and not 1 <= num_classes <= _MAX_CLASSES:
        raise ValueError(
            f"`num_classes` must be from 1 to {_MAX_CLASSES}. Received: "
            f"num_classes={num_classes}."
        )
    limits = ManifestLimits(max_manifest_bytes, max_manifest_rows)
    table = read_table(Path(manifest), limits)
    classes = _classes(table, num_classes)
    train = _examples(table, classes, data_dir, resize, image_size)
    test = None
    if test_manifest is not None:
        table = read_table(Path(test_manifest), limits)
        test = _examples(table, classes, data_dir, resize, image_size)
        _warn_of_shared_images(table, train, test)
        if test.clean_labels is not None:
            test = test.with_labels(test.clean_labels)
    _check_several(Path(manifest), classes)
    return Dataset(
        name="manifest",
        class_names=tuple(printable(encoded(name)) for name in classes.names),
        num_examples=int(train.ids.max()) + 1,
        train=train,
        test=test,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


@dataclass(frozen=True)
class _Classes:
    """The classes, and whether labels are their numbers or their names."""

    names: list[str]
    are_numbers: bool

    def labels(self, texts: list[str]) -> np.ndarray:
        """The labels that are written so; -1 where there is no such class."""
        if self.are_numbers:
            labels = np.array([label_integer(text) for text in texts], np.int64)
            return np.where(labels < len(self.names), labels, -1)
        label_of = {name: label for label, name in enumerate(self.names)}
        return np.array([label_of.get(text, -1) for text in texts], np.int64)

    def __str__(self) -> str:
        if self.are_numbers:
            last = len(self.names) - 1
            return f"an integer from 0 to {last} (num_classes={last + 1})"
        shown = ", ".join(map(repr, self.names[:_NUM_SHOWN]))
        more = len(self.names) - _NUM_SHOWN
        shown += f" and {more} more" if more > 0 else ""
        return f"a class of the training manifest ({shown})"


def _classes(table: Table, num_classes: int | None) -> _Classes:
    """The classes of the training examples."""
    _check_not_mixed(table)
    names = sorted({t for words in table.labels.values() for t in words.texts})
    if not is_number(names[0]):
        if num_classes not in (None, len(names)):
            raise ValueError(
                f"{table.path} has the names of {len(names)} classes. Received: "
                f"num_classes={num_classes}. Leave it out, or use integers as labels."
            )
        return _Classes(names, are_numbers=False)
    for column, words in table.labels.items():
        if two := two_spellings(words.texts):
            logger.warning(
                "%s: the labels %r and %r in the column %s are one class. Are they?",
                *(table.path, *two, column),
            )
    if num_classes is None:
        found = sorted({label_integer(name) for name in names} - {-1})
        num_classes = _num_classes(table, found)
    return _Classes([str(i) for i in range(num_classes)], are_numbers=True)


def _num_classes(table: Table, found: list[int]) -> int:
    """How many classes there are, of the integers that occur, ascending.

    Raises:
        ValueError: if they are codes, not numbers from 0.
    """
    count = max(found, default=0) + 1
    num_missing = count - len(found)
    if found and num_missing > len(found):
        shown = ", ".join(map(str, found[:_NUM_SHOWN]))
        meant = f" If all {count} are meant, pass num_classes={count}."
        raise ValueError(
            f"{table.path} has {len(found)} different labels, {shown}"
            f"{', ...' * (len(found) > _NUM_SHOWN)}, and as integers they would make "
            f"{count} classes, {num_missing} of them without an example. Of codes, use "
            f"names as labels (such as class_{found[0]}), or number them from 0."
            + meant
            * (count <= _MAX_CLASSES)
        )
    if found and num_missing:
        missing = np.setdiff1d(np.arange(count), found)
        logger.warning(
            "%s: %d of %d classes have no example, the first is class %d. Should the "
            "labels not be the integers from 0 to %d?",
            *(table.path, num_missing, count, missing[0], len(found) - 1),
        )
    return count


def _check_several(path: Path, classes: _Classes) -> None:
    if len(classes.names) == 1:
        raise ValueError(
            f"{path} has one class, {classes.names[0]!r}, where a classifier needs two."
            " Is `label` the column of the classes?"
        )


def _check_not_mixed(table: Table) -> None:
    """Check that labels are all numbers or all names."""
    are_numbers = {
        column: np.array([is_number(text) for text in words.texts])[words.codes]
        for column, words in table.labels.items()
    }
    share = np.mean(list(are_numbers.values()))
    if share in (0, 1):
        return
    # The few are the odd ones out.
    odd_is_number = share <= 0.5
    odd, usual = ("number", "name") if odd_is_number else ("name", "number")
    problems = Problems(table.path)
    for column, here in are_numbers.items():
        what = f"a {column} that is a {odd}, where others are {usual}s"
        problems.add(what, table.places[here == odd_is_number])
    problems.check()


def _examples(
    table: Table,
    classes: _Classes,
    data_dir: str | os.PathLike[str] | None,
    resize: int,
    image_size: int,
) -> Examples:
    folder = table.path.parent if data_dir is None else Path(data_dir)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"There is no folder {folder}. Give the one that the paths in {table.path} "
            "start from as `data_dir`."
        )
    problems = Problems(table.path)
    labels = {}
    for column, words in table.labels.items():
        labels[column] = classes.labels(words.texts)[words.codes]
        wrong = np.flatnonzero(labels[column] < 0)
        if len(wrong):
            text = words.texts[words.codes[wrong[0]]]
            what = f"a {column} that is not {classes}, such as {text!r}"
            problems.add(what, table.places[wrong])
    problems.check()
    examples = Examples(
        ids=table.ids,
        images=ImageFiles(folder, table.names, resize, image_size),
        labels=labels["label"],
        clean_labels=labels.get("clean_label"),
    )
    for column, values in labels.items():
        _warn_of_two_labels(table, examples, column, values)
    return examples


def _warn_of_two_labels(
    table: Table, examples: Examples, column: str, labels: np.ndarray
) -> None:
    """Say which images have several rows that do not agree.

    They stay: several people may have labelled them.
    """
    paths = cast(ImageFiles, examples.images).paths()
    _, image = np.unique(paths, return_inverse=True)
    num_classes = labels.max() + 1
    pairs = np.unique(image * num_classes + labels)
    num_labels = np.bincount(pairs // num_classes)
    (rows,) = np.nonzero(num_labels[image] > 1)
    if len(rows):
        logger.warning(
            "%s: %d images are listed more than once, under another %s each time "
            "(%s). One of the labels is wrong; each row stays an example of its own.",
            *(table.path, (num_labels > 1).sum(), column, table.places_as_text(rows)),
        )


def _warn_of_shared_images(table: Table, train: Examples, test: Examples) -> None:
    """Say which images are tested on although they are trained on."""
    tested, trained = (cast(ImageFiles, one.images).paths() for one in (test, train))
    (rows,) = np.nonzero(np.isin(tested, trained))
    if len(rows):
        logger.warning(
            "%s: %d of its %d images are in the training manifest, too (%s): the test "
            "accuracy counts what was learnt by heart.",
            *(table.path, len(rows), len(test), table.places_as_text(rows)),
        )
