"""Stores a data set of image files once, at its training size."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from sop_keras.data.datasets.dataset import Dataset, Examples
from sop_keras.data.datasets.prepared import (
    DESCRIPTION,
    IMAGE_FORMATS,
    JPEG_QUALITY,
    TRAIN,
    VALIDATION,
    Description,
    PreparedImages,
    file_of,
    read_description,
    read_prepared_records,
)
from sop_keras.data.images.bad_images import BadImages
from sop_keras.data.images.decoding import UnreadableImageError, decode_resized
from sop_keras.data.images.encoded_images import EncodedImages, ImageFiles
from sop_keras.files.atomic import (
    explained,
    is_partial,
    replacing,
    write_atomically,
)
from sop_keras.validation import check_choice_of, check_integer

logger = logging.getLogger(__name__)

BAD_IMAGES = "bad_images.csv"

# What is lost at the most when the process is killed, and held in no memory.
_IMAGES_A_FILE = 1000
# Of a side, in pixels: what libjpeg writes.
_LONGEST_JPEG = 65_500
# How many images are decoded and not yet written.
_AT_ONCE = 32


@dataclass(frozen=True)
class Prepared:
    """What was stored.

    Args:
        counts: how many examples of each split.
        num_bad_images: how many were left out of each split, of those that have any.
        num_bytes: of all files with images.
    """

    counts: dict[str, int]
    num_bad_images: dict[str, int]
    num_bytes: int


def prepare_dataset(
    dataset: Dataset,
    folder: str | os.PathLike[str],
    *,
    image_format: str = "bmp",
    jpeg_quality: int = JPEG_QUALITY,
    max_bad_fraction: float = 0.0,
) -> Prepared:
    """Store a data set's images with their shorter side `resize` pixels long.

    The pixels are those that training cuts its crops out of, for `load_prepared`; they
    are decoded as `decoding` of the images says. Files of 1,000 images are written one
    after another, each whole or not there; called again with the same arguments, it
    goes on after the last one, and writes those anew that have lost images. Images that
    cannot be read are left out, and listed in `bad_images.csv`, once each.

    Args:
        dataset: the data set; its images are encoded.
        folder: where to, made if it is not there; an empty folder, or one with a part
            of the same.
        image_format: `"bmp"`, which keeps each pixel as it is, at 3 bytes a pixel; or
            `"jpeg"`. Defaults to `"bmp"`.
        jpeg_quality: of JPEGs, from 1 to 100, with colours at full resolution.
            Defaults to `95`.
        max_bad_fraction: the share of a split's images that may be left out, in
            [0, 1]. Defaults to `0.0`.

    Raises:
        ValueError: if the images are in memory, an argument is out of range, or the
            folder has something else; the text says what differs.
        TooManyBadImagesError: if too many images cannot be read.
        OutputError: if a file cannot be written, such as on a full disk.
    """
    check_choice_of("image_format", image_format, IMAGE_FORMATS)
    check_integer("jpeg_quality", jpeg_quality, 1, most=100)
    splits = _splits(dataset)
    bad_images = BadImages(Path(folder) / BAD_IMAGES, max_bad_fraction)
    images = cast(EncodedImages, splits[TRAIN].images)
    is_jpeg = image_format == "jpeg"
    description = Description(
        settings={
            "dataset": dataset.name,
            "num_classes": dataset.num_classes,
            "resize": images.resize,
            "decode": images.decoding,
            "image_format": image_format,
            "jpeg_quality": jpeg_quality if is_jpeg else None,
            **{f"{split} examples": _digest(one) for split, one in splits.items()},
        },
        image_size=splits[TRAIN].image_shape[0],
        class_names=list(dataset.class_names),
        num_examples=int(dataset.num_examples),
        mean=[float(one) for one in dataset.mean],
        std=[float(one) for one in dataset.std],
        labels_have_errors=dataset.labels_have_errors,
    )
    folder = Path(folder)
    earlier = _begin(folder, description)
    counts = {}
    options = {"quality": jpeg_quality, "subsampling": 0} if is_jpeg else {}
    for split, examples in splits.items():
        writer = _Writer(folder, split, examples, image_format, options, bad_images)
        counts[split] = writer.write_all(earlier.get(split, ()))
    finished = replace(description, splits=counts)
    if read_description(folder) != finished:
        write_atomically(folder / DESCRIPTION, finished.text())
    files = folder.glob("*.tfrecord")
    return Prepared(
        {split: sum(records) for split, records in counts.items()},
        bad_images.counts(),
        sum(file.stat().st_size for file in files),
    )


def _splits(dataset: Dataset) -> dict[str, Examples]:
    """The splits of a data set that have examples, by name."""
    splits = {TRAIN: dataset.train, VALIDATION: dataset.validation, **dataset.tests}
    given = {name: one for name, one in splits.items() if one is not None and len(one)}
    for examples in given.values():
        if not isinstance(examples.images, EncodedImages):
            raise ValueError(
                f"The images of {dataset.name} are in memory as they are trained on: "
                "there is nothing to prepare. Data sets of image files can be."
            )
    return given


def _digest(examples: Examples) -> str:
    """One text for ids, labels and sources."""
    digest = hashlib.sha256()
    for array in (examples.ids, examples.labels, examples.clean_labels):
        digest.update(b"" if array is None else array.astype("<i8").tobytes())
        digest.update(b"\n")
    images = cast(EncodedImages, examples.images)
    for position in range(len(examples)):
        digest.update(_source(images, position) + b"\0")
    return digest.hexdigest()


def _source(images: EncodedImages, position: int) -> bytes:
    """Where an image is, wherever the data set's folder is."""
    if isinstance(images, ImageFiles):
        return bytes(images.names[position])
    if isinstance(images, PreparedImages):
        return bytes(images.sources[position])
    return os.path.basename(images.name(position)).encode()  # a file and its record


