"""What an average of a network's weights is of: `"ema:0.999"` or `"last:5"`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

NO_AVERAGE = "none"


@dataclass(frozen=True)
class Averaging:
    """A mean of a network's weights after its steps, w_1 to w_n.

    avg_n = sum_i d^(n-i) w_i / sum_i d^(n-i)

    No first weights are in it, as in averages that start with them and need a ramp.

    Args:
        decay: d, in (0, 1]: how much less each earlier step counts. 1: all alike.
        epochs: of how many last epochs of a training the steps are. Defaults to `None`:
            of all.
    """

    decay: float
    epochs: int | None = None

    def begin(self, epochs: int, first: int = 0) -> int:
        """Before which epoch the average begins, from 0.

        Args:
            epochs: of the whole training.
            first: the first epoch of networks that are averaged. Defaults to `0`.
        """
        if self.epochs is None:
            return first
        return max(first, epochs - self.epochs)


def averaging_of(weight_average: Any) -> Averaging | None:
    """What a text asks for; None for no average.

    Args:
        weight_average: `"none"`, `"ema:DECAY"` or `"last:EPOCHS"`.

    Raises:
        ValueError: for anything else.
    """
    if weight_average == NO_AVERAGE:
        return None
    kind, _, number = str(weight_average).partition(":")
    if kind == "ema" and (decay := _decay(number)) is not None:
        return Averaging(decay)
    if kind == "last" and number.isdecimal() and int(number):
        return Averaging(1.0, int(number))
    raise ValueError(
        '`weight_average` must be "none"; "ema:DECAY" with a decay above 0 and below '
        '1, such as "ema:0.999"; or "last:EPOCHS" with how many of the last epochs, '
        f'such as "last:5". Received: weight_average={weight_average!r}.'
    )


def _decay(text: str) -> float | None:
    try:
        decay = float(text)
    except ValueError:
        return None
    return decay if 0 < decay < 1 else None
