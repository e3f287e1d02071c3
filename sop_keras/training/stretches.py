"""A training in pieces that Keras' `fit` can take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Stretch(NamedTuple):
    """What one call of `fit` trains on.

    Args:
        epoch: the first epoch, counted from 0.
        stop: the epoch to stop before.
        step: how many batches of the first epoch to leave out.
    """

    epoch: int
    stop: int
    step: int


def stretches(
    epoch: int,
    step: int,
    *,
    epochs: int,
    steps_per_epoch: int,
    steps_per_execution: int,
) -> Iterator[Stretch]:
    """The calls of `fit` that are left of a training.

    `fit` begins with a whole epoch: the rest of one that was interrupted is given to it
    as one of fewer batches, in a call of its own. And where an execution takes several
    batches, the last one of an epoch would go on into the next epoch's: unless it comes
    out even, each epoch has a call and batches of its own.

    Args:
        epoch: whole epochs done.
        step: batches done of the next epoch.
        epochs: of the whole training.
        steps_per_epoch: batches in an epoch.
        steps_per_execution: batches in an execution.
    """
    is_even = steps_per_epoch % steps_per_execution == 0
    while epoch < epochs:
        stop = epochs if is_even and not step else epoch + 1
        yield Stretch(epoch, stop, step)
        epoch, step = stop, 0
