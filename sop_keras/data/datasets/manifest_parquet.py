"""The rows of a Parquet file that nobody vouches for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from sop_keras.data.datasets.manifest_limits import (
    MAX_VALUE_BYTES,
    RAISE_BYTES,
    ManifestLimits,
    check_footer,
)
from sop_keras.files.untrusted import UntrustedFileError, open_untrusted

# Rows that Arrow holds at a time, their texts at most 4,096 bytes each.
_ROWS_AT_ONCE = 65_536


class ParquetRows:
    """The rows of a Parquet file that is open; made by `opened_parquet`.

    Args:
        path: the file, for errors.
        file: the file, open.
        limits: what it may have.

    Attributes:
        names: the names of its columns.
    """

    def __init__(self, path: Path, file: BinaryIO, limits: ManifestLimits):
        from pyarrow import parquet

        self._path = path
        self._file = file
        self._limits = limits
        self._footer = parquet.read_metadata(file)
        self.names: list[str] = self._footer.schema.to_arrow_schema().names

    def rows(self, columns: list[str], block: int) -> Iterator[tuple[Any, ...]]:
        """The number of each row, the first being 0, and its values as texts.

        Args:
            columns: the names of those that are wanted.
            block: how many rows are Python's together.

        Raises:
            ValueError: if the file has more than it may, before a value of it is read,
                or a value that is too long.
        """
        from pyarrow import parquet

        check_footer(self._path, self._footer, columns, self._limits)
        schema = self._footer.schema
        leaves = map(schema.column, range(len(schema.names)))
        texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
        # Texts stay numbers of a dictionary until they are known to be short.
        in_dictionary = [name for name in texts if name in columns]
        start = 0
        with parquet.ParquetFile(
            self._file, metadata=self._footer, read_dictionary=in_dictionary
        ) as file:
            for batch in file.iter_batches(_ROWS_AT_ONCE, columns=columns):
                arrays = [
                    self._short(name, batch[name], start)
                    if name in in_dictionary
                    else batch[name]
                    for name in columns
                ]
                for first in range(0, batch.num_rows, block):
                    parts = [array.slice(first, block).to_pylist() for array in arrays]
                    rows = range(start, start + len(parts[0]))
                    yield from zip(rows, *(map(_text, p) for p in parts), strict=True)
                    start = rows.stop

    def _short(self, name: str, values: Any, start: int) -> Any:
        """The texts of a batch, each by itself, after checking that they are short."""
        import pyarrow
        from pyarrow import compute

        is_dictionary = pyarrow.types.is_dictionary(values.type)
        texts = values.dictionary if is_dictionary else values
        longest = compute.max(compute.binary_length(texts)).as_py() or 0
        if longest > MAX_VALUE_BYTES:
            raise ValueError(
                f"{self._path} has a {name} of {longest:,} bytes in a row from {start} "
                f"to {start + len(values) - 1}. A value may have {MAX_VALUE_BYTES:,} "
                "bytes."
            )
        return values.dictionary_decode() if is_dictionary else values


@contextmanager
def opened_parquet(path: Path, limits: ManifestLimits) -> Iterator[ParquetRows]:
    """A Parquet file, open inside the block.

    Args:
        path: the file.
        limits: what it may have.

    Raises:
        ImportError: if pyarrow is not installed.
        OSError: if it is no regular file, or has too many bytes.
        ValueError: if it is no Parquet file, or is damaged.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            f"{path} is read through pyarrow, which is not installed. Run: pip install "
            "pyarrow, or write the manifest as CSV."
        ) from error
    try:
        with open_untrusted(path, limits.num_bytes, RAISE_BYTES) as file:
            yield ParquetRows(path, file, limits)
    except UntrustedFileError:
        raise
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(
            f"{path} cannot be read as Parquet: {error} Write it again, or rename it "
            "if it is a CSV file."
        ) from error


def _text(value: Any) -> str:
    """A value of a Parquet file as a CSV file has it."""
    if value is None or value != value:  # not a number: how pandas marks no value
        return ""
    if isinstance(value, bytes):
        return value.decode(errors="surrogateescape").strip()
    return str(value).strip()
