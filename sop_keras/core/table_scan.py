"""One pass over the tables and the training record, a chunk of rows at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from sop_keras.core.scan import PredictionScan

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
            entries, `num_classes` a row.
    """
    method = model.method.knowing(model.shared_values())
    scan = method.scan(labels, model.num_classes)
    if rows_at_once is None:
        rows_at_once = max(1, ENTRIES_AT_ONCE // model.num_classes)
    for start in range(0, len(labels), rows_at_once):
        chunk = slice(start, start + rows_at_once)
        rows = model.tables.rows(ids[chunk])
        rows = {name: ops.convert_to_numpy(values) for name, values in rows.items()}
        scan.add(chunk, rows, *model.training_record.read(ids[chunk]))
        is_trusted = model.training_record.is_trusted(ids[chunk])
        scan.quality[chunk][ops.convert_to_numpy(is_trusted)[:, 0]] = 1.0
    return scan
