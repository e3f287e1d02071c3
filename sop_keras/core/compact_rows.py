"""Rows of many columns in which few entries matter, stored in a few slots.

v has an entry a class, but v_j of an example grows only where the network predicts j
for it (eq. 7 of the SOP paper), which it does for a few wrong classes in a training.
The others only shrink, by 4 alpha_v / B v_j^3 a visit: of an entry that starts at 1e-4,
4e-5 of itself in 30 visits. So a row keeps `slots` entries, each with the number of its
column, and the rest of it is what it was at first, which is never stored: drawn from
the seed, the id and the column whenever the row is needed.

A stored row is `[column, ..., value, ..., evictions]`, float32: whole numbers below
2^24 are exact in it. A slot without an entry has the column -1.
"""

from __future__ import annotations

from typing import Any

from keras import ops

_EMPTY, _NEUTRAL = -1.0, -2.0


def width(slots: int) -> int:
    """The length of a stored row."""
    return 2 * slots + 1


def first_rows(num_rows: Any, slots: int) -> Any:
    """Stored rows that are all as they were at first, `(num_rows, width)`."""
    return _rows(num_rows, slots, _EMPTY)


def neutral_rows(num_rows: Any, slots: int) -> Any:
    """Stored rows of which every entry is the one that holds nothing against a label.

    They stay so until they are written anew.
    """
    return _rows(num_rows, slots, _NEUTRAL)


def expanded(stored: Any, first: Any, neutral: float) -> Any:
    """Whole rows.

    Args:
        stored: stored rows, `(n, width)`.
        first: what each entry was at first, `(n, columns)`.
        neutral: every entry of neutral rows.

    Returns:
        Shape `(n, columns)`.
    """
    columns, values, _ = _parts(stored)
    rest = ops.where(columns[:, :1] == _NEUTRAL, neutral, first)
    has_slot = _spread(ops.ones_like(values), columns, rest) > 0
    return ops.where(has_slot, _spread(values, columns, rest), rest)


def compacted(rows: Any, stored: Any, first: Any) -> Any:
    """Stored rows of whole ones.

    An entry is kept that has a slot, or has grown beyond what it was at first. Where
    these are more than there are slots, those that grew just now are kept before the
    others, and of both the larger ones: what is predicted now has only begun to grow.
    The rest go back to what they were at first, which is counted.

    Args:
        rows: the whole rows, `(n, columns)`.
        stored: how these rows have been stored so far, `(n, width)`.
        first: what each entry was at first, `(n, columns)`.

    Returns:
        Shape `(n, width)`.
    """
    columns, values, evicted = _parts(stored)
    slots = columns.shape[1]
    sizes = ops.absolute(rows)
    has_slot = _spread(ops.ones_like(values), columns, rows) > 0
    is_kept = ops.logical_or(has_slot, sizes > ops.absolute(first))
    before = ops.where(has_slot, _spread(values, columns, rows), first)
    grew = ops.logical_and(is_kept, sizes > ops.absolute(before))
    above_all = ops.max(sizes, axis=1, keepdims=True) + 1.0
    ranks = ops.where(is_kept, sizes, -1.0) + ops.where(grew, above_all, 0.0)
    kept_ranks, places = ops.top_k(ranks, slots)
    is_taken = kept_ranks >= 0
    values = ops.take_along_axis(rows, places, axis=1)
    num_kept = ops.sum(ops.cast(is_kept, "float32"), axis=1, keepdims=True)
    return ops.concatenate(
        [
            ops.where(is_taken, ops.cast(places, "float32"), _EMPTY),
            ops.where(is_taken, values, 0.0),
            evicted + ops.maximum(num_kept - slots, 0.0),
        ],
        axis=1,
    )


def evictions(stored: Any) -> Any:
    """How many entries each row had no slot for so far, `(n,)`."""
    return stored[:, -1]


def _rows(num_rows: Any, slots: int, column: float) -> Any:
    rest = ops.zeros((num_rows, slots + 1), "float32")
    return ops.concatenate(
        [ops.full((num_rows, slots), column, "float32"), rest], axis=1
    )


def _parts(stored: Any) -> tuple[Any, Any, Any]:
    slots = stored.shape[1] // 2
    return stored[:, :slots], stored[:, slots : 2 * slots], stored[:, 2 * slots :]


def _spread(values: Any, columns: Any, like: Any) -> Any:
    """Values of slots at their columns, 0 elsewhere, in the shape of whole rows."""
    num_rows, num_columns = ops.shape(like)[0], like.shape[1]
    # What has no slot goes to a column of its own, which is cut off.
    places = ops.cast(ops.where(columns < 0, num_columns, columns), "int32")
    numbers = ops.zeros_like(places) + ops.arange(num_rows, dtype="int32")[:, None]
    indices = ops.stack([ops.reshape(numbers, (-1,)), ops.reshape(places, (-1,))], 1)
    shape = (num_rows, num_columns + 1)
    return ops.scatter(indices, ops.reshape(values, (-1,)), shape)[:, :num_columns]
