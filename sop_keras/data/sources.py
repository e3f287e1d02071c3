"""Data sets by name."""

from __future__ import annotations

import os
from collections.abc import Callable

from sop_keras.data.cifar import load_cifar10, load_cifar100
from sop_keras.data.digits import load_digits
from sop_keras.data.source import Source

SOURCES: dict[str, Callable[[str | os.PathLike[str] | None], Source]] = {
    "digits": lambda data_dir: load_digits(),
    "cifar10": load_cifar10,
    "cifar100": load_cifar100,
}


def load_source(name: str, data_dir: str | os.PathLike[str] | None = None) -> Source:
    """The data set called `name`.

    Args:
        name: a key of `SOURCES`: `"digits"`, `"cifar10"` or `"cifar100"`.
        data_dir: the folder of prepared TFDS data sets, for those that are read from
            one; `"digits"` needs none. Defaults to TFDS' own.

    Raises:
        ValueError: if there is no data set of that name.
        ImportError: if the package that the data set is read through is missing.
        FileNotFoundError: if `data_dir` does not have the data set.
    """
    if name not in SOURCES:
        raise ValueError(
            f"`name` must be one of {', '.join(SOURCES)}. Received: name={name!r}."
        )
    return SOURCES[name](data_dir)
