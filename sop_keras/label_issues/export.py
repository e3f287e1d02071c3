"""Tables of label issues as files: CSV, Parquet, JSON."""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sop_keras.files.atomic import replacing
from sop_keras.files.formulas import without_formulas
from sop_keras.files.parquet import pyarrow_for
from sop_keras.files.shown_text import shown
from sop_keras.files.text_encoding import check_not_utf16
from sop_keras.files.untrusted import UntrustedFileError, open_untrusted, read_bytes
from sop_keras.label_issues.decisions import DECISION, KINDS
from sop_keras.label_issues.find import COLUMNS, MORE_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

_DTYPES = {
    "id": np.int64,
    "given_label": np.int64,
    "suggested_label": np.int64,
    "label_quality": np.float64,
    "noise_score": np.float64,
    "given_label_prob": np.float64,
    "suggested_label_prob": np.float64,
    "is_label_issue": np.bool_,
}

MAX_TABLE_BYTES = 2**31
"""The largest table of label issues that is read: a file of 2 GiB."""

MAX_TABLE_ROWS = 20_000_000
"""The most rows that are read of one in Parquet, which may take no room in a file."""

# The types of Parquet that numbers and bools are stored as.
_NUMBERS = ("BOOLEAN", "INT32", "INT64", "FLOAT", "DOUBLE")

# Rows that are made into text, or into Arrow's columns, together.
_ROWS_AT_ONCE = 65_536

# Columns by name, in the order of the file; those of texts are of objects.
_Chunks = Iterator[dict[str, np.ndarray]]


def write_label_issues(
    issues: pd.DataFrame,
    path: str | os.PathLike[str],
    class_names: Sequence[str] | None = None,
    files: Mapping[int, str] | Sequence[str] | None = None,
) -> None:
    """Write a table of label issues, the lowest quality first.

    Rows of equal quality are in the order of their ids; those of unknown quality, NaN,
    are the last. The file is whole or not there. Besides the table, a chunk of rows is
    in memory.

    Names may hold anything: what is no character (half of a pair, and NUL) is written
    as a backslash escape. In CSV, what a spreadsheet would run as a formula gets an
    apostrophe in front, also behind a `;`, `|`, tab or line break inside a text. In
    JSON, a list of records, NaN is null.

    Args:
        issues: as `SOPModel.label_issues` gives it, or `sop_keras.audit`. Other columns
            than `COLUMNS` and `MORE_COLUMNS` are left out.
        path: the file; it ends in .csv, .parquet or .json.
        class_names: one name a class, in label order, for the columns `given_class` and
            `suggested_class`. Defaults to `None`: without them.
        files: the text of each id, for the column `file`; or a list of them, the id
            being the place, for a table that has all ids from 0 in their order, as
            arrays give it. Defaults to `None`: without it.

    Raises:
        ValueError: for another ending, a table that lacks columns, class names that are
            not as many as there are classes, files that lack an id, or a list of them
            for a table that is sorted or a part.
        ImportError: for Parquet without pyarrow.
        OSError: if it cannot be written. What was there is as it was.
    """
    path = Path(path)
    write = _by_suffix(path, _WRITERS)
    _check_columns("`issues`", issues.columns)
    _check_names(issues, class_names)
    if write is _write_parquet:
        pyarrow_for(path)
    texts = None if files is None else _files_of(issues["id"].to_numpy(), files)
    with replacing(path) as partial:
        write(_chunks(issues, class_names, texts), partial)


def read_label_issues(path: str | os.PathLike[str]) -> pd.DataFrame:
    """A table that `write_label_issues` wrote, in the order of its rows.

    Args:
        path: the file; it ends in .csv, .parquet or .json.

    Returns:
        A DataFrame with the columns `COLUMNS`: the same values, to the last bit; and of
        an audit with `decision`, what people had decided before it, or `""`.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if it is no regular file, or has more than `MAX_TABLE_BYTES`.
        ValueError: for another ending, a file that lacks columns, a damaged one, or one
            in Parquet of more than `MAX_TABLE_ROWS`.
        ImportError: for Parquet without pyarrow.
    """
    path = Path(path)
    read = _by_suffix(path, _READERS)
    if not path.exists() or path.is_dir():
        raise FileNotFoundError(
            f"There is no table of label issues {path}. A run of SOP writes one at its "
            "end. `write_label_issues` writes one from what `label_issues` of a model "
            "gives; that of a run is its model.keras."
        )
    return read(path)


def _by_suffix(path: Path, functions: dict[str, Any]) -> Any:
    if path.suffix.lower() not in functions:
        raise ValueError(
            "A table of label issues is a file that ends in "
            f"{', '.join(functions)}. Received: {str(path)!r}."
        )
    return functions[path.suffix.lower()]


def _check_columns(what: str, found: Any) -> None:
    if missing := [name for name in COLUMNS if name not in found]:
        raise ValueError(
            f"{what} is no table of label issues: it has no column "
            f"{', '.join(map(repr, missing))}. Columns found: "
            f"{', '.join(map(repr, found)) or 'none'}. Write it again, with "
            "`write_label_issues`."
        )


