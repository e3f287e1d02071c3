"""The rows of a manifest, a CSV or Parquet file, in arrays."""

from __future__ import annotations

import csv
import logging
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np

from sop_keras.data.datasets.manifest_limits import (
    MAX_VALUE_BYTES,
    RAISE_BYTES,
    ManifestLimits,
)
from sop_keras.data.datasets.manifest_parquet import opened_parquet
from sop_keras.files.text_encoding import check_not_utf16
from sop_keras.files.untrusted import opened_text

logger = logging.getLogger(__name__)

LABEL_COLUMNS = ("label", "clean_label")
_REQUIRED = ("path", "label")
_COLUMNS = ("path", *LABEL_COLUMNS, "id")
# What else people call the columns that must be there, without blanks, - and _.
_OTHER_NAMES = {
    "path": ("file", "filename", "filepath", "image", "imagepath", "img", "paths"),
    "label": ("class", "category", "target", "y", "labels", "givenlabel", "noisylabel"),
}

_MAX_ID = 2**31 - 1
_INTEGER = re.compile("[0-9]{1,18}")
# As spreadsheets, pandas and numpy.savetxt write the numbers of a column of floats.
_NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]*(e[-+]?[0-9]+)?)?", re.IGNORECASE)
_MAX_FLOAT = 2.0**53

# How tools write that there is no value, in small letters.
_NO_VALUE = (
    *("nan", "-nan", "none", "null", "nil", "n/a", "na", "nat", "<na>", "#n/a"),
    *("#na", "-", "--", "?"),
)

# Rows that are Python objects at the same time; the rest is in arrays. With many more,
# collecting garbage takes as long as reading.
_BLOCK = 1024
_NUM_SHOWN = 5

# As much of a line of CSV as is read, in characters.
_LONGEST_LINE = 2**20

# The place of a row, then its values, in the order of the columns.
_Rows = Iterator[tuple[Any, ...]]


@dataclass(frozen=True)
class Words:
    """A column in which texts occur again and again: row i has `texts[codes[i]]`."""

    codes: np.ndarray
    texts: list[str]


@dataclass(frozen=True)
class Table:
    """A manifest's rows.

    Args:
        path: the manifest.
        places: int64, shape `(n,)`: the line of each row, the first being 1; in a
            Parquet file its number, the first being 0.
        names: array of bytes, shape `(n,)`: the images' paths.
        labels: the columns `label` and, if it is there, `clean_label`.
        ids: int64, shape `(n,)`.
    """

    path: Path
    places: np.ndarray
    names: np.ndarray
    labels: dict[str, Words]
    ids: np.ndarray

    def places_as_text(self, rows: np.ndarray) -> str:
        """Where some rows are, the first few of them."""
        return _listed(self.path, self.places[rows].tolist())


class Problems:
    """What is wrong with some rows, gathered so that one error has all of it.

    Args:
        path: the manifest.
    """

    def __init__(self, path: Path):
        self._path = path
        self._places: dict[str, list[int]] = {}

    def add(self, what: str, places: Iterable[int]) -> None:
        """Take note that `what` is at these places."""
        self._places.setdefault(what, []).extend(places)

    def check(self) -> None:
        """Check that there are none.

        Raises:
            ValueError: if there are; with the first places of each, and their number.
        """
        reports = [
            f"\n  {what}: {_listed(self._path, places)}"
            for what, places in self._places.items()
            if places
        ]
        if reports:
            raise ValueError(
                f"{self._path} cannot be used. Mend or remove:" + "".join(reports)
            )


def read_table(path: Path, limits: ManifestLimits | None = None) -> Table:
    """The rows of a manifest.

    Args:
        path: a Parquet file if it ends in .parquet, otherwise a CSV file.
        limits: how large it may be. Defaults to `None`: `ManifestLimits()`.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if it is no regular file, or has more bytes than the limit.
        ImportError: if it is Parquet and pyarrow is not installed.
        ValueError: if the file has no such format, a column is missing, there are no
            rows or more than the limit, or some have no path, no label (or NaN, None,
            N/A, ...), a path with a NUL character, a value of more than
            `MAX_VALUE_BYTES`, or an id that is no integer in `[0, 2**31)` or that of
            another row.
    """
    limits = limits or ManifestLimits()
    if not path.exists() or path.is_dir():
        raise FileNotFoundError(
            f"There is no manifest {path}. Give a CSV or Parquet file with the columns "
            "path and label."
        )
    problems = Problems(path)
    read = _read_parquet if _is_parquet(path) else _read_csv
    table = read(path, problems, limits)
    _check_rows(table, problems)
    return table


