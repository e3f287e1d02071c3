"""Features in a Parquet file that nobody vouches for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sop_keras.files.archives import FREE_BYTES, MAX_RATIO
from sop_keras.files.untrusted import NO_LIMIT, UntrustedFileError, open_untrusted

# Numbers of which Arrow's copies are in memory at a time.
_NUMBERS_AT_ONCE = 2**22
_NUM_SHOWN = 8
_INDEX = "__index_level_"  # how pandas names the rows' index


def read_parquet_features(path: Path, others: Sequence[str]) -> np.ndarray:
    """The features in a file, in memory: one column of lists, or one a feature.

    Args:
        path: the file. It has one column of lists of floats, all of one length; or
            columns of floats, which are the features in their order. Beside lists,
            further columns are left out; beside columns of floats, those of texts and
            the like are, and those of integers are refused, which may be features.
        others: names of columns that are no features.

    Returns:
        Floats of shape `(n, num_features)`, of the largest type among the columns; not
        a number where a value is missing.

    Raises:
        ImportError: if pyarrow is not installed.
        OSError: if it is no regular file, or cannot be read.
        ValueError: if it is no Parquet file, is damaged, has no such columns, columns
            of integers or decimals among them, lists of several lengths, or far more
            numbers than bytes.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(
            f"{path} is read through pyarrow, which is not installed. Run: pip install "
            "pyarrow, or save the features with numpy.save."
        ) from error
    try:
        with open_untrusted(path, NO_LIMIT) as file:
            size = os.fstat(file.fileno()).st_size
            with parquet.ParquetFile(file) as rows:
                names, is_lists = _columns(path, rows.schema_arrow, others)
                _check_size(path, rows.metadata, names, size)
                return _read(path, rows, names, is_lists)
    except UntrustedFileError:
        raise
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(
            f"{path} cannot be read as Parquet: {error} Write it again."
        ) from error


def _columns(path: Path, schema: Any, others: Sequence[str]) -> tuple[list[str], bool]:
    """The columns of features, and whether it is one of lists."""
    from pyarrow import types

    fields = [field for field in schema if field.name not in others]
    lists = [one.name for one in fields if _is_list(one.type)]
    floats = [one.name for one in fields if types.is_floating(one.type)]
    if len(lists) == 1 and not floats:
        return lists, True
    if floats and not lists and len(set(floats)) == len(floats):
        _check_all_are_floats(path, fields)
        return floats, False
    found = ", ".join(f"{one.name!r} ({one.type})" for one in list(schema)[:8])
    raise ValueError(
        f"{path} must have one column of lists of floats, or columns of floats with "
        f"names of their own, beside {' and '.join(map(repr, others))}. Columns found: "
        f"{found or 'none'}{', ...' if len(schema) > 8 else ''}."
    )


def _check_all_are_floats(path: Path, fields: list[Any]) -> None:
    """Check that no other numbers are beside columns of floats."""
    from pyarrow import types

    numbers = [
        f"{one.name!r} ({one.type})"
        for one in fields
        if not one.name.startswith(_INDEX)
        and (
            types.is_integer(one.type)
            or types.is_boolean(one.type)
            or types.is_decimal(one.type)
        )
    ]
    if numbers:
        listed = ", ".join(numbers[:_NUM_SHOWN])
        raise ValueError(
            f"{path} has {len(numbers)} columns of numbers that are no floats beside "
            f"its features: {listed}{', ...' if len(numbers) > _NUM_SHOWN else ''}. "
            "Make those that are features floats, astype('float32'), and leave the "
            "others out of the file."
        )


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    is_list = (
        types.is_list(kind)
        or types.is_large_list(kind)
        or types.is_fixed_size_list(kind)
    )
    return is_list and types.is_floating(kind.value_type)


def _check_size(path: Path, footer: Any, names: list[str], size: int) -> None:
    """Check what the footer says, before a number is read: they may be packed."""
    schema = footer.schema
    places = [
        place
        for place in range(len(schema.names))
        if schema.column(place).path.partition(".")[0] in names
    ]
    num_bytes = 0
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        for place in places:
            chunk = group.column(place)
            # Of eight bytes: what they are in memory at most, however few they take.
            num_bytes += max(chunk.total_uncompressed_size, 8 * chunk.num_values)
    if num_bytes > FREE_BYTES + MAX_RATIO * size:
        raise ValueError(
            f"{path} has {size:,} bytes, and {num_bytes:,} when it is unpacked, more "
            f"than {MAX_RATIO} times as many. It is not unpacked: features are not "
            "packed like that. If it is good all the same, save them with numpy.save."
        )


def _read(path: Path, rows: Any, names: list[str], is_lists: bool) -> np.ndarray:
    num_rows = rows.metadata.num_rows
    width = len(names)
    if is_lists:
        width = max(1, _num_values(rows, names[0]) // max(1, num_rows))
    at_once = max(1, _NUMBERS_AT_ONCE // width)
    parts: list[np.ndarray] = []
    first = 0
    for batch in rows.iter_batches(at_once, columns=names):
        if is_lists:
            parts.append(_lists(path, batch[names[0]], first))
            if parts[-1].shape[1] != parts[0].shape[1]:
                raise _other_length(path, first, parts[-1].shape[1], parts[0].shape[1])
        else:
            columns = [batch[name].to_numpy(zero_copy_only=False) for name in names]
            parts.append(np.stack(columns, axis=1))
        first += batch.num_rows
    if not parts:
        return np.empty((0, width), np.float32)
    return np.concatenate(parts)


def _num_values(rows: Any, name: str) -> int:
    """How many numbers a column of lists has, as the footer says."""
    footer = rows.metadata
    paths = [footer.schema.column(i).path for i in range(len(footer.schema.names))]
    place = [path.partition(".")[0] for path in paths].index(name)
    groups = map(footer.row_group, range(footer.num_row_groups))
    return sum(group.column(place).num_values for group in groups)


def _lists(path: Path, column: Any, first: int) -> np.ndarray:
    """The lists of a batch as rows."""
    from pyarrow import compute

    lengths = compute.list_value_length(column).to_numpy(zero_copy_only=False)
    lengths = np.nan_to_num(lengths, nan=0).astype(np.int64)
    (others,) = np.nonzero(lengths != lengths[0])
    if len(others):
        place = int(others[0])
        raise _other_length(path, first + place, int(lengths[place]), int(lengths[0]))
    values = column.flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(lengths), -1 if len(values) else 0)


def _other_length(path: Path, row: int, length: int, expected: int) -> ValueError:
    return ValueError(
        f"{path}: the list in row {row} has {length} numbers, those before it have "
        f"{expected}. All must have the same number of features."
    )
