"""The flags that say what a network's images are standardised with."""

from __future__ import annotations

import math
from collections.abc import Sequence

import command
from absl import flags

Scale = float | list[float]


def define(values: flags.FlagValues, otherwise: str) -> None:
    """Define --mean and --std.

    Args:
        values: the flags of a command.
        otherwise: what is taken where they are unset, as a sentence without its end.
    """
    text = (
        "What pixels, scaled to [0, 1], were standardised with in training: a number, "
        f"or one a channel. {otherwise} if unset; --mean=0 --std=1 leaves [0, 1] as is."
    )
    for name, told in (("mean", text), ("std", "As --mean.")):
        flags.DEFINE_list(name, None, told, **command.own(values))
    flags.register_validator(
        "mean",
        lambda texts: _are_numbers(texts, -math.inf),
        "must be numbers, like 0.485,0.456,0.406",
        values,
    )
    flags.register_validator(
        "std",
        lambda texts: _are_numbers(texts, 0),
        "must be positive numbers, like 0.229,0.224,0.225",
        values,
    )


def read(values: flags.FlagValues) -> tuple[Scale, Scale] | None:
    """Mean and standard deviation: a number, or one a channel; None where unset.

    Raises:
        ValueError: for one without the other.
    """
    if values.mean is None and values.std is None:
        return None
    if values.mean is None or values.std is None:
        raise ValueError("--mean and --std go together: pass both, or neither.")
    return _numbers(values.mean), _numbers(values.std)


def _numbers(texts: Sequence[str]) -> Scale:
    first, *others = map(float, texts)
    return [first, *others] if others else first


def _are_numbers(texts: Sequence[str] | None, least: float) -> bool:
    try:
        numbers = [float(text) for text in texts or ()]
    except ValueError:
        return False
    return texts != [] and all(math.isfinite(n) and n > least for n in numbers)
