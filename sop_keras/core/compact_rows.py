"""Rows of many columns in which few entries matter, stored in a few slots.

v has an entry a class, but v_j of an example grows only where the network predicts j
for it (eq. 7 of the SOP paper), which it does for a few wrong classes in a training.
The others only shrink, by 4 alpha_v / B v_j^3 a visit: with alpha_v = 80 and B = 64, an
entry of 1e-4 by 5e-8 of itself, 1.5e-6 in 30 visits; one of 5e-4, which few draws
exceed, by 4e-5. So a row keeps `slots` entries, each with the number of its
column, and the rest of it is what it was at first, which is never stored: drawn from
the seed, the id and the column whenever the row is needed. Where a row starts level,
all of the rest moves as one, and is stored as one number.

A stored row is `[column, ..., value, ..., rest, evictions]`, float32: whole numbers
below 2^24 are exact in it. A slot without an entry has the column -1, and a rest that
is what it was at first is -1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from sop_keras.core.slot_rows import SlotRows

_EMPTY = _AS_AT_FIRST = -1.0


def width(slots: int) -> int:
    """The length of a stored row."""
    return 2 * slots + 2


def first_rows(num_rows: Any, slots: int) -> Any:
    """Stored rows that are all as they were at first, `(num_rows, width)`."""
    return _rows(num_rows, slots, _AS_AT_FIRST)


def equal_rows(num_rows: Any, slots: int, value: float) -> Any:
    """Stored rows of which every entry is one number, which is not negative."""
    return _rows(num_rows, slots, value)


def expanded(stored: Any, first: Any) -> Any:
    """Whole rows.

    Args:
        stored: stored rows, `(n, width)`.
        first: what each entry was at first, `(n, columns)`.

    Returns:
        Shape `(n, columns)`.
    """
    columns, values, rest, _ = _parts(stored)
    rest = ops.where(rest < 0, first, rest)
    has_slot = _spread(ops.ones_like(values), columns, rest) > 0
    return ops.where(has_slot, _spread(values, columns, rest), rest)


def compacted(rows: Any, stored: Any, first: Any, is_level: bool = False) -> Any:
    """Stored rows of whole ones.

    An entry is kept that has a slot, or has grown beyond the rest. Where
    these are more than there are slots, those that grew just now are kept before the
    others, and of both the larger ones: what is predicted now has only begun to grow.
    The others become what the rest is, which is counted.

    Args:
        rows: the whole rows, `(n, columns)`.
        stored: how these rows have been stored so far, `(n, width)`.
        first: what each entry was at first, `(n, columns)`.
        is_level: whether that is one number, not negative: the rest is then the least
            of what has no slot. Defaults to `False`: the rest stays.

    Returns:
        Shape `(n, width)`.
    """
    columns, values, rest, evicted = _parts(stored)
    slots = columns.shape[1]
    sizes = ops.absolute(rows)
    first = ops.where(rest < 0, first, rest)
    has_slot = _spread(ops.ones_like(values), columns, rows) > 0
    is_kept = ops.logical_or(has_slot, sizes > ops.absolute(first))
    before = ops.where(has_slot, _spread(values, columns, rows), first)
    if is_level:
        least = ops.min(ops.where(is_kept, first, rows), axis=1, keepdims=True)
        rest = ops.where(least < first[:, :1], least, rest)
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
            rest,
            evicted + ops.maximum(num_kept - slots, 0.0),
        ],
        axis=1,
    )


def slot_rows(stored: Any, num_columns: int, first: float) -> SlotRows:
    """Stored rows for those who look at them, in O(n slots).

    Args:
        stored: stored rows, `(n, width)`.
        num_columns: of whole rows.
        first: the size that entries had at first.
    """
    columns, values, rest, _ = map(ops.convert_to_numpy, _parts(stored))
    return SlotRows(
        columns=columns.astype(np.int64),
        values=values,
        rest=np.where(rest < 0, np.float32(first), rest)[:, 0],
        num_columns=num_columns,
    )


def evictions(stored: Any) -> Any:
    """How many entries each row had no slot for so far, `(n,)`."""
    return stored[:, -1]


def _rows(num_rows: Any, slots: int, rest: float) -> Any:
    values = [(slots, _EMPTY), (slots, 0.0), (1, rest), (1, 0.0)]
    parts = [ops.full((num_rows, width), one, "float32") for width, one in values]
    return ops.concatenate(parts, axis=1)


def _parts(stored: Any) -> tuple[Any, Any, Any, Any]:
    slots = stored.shape[1] // 2 - 1
    columns, values = stored[:, :slots], stored[:, slots : 2 * slots]
    return columns, values, stored[:, -2:-1], stored[:, -1:]


def _spread(values: Any, columns: Any, like: Any) -> Any:
    """Values of slots at their columns, 0 elsewhere, in the shape of whole rows."""
    num_rows, num_columns = ops.shape(like)[0], like.shape[1]
    # What has no slot goes to a column of its own, which is cut off.
    places = ops.cast(ops.where(columns < 0, num_columns, columns), "int32")
    numbers = ops.zeros_like(places) + ops.arange(num_rows, dtype="int32")[:, None]
    indices = ops.stack([ops.reshape(numbers, (-1,)), ops.reshape(places, (-1,))], 1)
    shape = (num_rows, num_columns + 1)
    return ops.scatter(indices, ops.reshape(values, (-1,)), shape)[:, :num_columns]
