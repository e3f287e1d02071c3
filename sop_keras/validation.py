"""Checks of arguments: integers, numbers, and names of which one is to be chosen.

Every text says what is expected, what was received, and may add two things: `meaning`,
which ends the first sentence, and `mend`, which follows the second.

    `batch_size` must be an integer of at least 1. Received: batch_size=0.
"""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Iterable
from typing import Any


def is_integer(value: Any) -> bool:
    """Whether it is an integer of Python or NumPy, or a tensor that holds one.

    Neither True nor 2.0 is one.
    """
    try:
        operator.index(value)
    except TypeError:
        return False
    return not isinstance(value, bool)


def check_integer(
    name: str,
    value: Any,
    least: int,
    *,
    most: int | None = None,
    below: int | None = None,
    meaning: str = "",
    mend: str = "",
) -> int:
    """`value` as Python's integer.

    Args:
        name: of the argument.
        value: what was given for it.
        least: the smallest that is allowed.
        most: the largest. Defaults to `None`: any.
        below: what it must be smaller than. Defaults to `None`: nothing.
        meaning: what the integer is. Defaults to `""`.
        mend: what to do. Defaults to `""`.

    Raises:
        ValueError: if it is no integer, or out of range.
    """
    if is_integer(value):
        integer = operator.index(value)
        if (
            integer >= least
            and (most is None or integer <= most)
            and (below is None or integer < below)
        ):
            return integer
    expected = f"an integer of at least {least}"
    if most is not None:
        expected = f"an integer in [{least}, {most}]"
    elif below is not None:
        expected = f"an integer in [{least}, {_power(below)})"
    raise _refused(name, value, expected, meaning, mend)


def check_number(
    name: str, value: Any, *, least: float = 0, meaning: str = "", mend: str = ""
) -> float:
    """`value` as a float.

    Args:
        name: of the argument.
        value: what was given for it.
        least: the smallest that is allowed. Defaults to `0`.
        meaning: what the number is. Defaults to `""`.
        mend: what to do. Defaults to `""`.

    Raises:
        ValueError: if it is too small, not finite, or no number.
    """
    number = _number(value)
    if not (math.isfinite(number) and number >= least):
        expected = f"a finite number of at least {least}"
        raise _refused(name, value, expected, meaning, mend)
    return number


def check_positive(
    name: str, value: Any, *, meaning: str = "", mend: str = ""
) -> float:
    """`value` as a float.

    Args:
        name: of the argument.
        value: what was given for it.
        meaning: what the number is. Defaults to `""`.
        mend: what to do. Defaults to `""`.

    Raises:
        ValueError: if it is not above 0, not finite, or no number.
    """
    number = _number(value)
    if not (math.isfinite(number) and number > 0):
        raise _refused(name, value, "positive and finite", meaning, mend)
    return number


def check_fraction(
    name: str, value: Any, *, meaning: str = "", mend: str = ""
) -> float:
    """`value` as a float, 0 and 1 included.

    Args:
        name: of the argument.
        value: what was given for it.
        meaning: what it is a fraction of. Defaults to `""`.
        mend: what to do. Defaults to `""`.

    Raises:
        ValueError: if it is no number in `[0, 1]`.
    """
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= 1:  # NaN fails the comparison too
        raise _refused(name, value, "a number in [0, 1]", meaning, mend)
    return float(value)


def check_choice_of(
    name: str, value: Any, choices: Iterable[str], *, meaning: str = ""
) -> str:
    """`value`, if it is one of the choices.

    Args:
        name: of the argument.
        value: what was given for it.
        choices: in the order in which they are listed.
        meaning: what they are. Defaults to `""`.

    Raises:
        ValueError: if it is none of them.
    """
    choices = tuple(choices)
    if value not in choices:
        expected = f"one of {', '.join(choices)}"
        raise _refused(name, value, expected, meaning, "")
    return value


def _number(value: Any) -> float:
    if isinstance(value, (str, bytes, bool)):  # which float() takes, and steps do not
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _power(bound: int) -> str:
    """2**64 as people write it."""
    is_long = bound > 1_000_000 and bound.bit_count() == 1
    return f"2**{bound.bit_length() - 1}" if is_long else str(bound)


def _refused(
    name: str, value: Any, expected: str, meaning: str, mend: str
) -> ValueError:
    meaning = f", {meaning}" if meaning else ""
    mend = f" {mend}" if mend else ""
    return ValueError(
        f"`{name}` must be {expected}{meaning}. Received: {name}={value!r}.{mend}"
    )