def capped_lines(path: Path, text: IO[str]) -> Iterator[str]:
    """The lines of a text, none of which is read much further than a row can be.

    Raises:
        ValueError: if a line is longer.
    """
    number = 0
    while line := text.readline(_LONGEST_LINE):
        number += 1
        if len(line) == _LONGEST_LINE and not line.endswith(("\n", "\r")):
            raise ValueError(
                f"Line {number} of {path} has {_LONGEST_LINE:,} characters or more. It "
                "must have one row a line."
            )
        yield line


def csv_lines(path: Path, text: IO[str]) -> Iterator[tuple[int, int, list[str]]]:
    """First line, last line and values of each row that is not blank.

    Raises:
        ValueError: if it is no CSV, or a line is too long.
    """
    reader = csv.reader(capped_lines(path, text), skipinitialspace=True)
    first = 1
    try:
        for values in reader:
            if len(values) > 1 or (values and values[0].strip()):
                yield first, reader.line_num, values
            first = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f"{path} cannot be read as CSV from line {first} on: {error}. Is a quote "
            "left open there? A quote inside a value is written twice."
        ) from error


def encoded(text: str) -> bytes:
    """The bytes of a value, which need not be valid text."""
    return text.encode(errors="surrogateescape")


def integer(text: str) -> int:
    """The integer that is written in digits alone; -1 for any other text."""
    return int(text) if _INTEGER.fullmatch(text) else -1


def is_number(text: str) -> bool:
    """Whether a label is a number, not a name."""
    return bool(_NUMBER.fullmatch(text))


def label_integer(text: str) -> int:
    """As `integer`, and 3 for 3.0, as a column of floats has it."""
    if not is_number(text):
        return -1
    if "." not in text:
        return integer(text)
    value = float(text)
    is_whole = value.is_integer() and not text.startswith(("-", "+"))
    return int(value) if is_whole and value < _MAX_FLOAT else -1


def two_spellings(texts: Iterable[str]) -> tuple[str, str] | None:
    """Two labels that are one integer, such as 1 and 01; None where there are none."""
    text_of: dict[int, str] = {}
    for text in texts:
        known = text_of.setdefault(label_integer(text), text)
        if known != text and label_integer(text) >= 0:
            return known, text
    return None


def is_no_value(text: str) -> bool:
    """Whether a label says that there is none, such as NaN or N/A."""
    return text.lower() in _NO_VALUE


def _listed(path: Path, places: list[int]) -> str:
    unit = "row" if _is_parquet(path) else "line"
    shown = ", ".join(map(str, places[:_NUM_SHOWN]))
    more = len(places) - _NUM_SHOWN
    shown += f" and {more} more" if more > 0 else ""
    return f"{unit}{'s'[: len(places) > 1]} {shown}"


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() == ".parquet"


def _read_csv(path: Path, problems: Problems, limits: ManifestLimits) -> Table:
    # Not by pandas (3.1): it gives no line numbers, stops at the first row that is too
    # long and at a quote left open, fills up rows that are too short, and refuses, with
    # dtype=str, bytes that are no text.
    # A file's name need not be valid text: `encoded` gives its bytes back.
    check_not_utf16(path)
    with opened_text(
        path, limits.num_bytes, RAISE_BYTES, "utf-8-sig", "surrogateescape"
    ) as text:
        lines = csv_lines(path, text)
        _, _, header = next(lines, (1, 1, []))
        found = [name.strip() for name in header]
        columns = _checked_columns(path, found)
        wanted = [found.index(column) for column in columns]

        def rows() -> _Rows:
            for first, last, values in lines:
                if last > first:
                    problems.add("a line break inside quotes, from here on", [first])
                elif len(values) != len(found):
                    problems.add(
                        f"not {len(found)} values (a value with a comma needs quotes)",
                        [first],
                    )
                else:
                    yield (first, *[values[i].strip() for i in wanted])

        return _gathered(path, columns, rows(), problems, limits)


def _read_parquet(path: Path, problems: Problems, limits: ManifestLimits) -> Table:
    with opened_parquet(path, limits) as file:
        columns = _checked_columns(path, file.names)
        rows = file.rows(columns, _BLOCK)
        return _gathered(path, columns, rows, problems, limits)


