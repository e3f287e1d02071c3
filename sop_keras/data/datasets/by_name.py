"""Data sets by name."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from sop_keras.data.datasets.cifar import load_cifar10, load_cifar100
from sop_keras.data.datasets.cifar_n import load_cifar10n, load_cifar100n
from sop_keras.data.datasets.clothing1m import load_clothing1m
from sop_keras.data.datasets.dataset import Source
from sop_keras.data.datasets.digits import load_digits
from sop_keras.data.datasets.image_folder import load_image_folder
from sop_keras.data.datasets.manifest import load_manifest
from sop_keras.data.datasets.tfds import load_tfds
from sop_keras.data.datasets.webvision import load_webvision

SOURCES: dict[str, Callable[..., Source]] = {
    "digits": load_digits,
    "cifar10": load_cifar10,
    "cifar100": load_cifar100,
    "cifar10n": load_cifar10n,
    "cifar100n": load_cifar100n,
    "clothing1m": load_clothing1m,
    "webvision": load_webvision,
    "image_folder": load_image_folder,
    "manifest": load_manifest,
}

TFDS_PREFIX = "tfds:"

# What every source may be given, whether it has a use for it or not.
_FOR_ALL = ("data_dir", "expect_full_size")


@dataclass(frozen=True)
class DataFiles:
    """Where a data set is, and how whole it must be: no number of a run hangs on it.

    Args:
        data_dir: the folder of the data set, or of prepared TFDS data sets. Defaults
            to `None`: TFDS' own.
        human_labels: for CIFAR-N: the file of the labels. Defaults to `None`: looked
            for around `data_dir`.
        imagenet_dir: for WebVision: the folder of the ILSVRC2012 validation set, or
            `"none"` to do without. Defaults to `None`: looked for around `data_dir`.
        manifest: for `"manifest"`: the list of the training examples.
        test_manifest: for `"manifest"`: that of the test examples, if any.
        expect_full_size: whether a data set must have the published number of
            examples. Defaults to `True`.
        max_bad_fraction: the share of the images, in [0, 1], that may be missing or
            unreadable. Defaults to `0.01`.
    """

    data_dir: str | None = None
    human_labels: str | None = None
    imagenet_dir: str | None = None
    manifest: str | None = None
    test_manifest: str | None = None
    expect_full_size: bool = True
    max_bad_fraction: float = 0.01

    def options(self) -> dict[str, Any]:
        """As `load_source` takes them."""
        options = asdict(self)
        del options["max_bad_fraction"]  # of the parts that are used
        return options


def check_source_name(name: str) -> None:
    """Check that there is a data set of this name.

    Raises:
        ValueError: if there is none; the text has the names.
    """
    is_tfds = name.startswith(TFDS_PREFIX) and name != TFDS_PREFIX
    if name not in SOURCES and not is_tfds:
        raise ValueError(
            f"The data set must be one of {', '.join(SOURCES)} or {TFDS_PREFIX}NAME "
            f"for any of tensorflow-datasets. Received: {name!r}."
        )


def load_source(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Source:
    """The data set called `name`.

    Args:
        name: a key of `SOURCES`, or `"tfds:NAME"` for a data set that
            tensorflow-datasets has prepared.
        data_dir: the folder of the data set, or of prepared TFDS data sets; `"digits"`
            needs none. Defaults to TFDS' own.
        **options: those of the source's own function, such as `label_set` for
            `load_cifar10n`; None stands for the default.

    Raises:
        ValueError: if there is no data set of that name, or it does not take an option.
        ImportError: if the package that the data set is read through is missing.
        FileNotFoundError: if `data_dir` does not have the data set. Image files are not
            looked for one by one: see `missing_files.check_image_files`.
    """
    check_source_name(name)
    given = {"data_dir": data_dir, **options}
    given = {option: value for option, value in given.items() if value is not None}
    load: Callable[..., Source] = load_tfds
    if name in SOURCES:
        load = SOURCES[name]
    else:
        given["name"] = name.removeprefix(TFDS_PREFIX)
    known = inspect.signature(load).parameters
    if unknown := [o for o in given if o not in known and o not in _FOR_ALL]:
        takes = [o for o in known if o != "name"]
        raise ValueError(
            f"The data set {name} does not take {', '.join(sorted(unknown))}. "
            f"It takes: {', '.join(takes) if takes else 'no options'}."
        )
    missing = [
        option
        for option, parameter in known.items()
        if parameter.default is inspect.Parameter.empty and option not in given
    ]
    if missing:
        raise ValueError(
            f"The data set {name} needs {missing[0]}: where it is. Pass "
            f"--{missing[0]}=PATH to a launcher, {missing[0]}=... to `load_source`."
        )
    return load(**{option: given[option] for option in given if option in known})
