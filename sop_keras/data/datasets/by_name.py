"""Data sets by name.

No data set imports TensorFlow before it is read, so that a launcher can say at once
that there is no data set of a name, or that it does not take an option.
"""

from __future__ import annotations

import inspect
import os
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sop_keras.data.datasets.cifar import load_cifar10, load_cifar100
from sop_keras.data.datasets.cifar_n import load_cifar10n, load_cifar100n
from sop_keras.data.datasets.clothing1m import load_clothing1m
from sop_keras.data.datasets.dataset import Dataset
from sop_keras.data.datasets.digits import load_digits
from sop_keras.data.datasets.image_folder import load_image_folder
from sop_keras.data.datasets.manifest import load_manifest
from sop_keras.data.datasets.manifest_limits import (
    MAX_MANIFEST_BYTES,
    MAX_MANIFEST_ROWS,
)
from sop_keras.data.datasets.prepared import load_prepared
from sop_keras.data.datasets.tfds import load_tfds
from sop_keras.data.datasets.webvision import load_webvision
from sop_keras.data.images.encoded_images import (
    DECODINGS,
    EXACT,
    MAX_IMAGE_BYTES,
    EncodedImages,
)
from sop_keras.settings import check_settings, setting
from sop_keras.validation import check_choice_of

DATASETS: dict[str, Callable[..., Dataset]] = {
    "digits": load_digits,
    "cifar10": load_cifar10,
    "cifar100": load_cifar100,
    "cifar10n": load_cifar10n,
    "cifar100n": load_cifar100n,
    "clothing1m": load_clothing1m,
    "webvision": load_webvision,
    "image_folder": load_image_folder,
    "manifest": load_manifest,
    "prepared": load_prepared,
}

TFDS_PREFIX = "tfds:"

# NAME, NAME/CONFIG and NAME:VERSION are looked for on this machine. What is longer has
# a namespace, such as huggingface:NAME, or arguments: it may be fetched.
_LOCAL_TFDS = re.compile(r"\w+(/[\w+.-]+)?(:(\d+|\*)(\.(\d+|\*)){2})?", re.ASCII)

NOT_RECORDED = (
    *("max_image_bytes", "max_manifest_bytes", "max_manifest_rows"),
    "may_fetch",
)
"""The fields of `DataFiles` that a run's folder does not say.

They protect from what is in it.
"""

# What every data set may be given, whether it has a use for it or not.
_FOR_ALL = (
    *("data_dir", "expect_full_size", "decode"),
    *("max_image_bytes", "max_manifest_bytes", "max_manifest_rows"),
)


@dataclass(frozen=True)
class DataFiles:
    """Where a data set is, and how whole it must be: no number of a run hangs on it.

    The fields say what they are.

    Raises:
        ValueError: for a value that its field does not allow.
    """

    data_dir: str | None = setting(
        None,
        "Where the data set is (docs/data.md); for those of tensorflow-datasets, its "
        "own default if unset.",
    )
    human_labels: str | None = setting(
        None, "cifar10n, cifar100n: the labels' file; looked for if unset."
    )
    imagenet_dir: str | None = setting(
        None,
        "webvision: the folder of ILSVRC2012's validation set; looked for if unset; "
        "none: not evaluated on it.",
    )
    manifest: str | None = setting(
        None, "dataset=manifest: path, label, ... (CSV, Parquet)."
    )
    test_manifest: str | None = setting(None, "dataset=manifest: of the test examples.")
    expect_full_size: bool = setting(
        True, "Whether a data set must have the published number of examples."
    )
    max_bad_fraction: float = setting(
        0.01,
        "The share of the images that may be missing or unreadable, and left out.",
        least=0,
        most=1,
    )

    max_image_bytes: int = setting(
        MAX_IMAGE_BYTES,
        "The largest file of an image that is read, in bytes; larger ones are left "
        "out.",
        least=1,
    )
    max_manifest_bytes: int = setting(
        MAX_MANIFEST_BYTES,
        "dataset=manifest: the largest table that is read, in bytes: as a file, "
        "unpacked, and its paths in memory.",
        least=1,
    )
    max_manifest_rows: int = setting(
        MAX_MANIFEST_ROWS, "dataset=manifest: the rows it may have.", least=1
    )

    may_fetch: str | None = setting(
        None,
        "A data set that the folder of a run may have fetched from the network, by its "
        "name, such as tfds:huggingface:NAME; none if unset.",
    )

    def __post_init__(self) -> None:
        check_settings(self)

    def options(self) -> dict[str, Any]:
        """As `load_dataset` takes them."""
        options = asdict(self)
        # Of the splits that are used, and of who asks for the data set.
        del options["max_bad_fraction"], options["may_fetch"]
        return options