def _files_of(ids: np.ndarray, files: Mapping[int, str] | Sequence[str]) -> np.ndarray:
    """The text of each id, as an array of objects."""
    if isinstance(files, Mapping):
        missing = [one for one in ids.tolist() if one not in files]
        if missing:
            raise ValueError(
                f"`files` has no text for {len(missing)} of the {len(ids)} ids of "
                f"`issues`; the first is {missing[0]}. Received: {len(files)} texts."
            )
        texts = np.empty(len(ids), object)
        texts[:] = [files[one] for one in ids.tolist()]
        return texts
    mend = "Give them by id: files={id: file, ...}."
    if len(files) != len(ids):
        raise ValueError(
            "`files` must have one text a row of `issues`. Received: "
            f"{len(files)} texts for {len(ids)} rows. {mend}"
        )
    if not np.array_equal(ids, np.arange(len(ids))):
        raise ValueError(
            "A list of `files` is one in the order of the data, but the rows of "
            f"`issues` are sorted, or a part: their ids are not 0 to {len(ids) - 1} in "
            f"order. Received: {', '.join(map(str, ids[:3].tolist()))}, ... {mend}"
        )
    return np.asarray(files, object)  # by place, whatever index a Series has


def _check_names(issues: pd.DataFrame, class_names: Sequence[str] | None) -> None:
    if class_names is None or not len(issues):
        return
    labels = issues[["given_label", "suggested_label"]].to_numpy()
    for label in (labels.min(), labels.max()):
        if not 0 <= label < len(class_names):
            raise ValueError(
                "`class_names` must have one name a class, in label order. Received: "
                f"{len(class_names)} names, and the label {label}."
            )


def _chunks(
    issues: pd.DataFrame,
    class_names: Sequence[str] | None,
    files: np.ndarray | None,
) -> _Chunks:
    """The columns of the file, a part of its rows at a time; one part at least."""
    more = [name for name in MORE_COLUMNS if name in issues]
    columns = {name: issues[name].to_numpy() for name in (*COLUMNS, *more)}
    names = None if class_names is None else _texts(class_names)
    # NaN sorts last.
    order = np.lexsort((columns["id"], columns["label_quality"]))
    for start in range(0, max(len(order), 1), _ROWS_AT_ONCE):
        rows = order[start : start + _ROWS_AT_ONCE]
        chunk = {}
        for name, column in columns.items():
            chunk[name] = column[rows]
            if name == "suggested_label" and names is not None:
                chunk["given_class"] = names[chunk["given_label"]]
                chunk["suggested_class"] = names[chunk["suggested_label"]]
        if files is not None:
            chunk["file"] = _texts(files[rows])
        yield chunk


def _texts(texts: Sequence[str] | np.ndarray) -> np.ndarray:
    """Texts that any file can hold, as an array of objects."""
    clean = np.empty(len(texts), object)
    clean[:] = [
        text.encode(errors="backslashreplace").decode().replace("\0", r"\x00")
        for text in texts
    ]
    return clean


def _write_csv(chunks: _Chunks, path: Path) -> None:
    import pandas as pd

    with path.open("w", encoding="utf-8", newline="") as file:
        for number, chunk in enumerate(chunks):
            safe = {
                name: [without_formulas(text) for text in column]
                for name, column in chunk.items()
                if column.dtype == object
            }
            pd.DataFrame({**chunk, **safe}).to_csv(
                file,
                header=number == 0,
                index=False,
                quoting=csv.QUOTE_NONNUMERIC,
                lineterminator="\n",
            )


def _write_json(chunks: _Chunks, path: Path) -> None:
    with path.open("w", encoding="ascii") as file:
        separator = "[\n"
        for chunk in chunks:
            for record in zip(*map(_json_values, chunk.values()), strict=True):
                text = json.dumps(dict(zip(chunk, record, strict=True)))
                file.write(separator + text)
                separator = ",\n"
        file.write("[]\n" if separator == "[\n" else "\n]\n")


def _json_values(column: np.ndarray) -> list[Any]:
    values = column.tolist()
    if column.dtype.kind == "f":
        values = [value if math.isfinite(value) else None for value in values]
    return values


def _write_parquet(chunks: _Chunks, path: Path) -> None:
    arrow, parquet = pyarrow_for(path)
    with contextlib.ExitStack() as stack:
        writer = None
        for chunk in chunks:
            # By its type alone, Arrow could not tell what no rows have.
            types = {n: arrow.string() for n in chunk if chunk[n].dtype == object}
            columns = {n: arrow.array(chunk[n], type=types.get(n)) for n in chunk}
            table = arrow.table(columns)
            if writer is None:
                writer = parquet.ParquetWriter(path, table.schema)
                stack.enter_context(writer)
            writer.write_table(table)


