"""A data set that was stored once at its training size: `prepare.py` writes it.

A folder of it has

    prepared.json                       what it is, and how many records each file has
    train-00000-of-00066.tfrecord       and so on, of every split
    bad_images.csv                      what was left out, if anything was

A record is a tf.train.Example with the features `image` (the encoded image, a BMP or a
JPEG, its shorter side `resize` pixels long), `source` (where it came from), `id`,
`label` and, where it is known, `clean_label`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sop_keras.data.datasets.dataset import Dataset, Examples
from sop_keras.data.datasets.tfrecords import (
    PLACE,
    TFRecordImages,
    features_of,
    integer_of,
    records,
)
from sop_keras.files.shown_text import shown
from sop_keras.files.untrusted import read_text

DESCRIPTION = "prepared.json"

IMAGE_FORMATS = ("bmp", "jpeg")
"""How images may be stored."""

JPEG_QUALITY = 95
"""Of JPEGs, where no other is asked for."""

# The splits that `Dataset` has fields for; all others are more tests.
TRAIN, TEST, VALIDATION = "train", "test", "validation"

_VERSION = 1
_INTEGERS = ("id", "label", "clean_label")


@dataclass(frozen=True)
class Description:
    """What prepared.json says.

    Args:
        settings: what was stored, and how: `dataset`, `resize`, `image_format`, ... .
        image_size: the side of a crop, in pixels, unless another is asked for.
        class_names: one name a class, in label order.
        num_examples: the size of the full id range of the training data.
        mean: per-channel means of pixel values scaled to [0, 1].
        std: per-channel standard deviations of the same.
        labels_have_errors: as of `Dataset`.
        splits: for each split, how many records each of its files has. Defaults to
            none: they are not written yet.
    """

    settings: Mapping[str, Any]
    image_size: int
    class_names: Sequence[str]
    num_examples: int
    mean: Sequence[float]
    std: Sequence[float]
    labels_have_errors: bool
    splits: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def text(self) -> str:
        """As the file has it."""
        return json.dumps({"version": _VERSION, **asdict(self)}, indent=1) + "\n"


def read_description(folder: Path) -> Description | None:
    """What a folder says of its prepared images, or None if it does not.

    Raises:
        ValueError: if its prepared.json is none.
        OSError: if that cannot be read.
    """
    path = folder / DESCRIPTION
    if not path.exists():
        return None
    try:
        values = json.loads(read_text(path))
        version = values.pop("version")
        found = Description(**values)
        splits = {
            name: [int(count) for count in counts]
            for name, counts in found.splits.items()
        }
        is_sound = (
            version == _VERSION
            and all(re.fullmatch(r"\w+", name) for name in splits)
            and all(isinstance(name, str) for name in found.class_names)
            and len(found.mean) == len(found.std) == 3
            and all(isinstance(one, float) for one in (*found.mean, *found.std))
            and all(
                isinstance(one, int)
                for one in (
                    found.settings["resize"],
                    found.image_size,
                    found.num_examples,
                )
            )
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(_not_a_description(path)) from error
    if not is_sound:
        raise ValueError(_not_a_description(path))
    return found


def _not_a_description(path: Path) -> str:
    return (
        f"{path} does not describe prepared images of this version. Prepare the data "
        "set again, into another folder."
    )


def file_of(folder: Path, split: str, number: int, count: int) -> Path:
    """The file with the records of a part of a split."""
    return folder / f"{split}-{number:05d}-of-{count:05d}.tfrecord"


class PreparedImages(TFRecordImages):
    """Images of a prepared data set, each with the name of where it came from.

    Args:
        files: as for `TFRecordImages`.
        places: as for `TFRecordImages`.
        sources: array of bytes, shape `(n,)`: the names.
        resize: the length of the shorter side of every image, in pixels.
        image_size: as for `EncodedImages`.
        settings: what was stored, and how, as JSON: two folders of other pixels differ
            in it.
    """

    def __init__(
        self,
        files: Sequence[Path],
        places: np.ndarray,
        sources: np.ndarray,
        resize: int,
        image_size: int,
        settings: str,
    ):
        super().__init__(files, places, resize, image_size)
        self.sources = sources
        self.settings = settings

    def __getitem__(self, positions: np.ndarray) -> PreparedImages:
        return PreparedImages(
            self.files,
            self.places[positions],
            self.sources[positions],
            self.resize,
            self.image_size,
            self.settings,
        ).read_as(self)

    def name(self, position: int) -> str:
        """Where it came from, as `shown` has it."""
        return shown(self.sources[position])


@dataclass
class Records:
    """What the records of some files hold, in their order.

    Args:
        files: the files.
        places: structured array of `PLACE`, shape `(n,)`: where the images are.
        sources: array of bytes, shape `(n,)`.
        integers: int64 arrays, shape `(n,)`: `id`, `label`, and `clean_label` if every
            record has it.
    """

    files: list[Path]
    places: np.ndarray
    sources: np.ndarray
    integers: dict[str, np.ndarray]


def read_prepared_records(files: Sequence[Path]) -> Records:
    """Pass over files once; of each record all is read but the image.

    Raises:
        FileNotFoundError: if one is missing.
        ValueError: if one is cut short, or a record is none of a prepared data set.
    """
    places, sources = [], []
    integers: dict[str, list[int]] = {name: [] for name in _INTEGERS}
    for number, file in enumerate(files):
        for record, (data, start, end) in enumerate(records(file)):
            try:
                found = features_of(data, start, end)
                first, last = found[b"image"]
                sources.append(_bytes_of(data[slice(*found[b"source"])]))
                for name in _INTEGERS:
                    if (place := found.get(name.encode())) is not None:
                        integers[name].append(integer_of(data[slice(*place)], name))
            except (KeyError, IndexError, ValueError) as error:
                raise ValueError(
                    f"{file} record {record} is none of a prepared data set: {error}. "
                    "Remove the file and prepare the data set again; the other files "
                    "are kept."
                ) from error
            places.append((number, record, first, last - first))
    if not integers["clean_label"]:
        del integers["clean_label"]
    if unequal := [name for name in integers if len(integers[name]) != len(places)]:
        raise ValueError(
            f"Some records of {files[0].parent} lack the feature {unequal[0]!r}. "
            "Prepare the data set again, into another folder."
        )
    return Records(
        list(files),
        np.array(places, PLACE),
        np.array(sources, np.bytes_),
        {name: np.array(found, np.int64) for name, found in integers.items()},
    )


def _bytes_of(feature: bytes) -> bytes:
    """The bytes of a serialized tf.train.Feature."""
    import tensorflow as tf

    try:
        return tf.train.Feature.FromString(feature).bytes_list.value[0]
    except Exception as error:  # the DecodeError of any version of protobuf
        raise ValueError("the source is no text") from error


def load_prepared(
    data_dir: str | os.PathLike[str],
    *,
    num_classes: int | None = None,
    resize: int | None = None,
    image_size: int | None = None,
) -> Dataset:
    """A data set as `launch/prepare.py` stored it.

    Every split, id, label, clean label and class is that of the data set it was made
    of; what was left out then, because it could not be read, is not in it. Crops of one
    size, of images that were stored as BMP, are those of the files that they were made
    of as exact decoding has them, bit for bit.

    Args:
        data_dir: the folder that was written.
        num_classes: how many classes it must have. Defaults to what it has.
        resize: the length in pixels that the images' shorter sides must have. Defaults
            to what they have.
        image_size: the side of the crop, at most `resize`. Defaults to what it was
            prepared for.

    Returns:
        A data set called `prepared`.

    Raises:
        FileNotFoundError: if there is no such folder, or a file is missing.
        ValueError: if the folder is not finished, was prepared with other numbers, or
            has damaged files; or if a number is out of range.
    """
    folder = Path(data_dir)
    description = read_description(folder)
    if description is None:
        raise FileNotFoundError(
            f"There are no prepared images in {folder}: it has no {DESCRIPTION}. Give "
            "the folder that launch/prepare.py wrote, as `data_dir`."
        )
    if not description.splits:
        raise ValueError(
            f"The images in {folder} are not all prepared yet. Run the command that "
            "prepares them again: it goes on."
        )
    own_resize = description.settings["resize"]
    for name, asked, own in (
        ("num_classes", num_classes, len(description.class_names)),
        ("resize", resize, own_resize),
    ):
        if asked not in (None, own):
            raise ValueError(
                f"{folder} was prepared with {name}={own}. Received: {name}={asked}. "
                f"Leave it out, or prepare the data set with --{name}={asked}."
            )
    image_size = image_size or description.image_size
    settings = json.dumps(description.settings, sort_keys=True)
    examples = {
        split: _examples(folder, split, counts, own_resize, image_size, settings)
        for split, counts in description.splits.items()
    }
    _check(folder, examples, description)
    return Dataset(
        name="prepared",
        class_names=tuple(description.class_names),
        num_examples=description.num_examples,
        train=examples.pop(TRAIN),
        test=examples.pop(TEST, None),
        mean=tuple(description.mean),
        std=tuple(description.std),
        validation=examples.pop(VALIDATION, None),
        more_tests=examples,
        labels_have_errors=description.labels_have_errors,
    )


def _examples(
    folder: Path,
    split: str,
    counts: Sequence[int],
    resize: int,
    image_size: int,
    settings: str,
) -> Examples:
    files = [file_of(folder, split, i, len(counts)) for i in range(len(counts))]
    if missing := [file for file in files if not file.exists()]:
        raise FileNotFoundError(
            f"{len(missing)} of the {len(files)} files of the {split} examples are "
            f"missing, such as {missing[0]}. Prepare the data set again into the same "
            "folder: the others are kept."
        )
    found = read_prepared_records(files)
    for number, (file, count) in enumerate(zip(files, counts, strict=True)):
        here = int((found.places["file"] == number).sum())
        if here != count:
            raise ValueError(
                f"{file} has {here} records, where {DESCRIPTION} says {count}. Remove "
                "it and prepare the data set again into the same folder."
            )
    return Examples(
        found.integers["id"],
        PreparedImages(
            files, found.places, found.sources, resize, image_size, settings
        ),
        found.integers["label"],
        found.integers.get("clean_label"),
    )


def _check(
    folder: Path, examples: Mapping[str, Examples], description: Description
) -> None:
    """Check that ids and labels can be those of the data set that is described."""
    if TRAIN not in examples:
        raise ValueError(f"{folder} has no training examples. Prepare it again.")
    for split, one in examples.items():
        bounds = {"a label": (one.labels, len(description.class_names))}
        if one.clean_labels is not None:
            bounds["a clean label"] = (one.clean_labels, len(description.class_names))
        if split == TRAIN:
            bounds["an id"] = (one.ids, description.num_examples)
        for name, (values, bound) in bounds.items():
            if len(values) and not 0 <= values.min() <= values.max() < bound:
                raise ValueError(
                    f"The {split} examples in {folder} have {name} that is not from "
                    f"0 to {bound - 1}. Prepare the data set again."
                )
        if len(np.unique(one.ids)) < len(one):
            raise ValueError(
                f"The {split} examples in {folder} have an id twice. Prepare the data "
                "set again."
            )
