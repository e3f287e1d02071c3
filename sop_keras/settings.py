"""Settings: dataclasses whose fields say all that is known of an option, once.

A launcher's flags, the checks, and the names in reports are made of the fields.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sop_keras.validation import (
    check_choice_of,
    check_fraction,
    check_integer,
    check_number,
    is_integer,
)


def setting(
    default: Any,
    text: str,
    *,
    title: str | None = None,
    flag: str | None = None,
    least: float | None = None,
    most: float | None = None,
    choices: Sequence[str] | None = None,
    check: Callable[[Any], None] | None = None,
    may_be_auto: bool = False,
    came_later: bool = False,
    of_data: bool = False,
) -> Any:
    """A field of a settings dataclass.

    Its annotation says what it holds: `int`, `float`, `bool`, `str`, or `tuple[int,
    ...]`; with `| None` where None stands for what is decided elsewhere.

    Args:
        default: its value where none is given.
        text: what it is: the help of its flag.
        title: what reports call it. Defaults to `None`: they leave it out.
        flag: the name of its flag. Defaults to `None`: the field's.
        least: the smallest number allowed; every number has one. Defaults to `None`.
        most: the largest; of a float, 1 or none. Defaults to `None`: none.
        choices: the strings allowed. Defaults to `None`: all.
        check: raises a ValueError for what is wrong in another way. Defaults to `None`.
        may_be_auto: whether the flag takes `auto` for None. Defaults to `False`.
        came_later: whether it is younger than records that may be read, which then have
            its default: a method's setting added later, too. Defaults to `False`.
        of_data: whether it says what the data and their labels are, and nothing of the
            training. Defaults to `False`.
    """
    metadata = {
        "text": text,
        "title": title,
        "flag": flag,
        "least": least,
        "most": most,
        "choices": None if choices is None else tuple(choices),
        "check": check,
        "may_be_auto": may_be_auto,
        "came_later": came_later,
        "of_data": of_data,
    }
    return dataclasses.field(default=default, metadata=metadata)


def kind_of(field: dataclasses.Field[Any]) -> str:
    """`"int"`, `"float"`, `"bool"`, `"str"` or `"tuple"`."""
    # A string where annotations are not evaluated, as they are in this package.
    name = field.type.__name__ if isinstance(field.type, type) else str(field.type)
    return name.partition("|")[0].partition("[")[0].strip()


def flag_of(field: dataclasses.Field[Any]) -> str:
    """The name of the field's flag."""
    return field.metadata["flag"] or field.name


def check_settings(settings: Any) -> None:
    """Check all fields of a settings dataclass.

    Raises:
        ValueError: for a value that its field does not allow.
    """
    for field in dataclasses.fields(settings):
        if field.metadata:
            check_value(field, getattr(settings, field.name))


def check_value(field: dataclasses.Field[Any], value: Any) -> None:
    """Check a value for a field.

    Raises:
        ValueError: if the field does not allow it.
    """
    if value is None and "None" in str(field.type):
        return
    name, kind, rules = field.name, kind_of(field), field.metadata
    least, most = rules["least"], rules["most"]
    if rules["choices"] is not None:
        check_choice_of(name, value, rules["choices"])
    elif kind == "int":
        check_integer(name, value, least, most=most)
    elif kind == "float" and most == 1:
        check_fraction(name, value)
    elif kind == "float":
        check_number(name, value, least=least)
    elif not _is_of(kind, value):
        integers = "a list or tuple of rising positive integers, such as (40, 80)"
        expected = {"tuple": integers, "bool": "True or False"}
        raise ValueError(
            f"`{name}` must be {expected.get(kind, 'a string')}. Received: "
            f"{name}={value!r}."
        )
    if (check := rules["check"]) is not None:
        check(value)


def _is_of(kind: str, value: Any) -> bool:
    if kind == "bool":
        return isinstance(value, (bool, np.bool_))
    if kind == "tuple":
        return (
            isinstance(value, (list, tuple))
            and all(map(is_integer, value))
            and all(a < b for a, b in itertools.pairwise((0, *value)))
        )
    return isinstance(value, str)