def check_dataset_name(name: str) -> None:
    """Check that there is a data set of this name.

    Raises:
        ValueError: if there is none; the text has the names.
    """
    is_tfds = name.startswith(TFDS_PREFIX) and name != TFDS_PREFIX
    if name not in DATASETS and not is_tfds:
        raise ValueError(
            f"The data set must be one of {', '.join(DATASETS)} or {TFDS_PREFIX}NAME "
            f"for any of tensorflow-datasets. Received: {name!r}."
        )


def is_fetched(name: str) -> bool:
    """Whether loading a data set of this name may reach the network.

    Of `"tfds:NAME"`, all other forms than NAME, NAME/CONFIG, NAME:VERSION and
    NAME/CONFIG:VERSION may: `"tfds:huggingface:NAME"` is one.
    """
    if not name.startswith(TFDS_PREFIX):
        return False
    return not _LOCAL_TFDS.fullmatch(name.removeprefix(TFDS_PREFIX))


def check_not_fetched(
    name: str, folder: str | os.PathLike[str], files: DataFiles
) -> None:
    """Check that a data set that the folder of a run names is not fetched unasked.

    Args:
        name: what its settings say.
        folder: the run's folder, for the error.
        files: where the data set is, and whether it may be fetched.

    Raises:
        ValueError: if loading it may reach the network, and `files.may_fetch` does not
            name it.
    """
    if is_fetched(name) and files.may_fetch != name:
        raise ValueError(
            f"The run {os.fspath(folder)} was trained on {name!r}, which may come out "
            "of the network. The folder of a run is not enough to ask for that: if "
            f"you trust it, pass --may_fetch={shlex.quote(name)} to a launcher, or "
            "`may_fetch` of DataFiles."
        )


def check_recorded_path(name: str, path: Any, folder: str | os.PathLike[str]) -> None:
    """Check that a path that the folder of a run has is one of this machine.

    Args:
        name: the field of `DataFiles`.
        path: what the folder says.
        folder: the run's folder, for the error.

    Raises:
        ValueError: if it is an address, such as `gs://...`, which runs do not write.
    """
    if isinstance(path, str) and "://" in path:
        raise ValueError(
            f"The run {os.fspath(folder)} says that its data are at {path!r}, which "
            f"would be fetched from the network. Pass --{name}=PATH yourself."
        )


def dataset_options(name: str) -> list[str]:
    """The options that a data set takes, in the order of its own function.

    Args:
        name: as for `load_dataset`.

    Raises:
        ValueError: if there is no data set of that name.
    """
    check_dataset_name(name)
    return [option for option in _parameters(name) if option != "name"]


def _parameters(name: str) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(DATASETS.get(name, load_tfds)).parameters


def load_dataset(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Dataset:
    """The data set called `name`.

    Args:
        name: one of docs/data.md, such as `"cifar10"`, or `"tfds:NAME"` for a data set
            that tensorflow-datasets has prepared.
        data_dir: the folder of the data set, or of prepared TFDS data sets; `"digits"`
            needs none. Defaults to TFDS' own.
        **options: the data set's own, such as `label_set` of `"cifar10n"`; None stands
            for the default. Any takes `max_image_bytes`, the largest file of an image
            that is read, and `decode`, how images in files are decoded: `"exact"`,
            its default, or `"fast"`.

    Raises:
        ValueError: if there is no data set of that name, or it does not take an option
            or its value.
        ImportError: if the package that the data set is read through is missing.
        FileNotFoundError: if `data_dir` does not have the data set. Image files are not
            looked for one by one.
    """
    takes = dataset_options(name)
    given = {"data_dir": data_dir, **options}
    given = {option: value for option, value in given.items() if value is not None}
    if unknown := [o for o in given if o not in takes and o not in _FOR_ALL]:
        raise ValueError(
            f"The data set {name} does not take {', '.join(sorted(unknown))}. "
            f"It takes: {', '.join(takes) if takes else 'no options'}."
        )
    parameters = _parameters(name)
    missing = [
        option
        for option in takes
        if parameters[option].default is inspect.Parameter.empty and option not in given
    ]
    if missing:
        raise ValueError(
            f"The data set {name} needs {missing[0]}: where it is. Pass "
            f"--{missing[0]}=PATH to a launcher, {missing[0]}=... to `load_dataset`."
        )
    most = given.get("max_image_bytes", MAX_IMAGE_BYTES)
    decoding = given.get("decode", EXACT)
    check_choice_of("decode", decoding, DECODINGS)
    given = {option: value for option, value in given.items() if option in takes}
    if name in DATASETS:
        dataset = DATASETS[name](**given)
    else:
        dataset = load_tfds(name.removeprefix(TFDS_PREFIX), **given)
    if decoding != EXACT and not isinstance(dataset.train.images, EncodedImages):
        raise ValueError(
            f"The images of {name} are in memory: there is nothing to decode. "
            f"Received: decode={decoding!r}; leave it out."
        )
    for examples in (dataset.train, dataset.validation, *dataset.tests.values()):
        if examples is not None and isinstance(examples.images, EncodedImages):
            examples.images.max_bytes = most
            examples.images.decoding = decoding
    return dataset
