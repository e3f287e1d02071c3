"""Files in Parquet need pyarrow, which is not always installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def pyarrow_for(path: Path) -> tuple[Any, Any]:
    """Pyarrow and its module for Parquet.

    Raises:
        ImportError: if it is not installed; it names the file that needs it.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(
            f"{path} needs pyarrow, which is not installed. Install this package with "
            "its extra [parquet], or run: pip install pyarrow. Or take a file that "
            "ends in .csv."
        ) from error
    return pyarrow, parquet
