"""Features that somebody has already, with their labels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sop_keras.features.array_files import map_npy, read_npz
from sop_keras.features.label_files import (
    ID,
    LABEL,
    Labels,
    checked_ids,
    labels_of_array,
    read_labels,
    read_parquet_ids,
)
from sop_keras.features.parquet_features import read_parquet_features
from sop_keras.files.mapped import let_go
from sop_keras.files.shown_text import shown

MIN_EXAMPLES = 2
"""How many examples a class must have: of one alone, nothing can be said."""

_NUMBERS_AT_ONCE = 2**22
_NUM_SHOWN = 5


@dataclass(frozen=True)
class OwnFeatures:
    """Features and labels of examples.

    Args:
        features: float16, float32 or float64, shape `(n, num_features)`, finite; of a
            `.npy` file mapped, and read as they are used. Not to be written to.
        labels: int64, shape `(n,)`, in `[0, num_classes)`: places in `class_names`.
        ids: int64, shape `(n,)`; places in the file where none are given.
        class_names: the labels as they were given, sorted.
    """

    features: np.ndarray
    labels: np.ndarray
    ids: np.ndarray
    class_names: tuple[str, ...]


def read_features(
    path: str | os.PathLike[str], labels: str | os.PathLike[str] | None = None
) -> OwnFeatures:
    """Read features, and look at all of them once.

    Args:
        path: `.npy`, an array of shape `(n, num_features)`; `.npz`, arrays `features`,
            `labels` and, if there is one, `ids`; or `.parquet`, a column of lists or
            one for each feature, with `label` and, if there is one, `id`.
        labels: a file of labels: `.npy`, `.txt` with one a line, `.csv` or `.parquet`
            with a column `label` and, if there is one, `id`. Labels are integers or
            texts. If both files have ids, each row gets the label of its id; else
            labels are in the order of the rows. Defaults to `None`: they are in the
            same file.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if one is no regular file, or cannot be read.
        ImportError: if one is Parquet and pyarrow is not installed.
        ValueError: if a file cannot be used, the features are no floats of two axes or
            not finite, all rows are equal, there are not as many labels as rows, other
            ids beside the labels than beside the features, not two classes, or a class
            with fewer than `MIN_EXAMPLES` examples.

    Example:
    ```python
    own = read_features("embeddings.npy", labels="labels.csv")
    own.features[:8], own.labels[:8], own.class_names
    ```
    """
    path = Path(path)
    for one in [path] if labels is None else [path, Path(labels)]:
        if not one.exists() or one.is_dir():
            raise FileNotFoundError(f"There is no file {one}.")
    features, ids, found = _read(path, read_own=labels is None)
    if labels is not None:
        found = read_labels(Path(labels))
    if found is None:
        raise ValueError(
            f"{path} has no labels. Give a file of them: labels=PATH, as .npy, .csv, "
            ".txt (one a line) or .parquet."
        )
    _check_shape(features, path)
    if ids is not None and len(ids) != len(features):
        raise ValueError(
            f"{path} has {len(features):,} rows of features, and {len(ids):,} ids. "
            "There must be one for each row, in the same order."
        )
    if labels is not None and ids is not None and found.ids is not None:
        found = _joined(found, found.ids, ids, Path(labels), path)
    if len(found.labels) != len(features):
        where = path if labels is None else labels
        raise ValueError(
            f"{path} has {len(features):,} rows of features, and {where} has "
            f"{len(found.labels):,} labels. There must be one for each row, in the "
            "same order."
        )
    if ids is None:
        ids = np.arange(len(features)) if found.ids is None else found.ids
    _check_classes(found, path)
    _check_values(features, path)
    return OwnFeatures(features, found.labels, ids, found.class_names)


_Read = tuple[np.ndarray, np.ndarray | None, Labels | None]


def _read(path: Path, read_own: bool) -> _Read:
    """Features, and the ids and, if they are wanted, the labels in the same file."""
    match path.suffix.lower():
        case ".npy":
            return map_npy(path), None, None
        case ".npz":
            return _read_npz(path, read_own)
        case ".parquet":
            features = read_parquet_features(path, (LABEL, ID))
            if not read_own:
                return features, read_parquet_ids(path), None
            own = read_labels(path)
            return features, own.ids, own
    raise ValueError(
        f"Features are read from .npy, .npz and .parquet. Received: {path}."
    )


def _read_npz(path: Path, read_own: bool) -> _Read:
    arrays = read_npz(path, ("features", "labels", "ids"))
    if "features" not in arrays:
        raise ValueError(
            f"{path} has no array 'features'. Save it with numpy.savez(path, "
            "features=..., labels=...)."
        )
    ids = checked_ids(arrays["ids"], f"{path}, ids") if "ids" in arrays else None
    labels = None
    if read_own and "labels" in arrays:
        labels = labels_of_array(arrays["labels"], f"{path}, labels")
    return arrays["features"], ids, labels


def _joined(
    found: Labels, beside: np.ndarray, ids: np.ndarray, labels: Path, path: Path
) -> Labels:
    """Labels with ids `beside` them, put in the order of the features' `ids`."""
    missing = np.setdiff1d(ids, beside)
    unknown = np.setdiff1d(beside, ids)
    if len(missing) or len(unknown):
        raise ValueError(
            f"{path} and {labels} both have ids, and not the same ones: "
            f"{_listed(missing)} of the features without a label, {_listed(unknown)} "
            "of labels without features. Each row gets the label of its id: write both "
            f"files of the same examples, or leave the ids out of {labels} if its "
            "labels are in the order of the rows."
        )
    order = np.argsort(beside)
    places = order[np.searchsorted(beside, ids, sorter=order)]
    return Labels(found.labels[places], found.class_names, ids)


