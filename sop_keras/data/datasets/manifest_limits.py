"""How large a manifest may be, and what a Parquet file says of that in its footer."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_MANIFEST_BYTES = 2**31
"""The largest manifest that is read where no other limit is set: 2 GiB."""

MAX_MANIFEST_ROWS = 10_000_000
"""The most rows that are read where no other limit is set."""

MAX_VALUE_BYTES = 4096
"""The longest path, label or id, in bytes; no path of Linux is longer."""

RAISE_BYTES = "--max_manifest_bytes (max_manifest_bytes of load_manifest)"
_RAISE_ROWS = "--max_manifest_rows (max_manifest_rows of load_manifest)"

# What a column of a Parquet file may have beside its values: 64 bytes for each, and a
# mebibyte for each group of rows.
_BESIDE_A_VALUE, _BESIDE_A_GROUP = 64, 2**20

# Writes what a value shares with the one before as its length alone: a file of some
# kilobytes has terabytes of text.
_SHORTENED = "DELTA_BYTE_ARRAY"


@dataclass(frozen=True)
class ManifestLimits:
    """What a manifest may have.

    Args:
        num_bytes: of the file, of the columns of a Parquet file when they are unpacked,
            and of all paths in memory, where each takes as much as the longest.
            Defaults to `MAX_MANIFEST_BYTES`, 2 GiB.
        num_rows: rows. Defaults to `MAX_MANIFEST_ROWS`, 10,000,000.
    """

    num_bytes: int = MAX_MANIFEST_BYTES
    num_rows: int = MAX_MANIFEST_ROWS

    def check_rows(self, path: Path, num_rows: int) -> None:
        """Check a number of rows.

        Raises:
            ValueError: if there are too many.
        """
        if num_rows > self.num_rows:
            raise ValueError(
                f"{path} has {num_rows:,} rows or more, where at most "
                f"{self.num_rows:,} are read. Raise that limit with {_RAISE_ROWS}."
            )

    def check_bytes(self, path: Path, what: str, num_bytes: int) -> None:
        """Check how many bytes something of a manifest takes.

        Raises:
            ValueError: if there are too many.
        """
        if num_bytes > self.num_bytes:
            raise ValueError(
                f"{path}: {what} take {num_bytes:,} bytes or more, where at most "
                f"{self.num_bytes:,} are read. Raise that limit with {RAISE_BYTES}."
            )


def check_footer(
    path: Path, footer: Any, columns: Collection[str], limits: ManifestLimits
) -> None:
    """Check what the footer of a Parquet file says, before a value of it is read.

    Args:
        path: the file.
        footer: a `pyarrow.parquet.FileMetaData`.
        columns: the names of those that will be read.
        limits: what it may have.

    Raises:
        ValueError: if it has more, or columns that are no plain ones.
    """
    limits.check_rows(path, footer.num_rows)
    places = _places(path, footer.schema, columns)
    sizes = dict.fromkeys(columns, 0)
    num_rows = 0
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        num_rows += group.num_rows
        for name, place in places.items():
            chunk = group.column(place)
            sizes[name] += chunk.total_uncompressed_size
            if _SHORTENED in chunk.encodings:
                raise ValueError(
                    f"{path}: its column {name!r} is encoded as {_SHORTENED}, of which "
                    "no size can be told before it is read. Write it again without."
                )
    limits.check_rows(path, num_rows)
    limits.check_bytes(path, f"the columns {', '.join(columns)}", sum(sizes.values()))
    beside = _BESIDE_A_GROUP * max(footer.num_row_groups, 1)
    for name, size in sizes.items():
        if size > num_rows * (MAX_VALUE_BYTES + _BESIDE_A_VALUE) + beside:
            raise ValueError(
                f"{path}: its column {name!r} has {size:,} bytes in {num_rows:,} rows. "
                f"A value may have {MAX_VALUE_BYTES:,} bytes."
            )


def _places(path: Path, schema: Any, columns: Collection[str]) -> dict[str, int]:
    """The place of each column among the leaves of a Parquet schema."""
    places = {}
    for place in range(len(schema.names)):
        leaf = schema.column(place)
        name = leaf.path.partition(".")[0]
        if name not in columns:
            continue
        if leaf.path != name or leaf.max_repetition_level:
            raise ValueError(
                f"{path}: its column {name!r} has values in values ({leaf.path}). A "
                "manifest has one text or number a row."
            )
        if leaf.length > MAX_VALUE_BYTES:
            raise ValueError(
                f"{path}: the values of its column {name!r} have {leaf.length:,} "
                f"bytes, where {MAX_VALUE_BYTES:,} are read."
            )
        places[name] = place
    return places