def _begin(folder: Path, description: Description) -> Mapping[str, Sequence[int]]:
    """Have the folder say what it is for, before anything is in it.

    Returns:
        How many records the files had when they were last all written; none if they
        never were.

    Raises:
        ValueError: if it says something else, or nothing and has files.
    """
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    there = read_description(folder)
    if there is None:
        begun = re.escape(DESCRIPTION)
        if not all(is_partial(path.name, begun) for path in folder.iterdir()):
            raise ValueError(
                f"{folder} has other files than prepared images. Give a folder that is "
                "empty or not there yet."
            )
        write_atomically(folder / DESCRIPTION, description.text())
        return {}
    if differences := _differences(there, description):
        raise ValueError(
            f"{folder} has images that were prepared with other settings: "
            f"{'; '.join(differences)}. Give another folder, or remove this one."
        )
    return there.splits


def _differences(there: Description, asked: Description) -> list[str]:
    """What two descriptions do not have in common, in words."""
    texts = []
    for name in {**there.settings, **asked.settings}:
        old, new = there.settings.get(name), asked.settings.get(name)
        if old == new:
            continue
        if name.endswith(" examples"):
            texts.append(f"other {name} (their ids, labels or sources)")
        else:
            texts.append(f"{name}={old} there, {name}={new} asked for")
    for name in ("class_names", "num_examples", "mean", "std", "labels_have_errors"):
        if getattr(there, name) != getattr(asked, name):
            texts.append(f"other {name}")
    return texts


