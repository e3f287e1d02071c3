"""What people decided about labels, as the review page of a report saves it."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from sop_keras.files.shown_text import shown
from sop_keras.files.text_encoding import check_not_utf16
from sop_keras.files.untrusted import opened_text

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("given", "suggested", "other", "remove")
"""The given label is right, the suggested one, another one; or no class is."""

NO_LABEL = -1
"""The label of what is removed."""

DECISION = "decision"
"""The column that has the kind, of a file of decisions and of the table of an audit."""

COLUMNS = ("id", DECISION, "label", "time")

MAX_DECISIONS_BYTES = 2**28
"""The largest file of decisions that is read: 256 MiB, some five million rows."""

# What spreadsheets put between the values of a CSV, depending on the country.
_SEPARATORS = (",", ";", "\t")
_LONGEST_LINE = 2**16
# As many digits as the review page reads.
_INTEGER = re.compile(r"[0-9]{1,15}")
_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|\+00:00)")


@dataclass(frozen=True)
class Conflict:
    """Files that say different things of one example.

    Args:
        id: of the example.
        said: file, kind and label of each that says something; `NO_LABEL` to remove.
    """

    id: int
    said: tuple[tuple[str, str, int], ...]

    def __str__(self) -> str:
        texts = (
            f"{shown(file)}: {kind}" + (f" {label}" if label != NO_LABEL else "")
            for file, kind, label in self.said
        )
        return f"id {self.id}: {', '.join(texts)}"


@dataclass(frozen=True)
class Decisions:
    """What was decided, an example a row, in the order of the ids.

    Args:
        ids: of the examples, int64 `(n,)`, none twice.
        kinds: one of `KINDS` each, texts `(n,)`.
        labels: the labels that are right, int64 `(n,)`; `NO_LABEL` to remove.
        times: when, in UTC, datetime64[ms] `(n,)`; NaT where nobody knows.
        conflicts: what files disagree on: it is not among the above.
    """

    ids: np.ndarray
    kinds: np.ndarray
    labels: np.ndarray
    times: np.ndarray
    conflicts: tuple[Conflict, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self) -> list[tuple[int, str, int | None, str]]:
        """Id, kind, label and time of each, as a file of decisions has them.

        The label is None to remove; a time that nobody knows is 1970.
        """
        times = np.where(np.isnat(self.times), np.datetime64(0, "ms"), self.times)
        labels = [None if one == NO_LABEL else one for one in self.labels.tolist()]
        texts = [f"{one}Z" for one in np.datetime_as_string(times, unit="ms").tolist()]
        return list(
            zip(self.ids.tolist(), self.kinds.tolist(), labels, texts, strict=True)
        )

    def over(self, earlier: Decisions) -> Decisions:
        """These, and earlier ones on examples that these say nothing of.

        Args:
            earlier: without conflicts.
        """
        here = np.append(self.ids, [one.id for one in self.conflicts])
        is_left = ~np.isin(earlier.ids, here)
        ids, kinds, labels, times = (
            np.append(getattr(self, name), getattr(earlier, name)[is_left])
            for name in ("ids", "kinds", "labels", "times")
        )
        order = np.argsort(ids)
        return Decisions(
            ids[order], kinds[order], labels[order], times[order], self.conflicts
        )


@dataclass(frozen=True)
class _Row:
    kind: str
    label: int
    time: np.datetime64


def read_decisions(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], num_classes: int
) -> Decisions:
    """The decisions of one or more people, a file each.

    A file is a CSV with the columns `COLUMNS` in any order: the id, one of `KINDS`, the
    number of the right class (empty to remove), and the time, ISO 8601 in UTC. Within
    a file the last row of an id counts: it is one person's last word. Files that give
    an example different labels, or of which only some remove it, are in conflict:
    nothing is decided about it. Where they agree, the first file's row is kept.

    What spreadsheets do to a CSV and can be told for certain is read: a byte order
    mark, quotes, other line ends, empty rows, further columns, and `;` or tabs, which
    the first line shows. Numbers and times in another form are refused.

    Args:
        paths: the file, or files.
        num_classes: labels are in `[0, num_classes)`.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if one cannot be read, or has more than `MAX_DECISIONS_BYTES`.
        ValueError: for a file that lacks a column, is damaged, or has an unknown
            decision, a label out of range or an id that is none; with its line.
    """
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    check_there(paths)
    files = {str(path): _read(Path(path), num_classes) for path in paths}
    said: dict[int, list[tuple[str, _Row]]] = {}
    for name, rows in files.items():
        for one, row in rows.items():
            said.setdefault(one, []).append((name, row))
    agreed, conflicts = {}, []
    for one in sorted(said):
        if len({row.label for _, row in said[one]}) == 1:
            agreed[one] = said[one][0][1]
        else:
            told = tuple((name, row.kind, row.label) for name, row in said[one])
            conflicts.append(Conflict(one, told))
    kept = list(agreed.values())
    return Decisions(
        np.array(list(agreed), np.int64),
        np.array([row.kind for row in kept], np.str_),
        np.array([row.label for row in kept], np.int64),
        np.array([row.time for row in kept], "datetime64[ms]"),
        tuple(conflicts),
    )


def decisions_in(issues: pd.DataFrame) -> Decisions:
    """What people had decided before an audit, as its table has it.

    Args:
        issues: a table of label issues; without the column `decision` nothing was.
    """
    if DECISION in issues:
        issues = issues[issues[DECISION] != ""].sort_values("id")
        kinds = issues[DECISION].to_numpy(np.str_)
    else:
        issues, kinds = issues[:0], np.array([], np.str_)
    labels = np.where(
        kinds == "given", issues["given_label"], issues["suggested_label"]
    )
    return Decisions(
        issues["id"].to_numpy(np.int64),
        kinds,
        np.where(kinds == "remove", NO_LABEL, labels).astype(np.int64),
        np.full(len(kinds), "NaT", "datetime64[ms]"),
    )


def is_settled(issues: pd.DataFrame) -> np.ndarray:
    """Which labels of a table people had decided on, or the model trusts, `(n,)`.

    Args:
        issues: a table of label issues.
    """
    is_trusted = issues["label_quality"].notna() & issues["noise_score"].isna()
    is_decided = issues[DECISION] != "" if DECISION in issues else False
    return (is_trusted | is_decided).to_numpy()


def check_there(paths: Iterable[str | os.PathLike[str]]) -> None:
    """Check that files of decisions are there, before anything else is read.

    Raises:
        FileNotFoundError: if one is not.
    """
    for path in map(Path, paths):
        if not path.exists() or path.is_dir():
            raise FileNotFoundError(
                f"There is no file of decisions {path}. The page of a report saves "
                "one: decisions.csv."
            )


def _read(path: Path, num_classes: int) -> dict[int, _Row]:
    """The last row of each id of a file."""
    check_not_utf16(path)
    found = {}
    with opened_text(path, MAX_DECISIONS_BYTES, encoding="utf-8-sig") as text:
        try:
            for number, values in _rows(path, text):
                try:
                    one, row = _parsed(values, num_classes)
                except ValueError as error:
                    raise _damaged(path, number, error) from None
                found[one] = row
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path} is not text in UTF-8: {error.reason}. Save it as CSV UTF-8."
            ) from None
    return found


def _rows(path: Path, text: IO[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line and values of each row that is not empty."""
    first = text.readline(_LONGEST_LINE)
    names, separator = _header(path, first)
    reader = csv.reader(_lines(path, text), delimiter=separator, strict=True)
    try:
        for values in reader:
            if not any(value.strip() for value in values):
                continue
            number = reader.line_num + 1  # that of names is not among its lines
            if len(values) != len(names):
                reason = f"it has {len(values)} values, not {len(names)}"
                raise _damaged(path, number, reason)
            yield number, dict(zip(names, map(str.strip, values), strict=True))
    except csv.Error as error:
        raise _damaged(path, reader.line_num + 1, error) from None


