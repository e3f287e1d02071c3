"""What the paper claims, and what was found."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Finding(NamedTuple):
    """A claim that the data can deny.

    Args:
        claim: in words.
        found: the numbers behind it.
        holds: whether they agree with the claim.
    """

    claim: str
    found: str
    holds: bool


def every_solution_found(missing: int, total: int, of_what: str) -> Finding:
    """That no cell is empty for want of a solution."""
    return Finding(
        f"every {of_what} ends in a solution",
        f"{missing:,} of {total:,} have none",
        missing == 0 and total > 0,
    )


def largest(values: np.ndarray) -> float:
    """The largest, and NaN if one is missing or there are none: within no bound."""
    return float(np.max(values)) if np.size(values) else np.nan


def smallest(values: np.ndarray) -> float:
    """The smallest, and NaN if one is missing or there are none."""
    return float(np.min(values)) if np.size(values) else np.nan


def write_rows(path: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a CSV file, numbers with four digits."""
    with Path(path).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({name: _text(value) for name, value in row.items()})


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
