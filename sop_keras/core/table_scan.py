"""One pass over the tables and the training record, a chunk of rows at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from sop_keras.core.scan import PredictionScan
from sop_keras.core.slot_rows import SlotRows

ENTRIES_AT_ONCE = 1_000_000
"""Of tables, in a chunk: with more, copies no longer fit in a processor's caches."""


def scan_tables(
    model: Any,
    labels: np.ndarray,
    ids: np.ndarray,
    rows_at_once: int | None = None,
) -> PredictionScan:
    """Look at each example's rows once, as the model's method does.

    Args:
        model: a `NoisyLabelModel`, in training or trained.
        labels: the given labels, integers `(n,)` in `[0, num_classes)`.
        ids: the examples' rows, integers `(n,)`.
        rows_at_once: the size of a chunk, at least 1. Defaults to `None`: a million
            entries, those of the tables' rows that are looked at.
    """
    method = model.method.knowing(model.shared_values())
    scan = method.scan(labels, model.num_classes)
    read = model.tables.rows_to_look_at if scan.takes_slots else model.tables.rows
    if rows_at_once is None:
        columns = model.num_classes
        if scan.takes_slots:
            variables = model.tables.by_name().values()
            columns = max(variable.shape[1] for variable in variables)
        rows_at_once = max(1, ENTRIES_AT_ONCE // columns)
    for start in range(0, len(labels), rows_at_once):
        chunk = slice(start, start + rows_at_once)
        rows = {
            name: one if isinstance(one, SlotRows) else ops.convert_to_numpy(one)
            for name, one in read(ids[chunk]).items()
        }
        scan.add(chunk, rows, *model.training_record.read(ids[chunk]))
        is_trusted = model.training_record.is_trusted(ids[chunk])
        scan.quality[chunk][ops.convert_to_numpy(is_trusted)[:, 0]] = 1.0
    return scan
