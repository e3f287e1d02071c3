"""Labels and ids in files that nobody vouches for."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from sop_keras.data.datasets.manifest_limits import MAX_VALUE_BYTES, ManifestLimits
from sop_keras.data.datasets.manifest_parquet import opened_parquet
from sop_keras.data.datasets.manifest_table import (
    capped_lines,
    csv_lines,
    integer,
    is_no_value,
    is_number,
    label_integer,
    two_spellings,
)
from sop_keras.features.array_files import map_npy
from sop_keras.files.shown_text import shown
from sop_keras.files.text_encoding import check_not_utf16
from sop_keras.files.untrusted import opened_text

LABEL, ID = "label", "id"
"""The columns of tables."""

MAX_ID = 10**15 - 1
"""The largest id: the review page counts in floats, which have no more digits."""

_MAX_TEXT_BYTES = 2**31
# Of a Parquet file, which may have the features as well.
_LIMITS = ManifestLimits(num_bytes=2**44)
_BLOCK = 1024


@dataclass(frozen=True)
class Labels:
    """The labels of some examples.

    Args:
        labels: int64, shape `(n,)`, in `[0, num_classes)`.
        class_names: of the labels, sorted: as numbers if all are numbers.
        ids: int64, shape `(n,)`, or None where none are given.
    """

    labels: np.ndarray
    class_names: tuple[str, ...]
    ids: np.ndarray | None = None


def read_labels(path: Path) -> Labels:
    """The labels in a file.

    Args:
        path: `.npy`, an array of integers or texts; `.txt`, one a line; `.csv` or
            `.parquet`, a column `label` and, if there is one, `id`.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if it is no regular file, or cannot be read.
        ImportError: if it is Parquet and pyarrow is not installed.
        ValueError: if it is of another kind, damaged or too large, or a label or an id
            is missing.
    """
    match path.suffix.lower():
        case ".npy":
            return labels_of_array(map_npy(path), str(path))
        case ".txt":
            check_not_utf16(path)
            with _opened(path) as text:
                lines = (line.strip() for line in capped_lines(path, text))
                return _labels_of_texts(lines, f"{path}: line", 1)
        case ".csv":
            return _read_csv(path)
        case ".parquet":
            return _read_parquet(path)
    raise ValueError(
        "Labels are read from .npy, .csv, .txt (one a line) and .parquet. Received: "
        f"{path}."
    )


def read_parquet_ids(path: Path) -> np.ndarray | None:
    """The ids in a Parquet file, int64 `(n,)`; None if it has no column `id`.

    Raises:
        ImportError: if pyarrow is not installed.
        OSError: if it is no regular file, or cannot be read.
        ValueError: if it is damaged, or an id is missing, none, or there twice.
    """
    with opened_parquet(path, _LIMITS) as file:
        if ID not in file.names:
            return None
        if file.names.count(ID) > 1:
            raise ValueError(
                f"{path} has {file.names.count(ID)} columns {ID!r}, where one at most "
                "is read. Leave the others out."
            )
        rows = file.rows([ID], _BLOCK)
        ids = array("q", (_id(text, f"{path}: row {number}") for number, text in rows))
    return checked_ids(np.array(ids, np.int64), str(path))


def labels_of_array(values: np.ndarray, what: str) -> Labels:
    """Labels of an array of integers, or of texts.

    Args:
        values: shape `(n,)`.
        what: they are, for errors.

    Raises:
        ValueError: if they are neither, or have another shape.
    """
    if values.ndim != 1 or values.dtype.kind not in "iubUSf":
        raise ValueError(
            f"{what}: labels must be integers or texts of shape (n,). Received: "
            f"{values.dtype} of shape {values.shape}."
        )
    if values.dtype.kind in "US":
        texts = (_text(value) for value in values)
        return _labels_of_texts(texts, f"{what}: row", 0)
    if values.dtype.kind == "f":
        (odd,) = np.nonzero(~(np.abs(values) < 2**53) | (values != np.round(values)))
        if len(odd):
            raise ValueError(
                f"{what}: {len(odd)} of {len(values)} labels are no integers, the "
                f"first, {values[odd[0]]}, in row {odd[0]}. Labels are integers or "
                "texts."
            )
        values = values.astype(np.int64)
    if values.dtype.kind == "b":
        values = values.astype(np.int64)
    if len(values) and values.min() < 0:
        raise ValueError(
            f"{what}: labels are integers from 0, or texts. Received: {values.min()} "
            f"in row {values.argmin()}."
        )
    classes, labels = np.unique(values, return_inverse=True)
    names = tuple(map(str, classes.tolist()))
    return Labels(labels.reshape(-1).astype(np.int64), names)


def checked_ids(ids: np.ndarray, what: str) -> np.ndarray:
    """Ids as int64.

    Args:
        ids: what was given.
        what: they are, for errors.

    Raises:
        ValueError: if they are no integers in `[0, MAX_ID]`, shape `(n,)`, or there are
            equal ones.
    """
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise ValueError(
            f"{what}: ids must be integers of shape (n,). Received: {ids.dtype} of "
            f"shape {ids.shape}."
        )
    ordered = np.sort(ids)
    is_again = ordered[1:] == ordered[:-1]
    if len(ids) and (ordered[0] < 0 or ordered[-1] > MAX_ID or is_again.any()):
        reason = (
            f"{ordered[1:][is_again][0]} is there more than once"
            if is_again.any()
            else f"they are from {ordered[0]} to {ordered[-1]}"
        )
        raise ValueError(
            f"{what}: ids must be integers from 0 to {MAX_ID}, each for one example: "
            f"{reason}."
        )
    return ids.astype(np.int64)


def _opened(path: Path) -> AbstractContextManager[IO[str]]:
    """A text, open inside the block; bytes that are no UTF-8 stay what they are."""
    return opened_text(
        path, _MAX_TEXT_BYTES, encoding="utf-8-sig", errors="surrogateescape"
    )


def _read_csv(path: Path) -> Labels:
    check_not_utf16(path)
    with _opened(path) as text:
        lines = csv_lines(path, text)
        _, _, header = next(lines, (1, 1, []))
        found = [name.strip() for name in header]
        columns = _checked_columns(path, found)
        wanted = [found.index(name) for name in columns]

        def rows() -> Iterator[tuple[str, ...]]:
            for first, last, values in lines:
                if last > first:
                    raise ValueError(
                        f"{path}: from line {first} on there is a line break inside "
                        "quotes. Is a quote left open there?"
                    )
                if len(values) != len(found):
                    raise ValueError(
                        f"{path}: line {first} has {len(values)} values, and the first "
                        f"line names {len(found)}. A value with a comma needs quotes."
                    )
                yield tuple(values[place].strip() for place in wanted)

        return _of_rows(rows(), len(columns), f"{path}: row", 1)


def _read_parquet(path: Path) -> Labels:
    with opened_parquet(path, _LIMITS) as file:
        columns = _checked_columns(path, file.names)
        rows = (values for _, *values in file.rows(columns, _BLOCK))
        return _of_rows(rows, len(columns), f"{path}: row", 0)


def _checked_columns(path: Path, found: list[str]) -> list[str]:
    if found.count(LABEL) != 1 or found.count(ID) > 1:
        names = ", ".join(repr(shown(name)) for name in found[:8])
        raise ValueError(
            f"{path} must have one column {LABEL!r}, and at most one {ID!r}. Columns "
            f"found: {names or 'none'}{', ...' if len(found) > 8 else ''}."
        )
    return [LABEL, ID] if ID in found else [LABEL]


def _of_rows(
    rows: Iterable[Iterable[str]], num_columns: int, place: str, first: int
) -> Labels:
    """Labels, and the ids beside them if there are two columns."""
    ids = array("q")

    def labels() -> Iterator[str]:
        for number, (label, *more) in enumerate(rows, start=first):
            ids.extend(_id(text, f"{place} {number}") for text in more)
            yield label

    found = _labels_of_texts(labels(), place, first)
    if num_columns == 1:
        return found
    what = place.rpartition(":")[0]
    return Labels(
        found.labels, found.class_names, checked_ids(np.array(ids, np.int64), what)
    )


def _id(text: str, where: str) -> int:
    value = integer(text)
    if not 0 <= value <= MAX_ID:
        raise ValueError(
            f"{where} has the id {shown(text[:40])!r}. Ids are integers from 0 to "
            f"{MAX_ID}, in digits alone; leave the column {ID!r} out to have the rows "
            "numbered."
        )
    return value


def _labels_of_texts(texts: Iterable[str], place: str, first: int) -> Labels:
    """Labels of texts; they are integers if all of them are written as such."""
    codes, code_of = array("q"), dict[str, int]()
    for number, text in enumerate(texts, start=first):
        if text not in code_of:
            if not text or is_no_value(text):
                raise ValueError(
                    f"{place} {number} has no label: {text!r}. Each example needs one "
                    "(a class of that name must be renamed)."
                )
            if len(text) > MAX_VALUE_BYTES:
                raise ValueError(
                    f"{place} {number} has a label of {len(text):,} characters, where "
                    f"{MAX_VALUE_BYTES:,} are read."
                )
        codes.append(code_of.setdefault(text, len(code_of)))
    names = list(code_of)
    integers = np.array([label_integer(name) for name in names], np.int64)
    if len(names) and integers.min() >= 0:
        if two := two_spellings(names):
            raise ValueError(
                f"{place.rpartition(':')[0]}: the labels {two[0]!r} and {two[1]!r} are "
                "one integer. Write each class in one way; if these are two, give them "
                "names."
            )
        return labels_of_array(integers[np.array(codes, np.int64)], place)
    if names and all(map(is_number, names)):
        odd = names[int(integers.argmin())]
        raise ValueError(
            f"{place.rpartition(':')[0]}: the label {odd!r} is a number, and no "
            "integer from 0. Labels are such integers, or names."
        )
    order = sorted(range(len(names)), key=names.__getitem__)
    rank = np.empty(len(names), np.int64)
    rank[order] = np.arange(len(names))
    return Labels(rank[np.array(codes, np.int64)], tuple(names[i] for i in order))


def _text(value: str | bytes) -> str:
    if isinstance(value, bytes):
        value = value.decode(errors="surrogateescape")
    return value.strip()