def _checked_columns(path: Path, found: list[str]) -> list[str]:
    """The columns to read.

    Raises:
        ValueError: if one is missing, or there twice.
    """
    if missing := [column for column in _REQUIRED if column not in found]:
        advice = [
            f" Rename {name!r} to {column!r}."
            for column in missing
            for name in found
            if re.sub("[ _-]", "", name.lower()) in (column, *_OTHER_NAMES[column])
        ]
        raise ValueError(
            f"{path} has no column {' and no column '.join(map(repr, missing))}. "
            f"Columns found: {', '.join(map(repr, found)) or 'none'}."
            + ("".join(advice) or " The first line must name them, between commas.")
        )
    if twice := [column for column in _COLUMNS if found.count(column) > 1]:
        raise ValueError(
            f"{path} has the column {twice[0]!r} more than once. Columns found: "
            f"{', '.join(map(repr, found))}. Keep one of them."
        )
    if unknown := [name for name in found if name not in _COLUMNS]:
        logger.warning(
            "%s: left out the columns %s; known are %s",
            path,
            ", ".join(map(repr, unknown)),
            ", ".join(_COLUMNS),
        )
    return [column for column in _COLUMNS if column in found]


def _gathered(
    path: Path,
    columns: list[str],
    rows: _Rows,
    problems: Problems,
    limits: ManifestLimits,
) -> Table:
    longest = 0
    places, ids = array("q"), array("q")
    names = [np.array([], np.bytes_)]
    codes = {column: array("q") for column in LABEL_COLUMNS if column in columns}
    code_of: dict[str, dict[str, int]] = {column: {} for column in codes}
    while block := list(islice(rows, _BLOCK)):
        places_here, *values_here = zip(*block, strict=True)
        values = dict(zip(columns, values_here, strict=True))
        places.extend(places_here)
        paths = _checked_paths(values["path"], places_here, problems)
        names.append(np.array(paths, np.bytes_))
        longest = max(longest, names[-1].itemsize)
        limits.check_rows(path, len(places))
        what = f"{len(places):,} paths, the longest of {longest} bytes,"
        limits.check_bytes(path, what, len(places) * longest)
        for column, known in code_of.items():
            codes[column].extend(
                known.setdefault(text, len(known)) for text in values[column]
            )
        ids.extend(map(label_integer, values.get("id", ())))
    return Table(
        path=path,
        places=np.array(places, np.int64),
        names=np.concatenate(names),
        labels={
            column: Words(np.array(codes[column], np.int64), list(known))
            for column, known in code_of.items()
        },
        ids=np.array(ids, np.int64) if "id" in columns else np.arange(len(places)),
    )


def _checked_paths(
    texts: Sequence[str], places: Sequence[int], problems: Problems
) -> list[bytes]:
    """Paths as bytes; those that no file can have are problems."""
    paths = [encoded(text) for text in texts]
    if b"\0" not in b"".join(paths) and max(map(len, paths)) <= MAX_VALUE_BYTES:
        return paths
    for number, path in enumerate(paths):
        if b"\0" in path:
            problems.add("a NUL character in the path", [places[number]])
        elif len(path) > MAX_VALUE_BYTES:
            what = f"a path of more than {MAX_VALUE_BYTES:,} bytes"
            problems.add(what, [places[number]])
            paths[number] = b"too long"  # as all of an array are as long as the longest
    return paths


def _check_rows(table: Table, problems: Problems) -> None:
    places = table.places
    problems.add("an empty path", places[table.names == b""])
    for column, words in table.labels.items():
        is_empty = np.array([not text for text in words.texts], bool)
        problems.add(f"an empty {column}", places[is_empty[words.codes]])
        is_long = np.array([len(text) > MAX_VALUE_BYTES for text in words.texts], bool)
        what = f"a {column} of more than {MAX_VALUE_BYTES:,} characters"
        problems.add(what, places[is_long[words.codes]])
        is_none = np.array([is_no_value(text) for text in words.texts], bool)
        (wrong,) = np.nonzero(is_none[words.codes])
        if len(wrong):
            text = words.texts[words.codes[wrong[0]]]
            what = f"a {column} that is no value, such as {text!r} (rename it, if it "
            problems.add(what + "is a class)", places[wrong])
    no_id = (table.ids < 0) | (table.ids > _MAX_ID)
    problems.add(f"an id that is not an integer from 0 to {_MAX_ID}", places[no_id])
    again = np.ones(len(places), bool)
    # Of equal ids, np.unique finds the first.
    again[np.unique(table.ids, return_index=True)[1]] = False
    problems.add("an id that a row above has, too", places[again & ~no_id])
    problems.check()
    if not len(places):
        raise ValueError(f"{table.path} has no rows. It must have one for each image.")
