"""The methods, a file and a record each; this is their registry.

`methods.SOP(...)`, `methods.CrossEntropy()` and the like are their classes, loaded with
Keras when they are first asked for. What is known without Keras is in their records:

    methods.names()             # what --method takes
    methods.record("sop")       # title, settings, class

A method of another project is known after `methods.register(record)`.

A file `NAME_record.py` in this folder, with a `RECORD`, is all that it
takes to be here.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from typing import Any

from sop_keras.label_issues.doubts import Doubt, Evidence
from sop_keras.methods.record import MethodRecord, MethodSettings
from sop_keras.settings import setting

__all__ = [
    "DEFAULT",
    "Doubt",
    "Evidence",
    "MethodRecord",
    "MethodSettings",
    "names",
    "record",
    "record_of",
    "records",
    "register",
    "setting",
]

DEFAULT = "sop"
"""The method where none is named."""

_SUFFIX = "_record"


# Those of other projects, by name.
_REGISTERED: dict[str, MethodRecord] = {}


@functools.cache
def _own_records() -> tuple[MethodRecord, ...]:
    """The default's first, the others in alphabetical order."""
    found = [
        importlib.import_module(f"{__name__}.{module.name}").RECORD
        for module in pkgutil.iter_modules(__path__)
        if module.name.endswith(_SUFFIX)
    ]
    return tuple(sorted(found, key=lambda one: (one.name != DEFAULT, one.name)))


def records() -> dict[str, MethodRecord]:
    """All records by name."""
    return {**{one.name: one for one in _own_records()}, **_REGISTERED}


def register(record: MethodRecord) -> None:
    """Make a method of another project known to runs and reports of this process.

    Args:
        record: its record.

    Raises:
        ValueError: if there is another method of its name.
    """
    if records().get(record.name, record) != record:
        raise ValueError(
            f"There is a method {record.name!r} already. Give yours another name."
        )
    _REGISTERED[record.name] = record


def names() -> tuple[str, ...]:
    """The names of all methods."""
    return tuple(records())


def record(name: str) -> MethodRecord:
    """The record of this name.

    Raises:
        ValueError: if there is no such method; the text has the names.
    """
    if name not in names():
        raise ValueError(
            f"`method` must be one of {', '.join(names())}. Received: method={name!r}."
        )
    return records()[name]


def record_of(settings: MethodSettings) -> MethodRecord:
    """The record whose settings these are.

    Raises:
        ValueError: if they are those of no method.
    """
    for one in records().values():
        if type(settings) is one.settings:
            return one
    raise ValueError(
        f"These are the settings of no method: {settings!r}. Take those of a record: "
        f"methods.record({DEFAULT!r}).settings(...)."
    )


def load_all() -> None:
    """Import all methods, so that Keras finds their classes in saved models."""
    for one in records().values():
        one.load()


def __getattr__(name: str) -> Any:
    for one in records().values():
        if one.class_name == name:
            return one.load()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *(one.class_name for one in records().values())})
