"""Lists of image files: `path` or `path label` a line, up to millions of them.

Lists are read as bytes, since a file's name need not be valid text. Lines may end as on
Windows and have blanks around them; a byte order mark and blank last lines are no part
of a list.
"""

from __future__ import annotations

import codecs
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from sop_keras.files.shown_text import shown
from sop_keras.files.untrusted import open_untrusted

# Lines that are Python objects at the same time; the rest is in arrays.
_BLOCK = 65_536
_NUM_SHOWN = 20
_MAX_LENGTH = 4200
# As much of a line as is read, blanks around it among them.
_LONGEST_LINE = 2**16

MAX_LIST_BYTES = 2**30
"""The largest list that is read: 1 GiB."""

MAX_NAMES_BYTES = 2**32
"""How much memory the paths of a list may take: 4 GiB."""


def printable(name: bytes) -> str:
    """The name as text, with a backslash escape for each byte that is not text.

    For data, such as names of classes; what people are shown goes through `shown`.
    """
    return name.decode(errors="backslashreplace")


def read_lines(file: Path) -> Iterator[bytes]:
    """The lines of a list, without the blanks around them.

    Blank lines are allowed at the end alone, so the n-th line that this gives is line
    n of the file.

    Raises:
        OSError: as `open_untrusted`, for a list of more than `MAX_LIST_BYTES`.
        ValueError: if another line is blank or too long, or the list is no plain text.
    """
    blank = 0
    with open_untrusted(file, MAX_LIST_BYTES) as stream:
        # Not more of a line than it may have, were it as long as the file.
        lines = iter(lambda: stream.readline(_LONGEST_LINE), b"")
        for number, line in enumerate(lines, start=1):
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            if b"\0" in line:
                raise ValueError(
                    f"Line {number} of {file} has a zero byte: it must be plain text, "
                    "a path a line. If an editor saved it as UTF-16, save it as UTF-8."
                )
            is_cut = len(line) == _LONGEST_LINE and not line.endswith(b"\n")
            line = line.strip()
            if is_cut or len(line) > _MAX_LENGTH:
                # One such line would make all of an array of names as long.
                raise ValueError(
                    f"Line {number} of {file} has {len(line)} bytes, more than a path "
                    f"and a label can have ({_MAX_LENGTH}). Get it again."
                )
            if not line:
                blank = blank or number
            elif blank:
                raise ValueError(
                    f"Line {blank} of {file} is blank. Only the last lines may be: an "
                    "example's id is its line. Remove it."
                )
            else:
                yield line


def read_names(file: Path, prefix: bytes = b"") -> np.ndarray:
    """A list with one path a line.

    Args:
        file: the list.
        prefix: what to take off the front of the paths that have it. Defaults to
            nothing.

    Returns:
        array of bytes, shape `(n,)`, in the order of the lines.

    Raises:
        ValueError: if a path is there twice, or the list is empty or no plain text.
    """
    names = _gathered((line.removeprefix(prefix) for line in read_lines(file)), file)
    if not len(names):
        raise ValueError(f"{file} is empty. Get it again.")
    _check_distinct(names, file)
    return names