def _listed(ids: np.ndarray) -> str:
    """How many ids, and the first of them."""
    if not len(ids):
        return "0"
    some = ", ".join(map(str, ids[:_NUM_SHOWN].tolist()))
    return f"{len(ids):,} ({some}{', ...' if len(ids) > _NUM_SHOWN else ''})"


def _check_shape(features: np.ndarray, path: Path) -> None:
    is_float = features.dtype.kind == "f" and features.dtype.itemsize <= 8
    if features.ndim != 2 or not is_float or not features.size:
        raise ValueError(
            f"{path}: features must be float16, float32 or float64 of shape (n, "
            f"num_features), both at least 1. Received: {features.dtype} of shape "
            f"{features.shape}. Flatten them, or convert them with astype('float32')."
        )


def _check_classes(found: Labels, path: Path) -> None:
    names, counts = found.class_names, np.bincount(found.labels)
    if len(names) < 2:
        raise ValueError(
            f"There must be at least 2 classes. Received, for {path}: {len(names)}, "
            f"{shown(names[0])!r}."
        )
    (rare,) = np.nonzero(counts < MIN_EXAMPLES)
    if len(rare):
        listed = ", ".join(repr(shown(names[i])) for i in rare[:_NUM_SHOWN])
        more = f" and {len(rare) - _NUM_SHOWN} more" if len(rare) > _NUM_SHOWN else ""
        raise ValueError(
            f"Each class must have at least {MIN_EXAMPLES} examples. Received, for "
            f"{path}: {len(names)} classes, of which {len(rare)} have fewer: "
            f"{listed}{more}. Leave these out, or mend their labels."
        )


def _check_values(features: np.ndarray, path: Path) -> None:
    """Check that all are finite, and that not all rows are equal, block by block."""
    num_bad, first_bad, are_equal = 0, -1, True
    for start, block in _blocks(features):
        (bad,) = np.nonzero(~np.isfinite(block).all(axis=1))
        if len(bad):
            first_bad = start + int(bad[0]) if not num_bad else first_bad
            num_bad += len(bad)
        are_equal = are_equal and bool((block == features[0]).all())
        let_go(features)
    if num_bad:
        raise ValueError(
            f"{path}: {num_bad:,} of {len(features):,} rows have features that are not "
            f"finite, the first of them row {first_bad}. Make these anew, or leave "
            "them out with their labels."
        )
    if are_equal:
        raise ValueError(
            f"{path}: all {len(features):,} rows are equal. Features must differ from "
            "example to example."
        )


def _blocks(features: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The first row of each block of rows, and the block."""
    size = max(1, _NUMBERS_AT_ONCE // features.shape[1])
    for start in range(0, len(features), size):
        yield start, features[start : start + size]
