"""What examples of one batch bring that have the same id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras import ops


def first_positions(ids: Any) -> Any:
    """A number for every distinct id: its first position among the sorted ids."""
    return ops.searchsorted(ops.sort(ids), ids)


def are_finite(brought: Mapping[str, Any]) -> Any:
    """Which examples bring finite values alone, bool `(n, 1)`."""
    finite = [
        ops.all(ops.isfinite(b), axis=-1, keepdims=True) for b in brought.values()
    ]
    all_finite = finite[0]
    for one in finite[1:]:
        all_finite = ops.logical_and(all_finite, one)
    return all_finite


def sum_segments(values: Any, segments: Any) -> Any:
    """Replace every row by the sum of the rows in its segment."""
    sums = ops.segment_sum(values, segments, num_segments=ops.shape(values)[0])
    return ops.take(sums, segments, axis=0)