def read_labelled_names(
    file: Path, num_labels: int, prefix: bytes = b"", *, distinct: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """A list with a path and a label a line.

    Args:
        file: the list.
        num_labels: labels must be integers in `[0, num_labels)`.
        prefix: what to take off the front of the paths that have it. Defaults to
            nothing.
        distinct: whether each path must be there once. Defaults to `True`.

    Returns:
        The paths, an array of bytes of shape `(n,)`, in the order of the lines; and
        their labels, int64 of shape `(n,)`.

    Raises:
        ValueError: if a line is malformed, a label is out of range, a path is there
            twice, or the list is empty or no plain text.
    """
    labels = array("q")

    def take_labels_off() -> Iterator[bytes]:
        for number, line in enumerate(read_lines(file), start=1):
            name, label = _name_and_label(line, number, file)
            if not 0 <= label < num_labels:
                raise ValueError(
                    f"The label in line {number} of {file} must be from 0 to "
                    f"{num_labels - 1}. Received: {printable(line)!r}."
                )
            labels.append(label)
            yield name.removeprefix(prefix)

    names = _gathered(take_labels_off(), file)
    if not len(names):
        raise ValueError(f"{file} is empty. Get it again.")
    if distinct:
        _check_distinct(names, file)
    return names, np.array(labels, np.int64)


def labels_of(
    keys: np.ndarray,
    keys_file: Path,
    names: np.ndarray,
    labels: np.ndarray,
    labels_file: Path,
) -> np.ndarray:
    """The labels of some paths.

    Args:
        keys: the paths, bytes, shape `(n,)`, in the order of the lines of their list.
        keys_file: their list, for the error.
        names: the paths with a label, bytes, shape `(m,)`, no two the same.
        labels: integers, shape `(m,)`: the labels of `names`.
        labels_file: the list of these, for the error.

    Returns:
        integers, shape `(n,)`.

    Raises:
        ValueError: if a path has no label.
    """
    order = np.argsort(names)
    in_order = names[order]
    places = np.minimum(np.searchsorted(in_order, keys), len(names) - 1)
    without = np.flatnonzero(in_order[places] != keys)
    if len(without):
        first = without[0]
        raise ValueError(
            f"{len(without)} of the {len(keys)} paths in {keys_file} have no label in "
            f"{labels_file}; the first is in line {first + 1}: "
            f"{printable(keys[first])!r}. Get both lists again, of the same version."
        )
    return labels[order[places]]


def find_layout(
    name: str,
    data_dir: str | os.PathLike[str],
    subfolders: Sequence[str],
    parts: Mapping[str, Sequence[str]],
    advice: str,
) -> dict[str, Path]:
    """Where the files and folders of a data set are.

    Args:
        name: of the data set, for the error.
        data_dir: the folder of the data set, or the one that it is in.
        subfolders: the names that its folder may have in the latter case.
        parts: the name of each file and folder, and the places where it may be, from
            the data set's folder; a place that ends in `/` is a folder.
        advice: how to get what is missing, for the error.

    Returns:
        The place of each part.

    Raises:
        FileNotFoundError: if some are missing; the text has all of them, and where
            they were looked for.
    """
    folders = [Path(data_dir), *(Path(data_dir, subfolder) for subfolder in subfolders)]
    found = [_existing_parts(folder, parts) for folder in folders]
    # max takes the first of those that have as much.
    best = max(range(len(folders)), key=lambda i: len(found[i]))
    if len(found[best]) == len(parts):
        return found[best]
    if found[best]:
        folders = [folders[best]]
    missing = [
        f"  {part}" if list(places) == [part] else f"  {part} ({' or '.join(places)})"
        for part, places in parts.items()
        if part not in found[best]
    ]
    raise FileNotFoundError(
        f"{name}: missing in {' and in '.join(map(str, folders))}:\n"
        + "\n".join(missing)
        + f"\n{folders[0]} {_content(folders[0])}\n{advice}"
    )


def check_full_size(
    name: str, received: Mapping[str, int], expected: Mapping[str, int]
) -> None:
    """Check that the splits of a data set have the published numbers of images.

    Raises:
        ValueError: if one has another; the text says how to train on a subset.
    """
    if received != expected:
        raise ValueError(
            f"{name} has {_sizes(expected)} images. Received: {_sizes(received)}. "
            "Get the lists again; if it is a subset on purpose, say so by "
            "--noexpect_full_size (expect_full_size=False)."
        )


def _name_and_label(line: bytes, number: int, file: Path) -> tuple[bytes, int]:
    try:
        name, label = line.rsplit(maxsplit=1)
        return name, int(label)
    except ValueError:
        raise ValueError(
            f"Line {number} of {file} must be a path, a space and an integer label. "
            f"Received: {printable(line)!r}."
        ) from None


def _gathered(lines: Iterator[bytes], file: Path) -> np.ndarray:
    blocks = [np.array([], np.bytes_)]
    count = longest = 0
    while block := list(islice(lines, _BLOCK)):
        blocks.append(np.array(block, np.bytes_))
        count, longest = count + len(block), max(longest, blocks[-1].itemsize)
        if count * longest > MAX_NAMES_BYTES:
            raise ValueError(
                f"{file} has {count:,} paths or more, the longest of {longest} bytes. "
                "In an array each takes as much as the longest, and all may take "
                f"{MAX_NAMES_BYTES:,} bytes. Get it again."
            )
    return np.concatenate(blocks)


def _check_distinct(names: np.ndarray, file: Path) -> None:
    # Stable: of equal paths, the first line comes first.
    order = np.argsort(names, kind="stable")
    again = np.flatnonzero(names[order[1:]] == names[order[:-1]])
    if len(again):
        line, before = order[again[0] + 1] + 1, order[again[0]] + 1
        raise ValueError(
            f"{file} has the path {printable(names[line - 1])!r} in line {before} and "
            f"again in line {line} ({len(again)} lines repeat a path). An example's id "
            "is its line: each path must be there once."
        )


def _existing_parts(
    folder: Path, parts: Mapping[str, Sequence[str]]
) -> dict[str, Path]:
    existing = {}
    for part, places in parts.items():
        for place in places:
            path = folder / place
            if path.is_dir() if place.endswith("/") else path.is_file():
                existing[part] = path
                break
    return existing


def _content(folder: Path) -> str:
    try:
        names = sorted(os.listdir(os.fsencode(folder)))
    except OSError as error:
        return f"cannot be listed: {error.strerror}."
    if not names:
        return "is empty."
    listed = ", ".join(map(shown, names[:_NUM_SHOWN]))
    more = f" and {len(names) - _NUM_SHOWN} more" if len(names) > _NUM_SHOWN else ""
    return f"has: {listed}{more}."


def _sizes(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{size:,} {split}" for split, size in sizes.items())
