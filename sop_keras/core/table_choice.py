"""Whether tables are dense or compact, where it is not said: `table="auto"`."""

from __future__ import annotations

import logging
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

from sop_keras.core import compact_rows
from sop_keras.core.row_optimizer import is_auto
from sop_keras.core.table import Table
from sop_keras.core.table_kinds import CHOSEN, COMPACT, DENSE

logger = logging.getLogger(__name__)

_SMALL = 10**9
_MOST_DRIFT = 1e-7
# Of a training that is not known: no batch is smaller, and few trainings are longer.
_SMALLEST_BATCH, _MANY_VISITS = 1, 1_000
# Of a rate that sets itself: `compile` may put a number in its place.
_LARGE_RATE = 100.0


def chosen_kind(
    kind: str,
    tables: Sequence[Table],
    row_rates: Mapping[str, Any],
    slots: int,
    num_examples: int,
    batch_size: int = _SMALLEST_BATCH,
    visits: int = _MANY_VISITS,
) -> str:
    """How to store the tables, and why, in the log.

    Dense while all of them take at most 1 GB, where slots save nothing, and where an
    entry without a slot would have moved by more than 1e-7: by `Table.shrinks_by`
    alpha / B x visits x (5 std)^3, of which a compact table keeps none. Such tables of
    more than 1 GB are warned of.

    Args:
        kind: what was asked for; all but `"auto"` is given back as it is.
        tables: a method's.
        row_rates: its learning rates of rows, by table; `"auto"` counts as 100, which
            `compile` may put in its place.
        slots: how many entries of a row a compact table would store.
        num_examples: N.
        batch_size: the least that there can be. Defaults to 1.
        visits: how often an example is trained on at most. Defaults to 1,000.
    """
    if kind != CHOSEN:
        return kind
    width = compact_rows.width(slots)
    savings = [one for one in tables if one.is_sparse and width < one.columns]
    size = 4 * num_examples * sum(one.columns for one in tables)
    if not savings or size <= _SMALL:
        why = (
            "are small enough" if savings else f"would not be smaller by {slots} slots"
        )
        if any(one.is_sparse for one in tables):
            logger.info('table="auto" is "dense": %s bytes %s.', f"{size:,}", why)
        return DENSE
    for table in savings:
        rate, spread = row_rates.get(table.name), 5 * (table.std or 0.0)
        if is_auto(rate):
            rate = _LARGE_RATE
        moved = f"{table.shrinks_by:g} x {rate} / {batch_size} x {visits} visits"
        if isinstance(rate, numbers.Real):
            drift = table.shrinks_by * float(rate) / batch_size * visits * spread**3
            if drift <= _MOST_DRIFT:
                continue
            moved += f" x {spread:.1e}^3, {drift:.1e} and more than {_MOST_DRIFT}"
        logger.warning(
            'table="auto" is "dense", of %s bytes: an entry of %s that has no slot '
            "would stay where others shrink, by %s. With a smaller init_std it is "
            '"compact"; table="compact" does it all the same.',
            *(f"{size:,}", table.name, moved),
        )
        return DENSE
    logger.info(
        'table="auto" is "compact", with %d slots a row: dense, the tables take '
        "%s bytes.",
        *(slots, f"{size:,}"),
    )
    return COMPACT