def _header(path: Path, line: str) -> tuple[list[str], str]:
    """The names of the columns, and what stands between values."""
    for separator in _SEPARATORS:
        names = [name.strip().strip('"') for name in line.split(separator)]
        if set(COLUMNS) <= set(names):
            if twice := [name for name in COLUMNS if names.count(name) > 1]:
                raise ValueError(
                    f"{path} has the column {twice[0]!r} more than once. Keep one."
                )
            return names, separator
    raise ValueError(
        f"{path} is no file of decisions: its first line must name the columns "
        f"{', '.join(COLUMNS)}, between commas, semicolons or tabs. Received: "
        f"{shown(line.strip()[:80])!r}."
    )


def _lines(path: Path, text: IO[str]) -> Iterator[str]:
    number = 1
    while line := text.readline(_LONGEST_LINE):
        number += 1
        if len(line) == _LONGEST_LINE:
            reason = f"it has {_LONGEST_LINE:,} characters or more"
            raise _damaged(path, number, reason)
        yield line


def _parsed(values: dict[str, str], num_classes: int) -> tuple[int, _Row]:
    """Id and row; a ValueError says what is wrong with a value."""
    one, kind, label, time = (values[name] for name in COLUMNS)
    if not _INTEGER.fullmatch(one):
        raise ValueError(
            f"the id {shown(one)!r} is not an integer of 0 or more, in 15 digits"
        )
    if kind not in KINDS:
        raise ValueError(
            f"the decision {shown(kind)!r} is not one of {', '.join(KINDS)}"
        )
    return int(one), _Row(kind, _label(kind, label, num_classes), _time(time))


def _label(kind: str, text: str, num_classes: int) -> int:
    if kind == "remove":
        if text:
            raise ValueError(f"the label of what is removed is {shown(text)!r}, not ''")
        return NO_LABEL
    if not _INTEGER.fullmatch(text) or int(text) >= num_classes:
        raise ValueError(
            f"the label {shown(text)!r} is not the number of a class, from 0 to "
            f"{num_classes - 1}"
        )
    return int(text)


def _time(text: str) -> np.datetime64:
    if _UTC.fullmatch(text):
        try:
            return np.datetime64(text.removesuffix("Z").removesuffix("+00:00"), "ms")
        except ValueError:
            pass
    raise ValueError(
        f"the time {shown(text)!r} is not ISO 8601 in UTC, such as "
        "2024-05-06T07:08:09Z (spreadsheets write times in their own form: have the "
        "column as text)"
    )


def _damaged(path: Path, number: int, reason: object) -> ValueError:
    return ValueError(
        f"Line {number} of {path} is no decision: {reason}. Mend the line, or save the "
        "file again from the review page."
    )
