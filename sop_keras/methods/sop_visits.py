"""How many examples are trained on: what a visit of each on average is counted by.

A data set's table has a row for every example, also for those that are held out or left
away; a visit is of those that are trained on. Their number is known before a training
from the record of it, and grows in a step by those that the record does not know yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from keras import ops

from sop_keras.core.batch import Batch, Tensor
from sop_keras.core.equal_ids import first_positions


def which_are_new(batch: Batch) -> Tensor:
    """1 for examples that have not been trained on before, else 0, float32 `(n, 1)`."""
    if batch.is_new is None:  # nobody knows
        return ops.zeros((ops.shape(batch.ids)[0], 1))
    is_new = ops.cast(batch.is_new(), "float32")
    if batch.weights is None:
        return is_new
    return is_new * ops.cast(batch.weights > 0, "float32")


def number_of(is_new: Tensor, ids: Tensor) -> Tensor:
    """How many examples are new, those that a batch has twice counted once.

    Args:
        is_new: 1 or 0, float32 `(n,)`.
        ids: of the examples, integers `(n,)`.
    """
    count = ops.shape(ids)[0]
    newest = ops.segment_max(is_new, first_positions(ids), num_segments=count)
    return ops.sum(ops.maximum(newest, 0.0))  # of no id: less than 0


def seen_before(
    state: Mapping[str, np.ndarray], num_seen: Callable[[], int] | None
) -> dict[str, np.ndarray]:
    """The state's number of examples, as the model knows it before a training."""
    if num_seen is None or "gate_examples" not in state:
        return {}
    return {"gate_examples": np.array(num_seen(), np.float32)}


def numbers_of_examples(
    known: Tensor, visits: Tensor, num_new: Tensor, num_examples: int
) -> tuple[Tensor, Tensor]:
    """How many examples have been trained on, before a batch and with it.

    Args:
        known: the state's number, a scalar; 0 where there is none.
        visits: so far, likewise. With a state of earlier versions they are of all rows.
        num_new: how many of the batch are new.
        num_examples: N, the most that there can be, and taken where nothing is known.
    """
    rows = float(num_examples)
    before = ops.where((known > 0) | (visits == 0), known, rows)
    after = ops.where(before + num_new > 0, before + num_new, rows)
    return before, ops.minimum(after, rows)
