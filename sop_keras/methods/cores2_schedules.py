"""The schedules of CORES2, free of Keras: 100 epochs as published, others stretched."""

from __future__ import annotations

SIEVE_START = 31
"""The first of 100 epochs in which the sieve leaves examples out, from 0."""

LISTING = 40
"""The one of 100 epochs whose sieve says what phase 2 drops, from 0."""

_RAMP_START, _RAMP_STOP = 10, 40


def regularization_weight(epoch: int, epochs: int, largest: float = 2.0) -> float:
    """Beta in an epoch: 0, then linear, then `largest`.

    Of 100 epochs it is 0 in the epochs 0 to 9, `largest * (e - 10) / 29` in 10 to 39,
    and `largest` from 40 on. Of other numbers, the three parts are 10%, 30% and 60%.

    Args:
        epoch: from 0; those past the end are like the last.
        epochs: of the whole training.
        largest: not negative. Defaults to `2.0`.
    """
    start, stop = share_of(_RAMP_START, epochs), share_of(_RAMP_STOP, epochs)
    if epoch < start:
        return 0.0
    if epoch >= stop - 1:
        return largest
    return largest * (epoch - start) / (stop - 1 - start)


def rate_factors(epochs: int, largest: float = 2.0) -> list[float]:
    """1 / (1 + beta) of each epoch, which the published learning rate is times.

    Args:
        epochs: of the whole training.
        largest: as of `regularization_weight`. Defaults to `2.0`.
    """
    weights = (regularization_weight(epoch, epochs, largest) for epoch in range(epochs))
    return [1.0 / (1.0 + weight) for weight in weights]


def share_of(epoch: int, epochs: int) -> int:
    """The epoch that is to `epochs` what `epoch` is to 100, rounded up."""
    return -(-epoch * epochs // 100)