class _Writer:
    """Writes the files of one split."""

    def __init__(
        self,
        folder: Path,
        split: str,
        examples: Examples,
        image_format: str,
        options: dict[str, int],
        bad_images: BadImages,
    ):
        self._folder, self._split, self._examples = folder, split, examples
        self._images = cast(EncodedImages, examples.images)
        self._format, self._options = image_format, options
        self._bad_images = bad_images

    def write_all(self, earlier: Sequence[int]) -> list[int]:
        """Write what is not there yet; how many records each file has.

        Args:
            earlier: how many each had before, if they were all written.
        """
        counts = []
        total = len(self._examples)
        starts = range(0, total, _IMAGES_A_FILE)
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for number, start in enumerate(starts):
                positions = range(start, min(start + _IMAGES_A_FILE, total))
                file = file_of(self._folder, self._split, number, len(starts))
                had = earlier[number] if number < len(earlier) else 0
                kept = self._kept(file, positions, had) if file.exists() else None
                if kept is not None:
                    counts.append(kept)
                    continue
                counts.append(self._write(file, positions, pool))
                logger.info(
                    "%s: %s of %s images",
                    self._split,
                    f"{positions.stop:,}",
                    f"{total:,}",
                )
        return counts

    def _kept(self, file: Path, positions: range, had: int) -> int | None:
        """The records of a file that is there, or None if it is to be written anew.

        What it lacks is a bad image, and listed as such; else it has lost some, such as
        the last ones when it was copied to a full disk.
        """
        try:
            ids = read_prepared_records([file]).integers["id"]
        except ValueError as error:  # it is cut short within a record
            logger.warning("It is written anew, as it cannot be read: %s", error)
            return None
        planned = self._examples.ids[positions.start : positions.stop]
        if not np.array_equal(planned[np.isin(planned, ids)], ids):
            raise ValueError(
                f"{file} has other examples than it should. Remove it, and it is "
                "written anew."
            )
        missing = np.flatnonzero(~np.isin(planned, ids))
        are_bad = [
            self._bad_images.lists(self._split, int(planned[i])) for i in missing
        ]
        if not all(are_bad) or len(ids) < had:
            logger.warning(
                "%s has %d of %d images, fewer than could be read: it is written anew.",
                *(file, len(ids), len(planned)),
            )
            return None
        for place in missing:
            self._bad_images.report(
                self._split,
                int(planned[place]),
                self._images.name(positions[place]),
                "left out when the others of its file were prepared",
                len(self._examples),
            )
        return len(ids)

    def _write(self, file: Path, positions: range, pool: ThreadPoolExecutor) -> int:
        """Write a file of the images at `positions`; how many could be read."""
        import tensorflow as tf

        count = 0
        with replacing(file) as partial:
            try:
                with tf.io.TFRecordWriter(str(partial)) as writer:
                    for position, data in self._encoded(positions, pool):
                        writer.write(self._record(position, data))
                        count += 1
            except tf.errors.OpError as error:  # such as a full disk
                raise OSError(error.message) from error
        return count

    def _encoded(
        self, positions: range, pool: ThreadPoolExecutor
    ) -> Iterator[tuple[int, bytes]]:
        """The images that can be read, with their positions, in order."""
        for start in range(0, len(positions), _AT_ONCE):
            some = positions[start : start + _AT_ONCE]
            for position, data in zip(some, pool.map(self._encode, some), strict=True):
                if data is not None:
                    yield position, data

    def _encode(self, position: int) -> bytes | None:
        """An image at its training size; None if it cannot be read."""
        images, stream = self._images, io.BytesIO()
        try:
            image = decode_resized(
                images.read(position), images.resize, images.decoding
            )
            if self._format == "jpeg" and max(image.size) > _LONGEST_JPEG:
                raise UnreadableImageError(
                    f"{image.width}x{image.height} pixels at this size; a JPEG has "
                    f"{_LONGEST_JPEG} at most (image_format=bmp has them all)"
                )
        except (MemoryError, OSError, UnreadableImageError) as error:
            self._bad_images.leave_out(
                self._split,
                int(self._examples.ids[position]),
                images.name(position),
                error,
                len(self._examples),
            )
            return None
        image.save(stream, self._format, **self._options)
        return stream.getvalue()

    def _record(self, position: int, data: bytes) -> bytes:
        """The record of an example, as bytes; the same for the same example."""
        import tensorflow as tf

        examples = self._examples
        values: dict[str, Any] = {
            "image": data,
            "source": _source(self._images, position),
            "id": examples.ids[position],
            "label": examples.labels[position],
        }
        if examples.clean_labels is not None:
            values["clean_label"] = examples.clean_labels[position]
        features = {
            name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
            if isinstance(value, bytes)
            else tf.train.Feature(int64_list=tf.train.Int64List(value=[int(value)]))
            for name, value in values.items()
        }
        example = tf.train.Example(features=tf.train.Features(feature=features))
        return example.SerializeToString(deterministic=True)