def _read_csv(path: Path) -> pd.DataFrame:
    import pandas as pd

    check_not_utf16(path)
    exact = _exact_floats(pd.__version__)
    with open_untrusted(path, MAX_TABLE_BYTES) as file:
        with _damage_explained(path):
            found = list(pd.read_csv(file, nrows=0).columns)
        _check_columns(str(path), found)
        file.seek(0)
        names = [*COLUMNS, *({DECISION} & {*found})]
        dtypes = {**_DTYPES, DECISION: np.object_}
        with _damage_explained(path):
            table = pd.read_csv(file, usecols=names, dtype=dtypes, **exact)
    said = table[DECISION].fillna("") if DECISION in names else None
    return _with_decisions(path, table[list(COLUMNS)], said)


def _exact_floats(version: str) -> dict[str, Any]:
    """What has pandas read floats as they were written, to their last bit."""
    # From 3.1 on it always does, and warns where it is asked to.
    major, minor = map(int, version.split(".")[:2])
    return {} if (major, minor) >= (3, 1) else {"float_precision": "round_trip"}


def _read_json(path: Path) -> pd.DataFrame:
    check_not_utf16(path)
    with _damage_explained(path):
        records = json.loads(read_bytes(path, MAX_TABLE_BYTES))
    if not isinstance(records, list) or not all(isinstance(r, dict) for r in records):
        raise _damaged(path, "it is not a list of records")
    _check_columns(str(path), set(COLUMNS).intersection(*records))  # each has them
    columns = {name: [record[name] for record in records] for name in COLUMNS}
    for column in columns.values():
        column[:] = [math.nan if value is None else value for value in column]
    said = None
    if any(DECISION in record for record in records):
        said = [record.get(DECISION, "") for record in records]
    return _with_decisions(path, _typed(path, columns), said)


def _read_parquet(path: Path) -> pd.DataFrame:
    arrow, parquet = pyarrow_for(path)
    with open_untrusted(path, MAX_TABLE_BYTES) as opened:
        with _damage_explained(path, arrow.ArrowException, OSError):
            file = parquet.ParquetFile(opened)
        found = file.schema_arrow.names
        _check_columns(str(path), found)
        _check_footer(path, file.metadata)
        more = [DECISION] if DECISION in found else []
        with _damage_explained(path, arrow.ArrowException, OSError):
            # Texts of a dictionary are read once, however many rows have them.
            file = parquet.ParquetFile(opened, read_dictionary=more)
            table = file.read(columns=[*COLUMNS, *more])
    said = table[DECISION].to_pandas() if more else None
    issues = _typed(path, {name: table[name].to_numpy() for name in COLUMNS})
    return _with_decisions(path, issues, said)


def _check_footer(path: Path, footer: Any) -> None:
    """Check what a Parquet file says of itself before its values are read."""
    if footer.num_rows > MAX_TABLE_ROWS:
        raise _damaged(path, f"{footer.num_rows:,} rows, more than {MAX_TABLE_ROWS:,}")
    for leaf in map(footer.schema.column, range(len(footer.schema.names))):
        name = leaf.path.partition(".")[0]
        is_number = leaf.path == name and leaf.physical_type in _NUMBERS
        if name in COLUMNS and not is_number:
            raise _damaged(path, f"its column {name!r} is no column of numbers")
        is_text = leaf.path == name and leaf.physical_type == "BYTE_ARRAY"
        if name == DECISION and not is_text:
            raise _damaged(path, f"its column {name!r} is no column of texts")


@contextlib.contextmanager
def _damage_explained(path: Path, *more: type[Exception]) -> Iterator[None]:
    own: tuple[type[Exception], ...] = (ValueError, OverflowError, RecursionError)
    try:
        yield
    except UntrustedFileError:
        raise
    except own + more as error:
        raise _damaged(path, error) from None


def _typed(path: Path, columns: dict[str, Any]) -> pd.DataFrame:
    import pandas as pd

    arrays: dict[str, np.ndarray] = {}
    for name, dtype in _DTYPES.items():
        # Of an empty list, NumPy makes floats.
        array = np.asarray(columns[name], None if len(columns[name]) else dtype)
        if not np.can_cast(array.dtype, dtype, "same_kind"):
            raise _damaged(path, f"its column {name!r} is of {array.dtype}")
        arrays[name] = array.astype(dtype)
    return pd.DataFrame(arrays)


def _with_decisions(path: Path, issues: pd.DataFrame, said: Any) -> pd.DataFrame:
    """The table with what people decided, if it has that."""
    if said is None:
        return issues
    texts = np.asarray(said, object)
    if unknown := {*map(str, texts)} - {"", *KINDS}:
        reason = f"its column {DECISION!r} has {shown(min(unknown))[:40]!r}"
        raise _damaged(path, reason)
    return issues.assign(**{DECISION: texts})


def _damaged(path: Path, reason: Any) -> ValueError:
    return ValueError(
        f"{path} cannot be read as a table of label issues: {reason}. Write it again, "
        "with `write_label_issues`."
    )


_WRITERS: dict[str, Callable[[_Chunks, Path], None]] = {
    ".csv": _write_csv,
    ".parquet": _write_parquet,
    ".json": _write_json,
}
_READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".json": _read_json,
}
