"""The validation set of ILSVRC2012 (ImageNet), for networks trained on WebVision."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sop_keras.data.datasets.dataset import Examples
from sop_keras.data.datasets.tfrecords import read_records
from sop_keras.data.images.encoded_images import EncodedImages, ImageFiles

IMAGES_PER_CLASS = 50
WNID = re.compile(rb"n\d{8}")

_FOLDERS = ("val", "imagenet/val", ".")
_TFDS_FOLDERS = ("imagenet2012/5.1.0", ".")
_SUFFIXES = (b".jpeg", b".jpg")
_NUM_SHOWN = 10


def load_ilsvrc2012_validation(
    imagenet_dir: str | os.PathLike[str],
    wnids: Sequence[str],
    *,
    resize: int = 256,
    image_size: int = 227,
    expect_full_size: bool = True,
) -> Examples:
    """The images of some classes of the ILSVRC2012 validation set.

    Classes are joined by wnid (`n01440764`), never by their order.

    Args:
        imagenet_dir: a folder with `val/<wnid>/*.JPEG` or `imagenet/val/<wnid>/*.JPEG`,
            or the folder `val` itself; or one that holds `imagenet2012/5.1.0/`,
            prepared by tensorflow-datasets with at least its split `validation`.
        wnids: the wnids of the classes in label order, all different. Images of other
            classes are left out.
        resize: the length of the shorter side, in pixels, before a crop is cut out.
            Defaults to `256`.
        image_size: the side of the crop, in pixels. Defaults to `227`.
        expect_full_size: whether each class must have its 50 images. Defaults to
            `True`.

    Returns:
        Examples, none of them decoded. An id is a place: of a folder's images, among
        those kept, in the order of the files' names, which is the published one; of
        TFDS' images, in the order of its records.

    Raises:
        FileNotFoundError: if the folder has none of these layouts.
        ImportError: if tensorflow-datasets is not installed, where it is needed.
        ValueError: if no image is left, a class does not have its 50 images, or the
            split `validation` is not prepared or not whole.
    """
    folder = find_validation_folder([imagenet_dir])
    if _has_wnid_folders(folder):
        names, labels = _list_images(folder, wnids)
        ids = np.arange(len(names))
        images: EncodedImages = ImageFiles(folder, names, resize, image_size)
    else:
        images, labels = _read_tfds(folder, wnids, resize, image_size)
        ids = np.flatnonzero(labels >= 0)
        images, labels = images[ids], labels[ids]
    _check_classes(folder, wnids, labels, expect_full_size)
    return Examples(ids, images, labels)


def find_validation_folder(places: Iterable[str | os.PathLike[str]]) -> Path:
    """The folder with a folder a class, or with TFDS' records, in one of the places.

    Raises:
        FileNotFoundError: if no place has one; the text has all that was looked for.
    """
    tried = []
    for place in places:
        for name in _FOLDERS:
            if _has_wnid_folders(folder := Path(place, name)):
                return folder
            tried.append(f"  {folder}/n01440764/*.JPEG, a folder a class")
        for name in _TFDS_FOLDERS:
            if (folder := Path(place, name)).joinpath("features.json").is_file():
                return folder
            tried.append(f"  {folder}/features.json, of tensorflow-datasets")
    raise FileNotFoundError(
        "No validation set of ILSVRC2012. Looked for:\n" + "\n".join(tried) + "\nGet "
        "ILSVRC2012_img_val.tar from image-net.org and sort the images into a folder a "
        "class, or prepare imagenet2012:5.1.0 with tensorflow-datasets, for which this "
        "archive is enough; then say where it is by --imagenet_dir. "
        '--imagenet_dir=none (imagenet_dir="none") does without it.'
    )


def _has_wnid_folders(folder: Path) -> bool:
    try:
        return any(WNID.fullmatch(name) for name in os.listdir(os.fsencode(folder)))
    except OSError:
        return False


def _list_images(folder: Path, wnids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Paths from `folder`, and labels, in the order of the files' names."""
    found = []
    for label, wnid in enumerate(wnids):
        try:
            files = os.listdir(os.fsencode(folder / wnid))
        except OSError:  # reported with the other classes that lack images
            continue
        found += [
            (file, wnid.encode() + b"/" + file, label)
            for file in files
            if file.lower().endswith(_SUFFIXES) and not file.startswith(b".")
        ]
    found.sort()
    names = np.array([name for _, name, _ in found], np.bytes_)
    return names, np.array([label for *_, label in found], np.int64)


def _read_tfds(
    folder: Path, wnids: Sequence[str], resize: int, image_size: int
) -> tuple[EncodedImages, np.ndarray]:
    """All images, and their labels: -1 for those of other classes."""
    builder = _tfds_builder(folder)
    images, tfds_labels = read_records(
        builder, "validation", resize=resize, image_size=image_size
    )
    label_of = {wnid: label for label, wnid in enumerate(wnids)}
    tfds_wnids = builder.info.features["label"].names
    # The last entry is for TFDS' own -1, an unknown label.
    to_label = [*(label_of.get(wnid, -1) for wnid in tfds_wnids), -1]
    return images, np.array(to_label, np.int64)[tfds_labels]


def _tfds_builder(folder: Path) -> Any:
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ImportError(
            f"{folder} is read through tensorflow-datasets, which is not installed. "
            "Run: pip install tensorflow-datasets importlib_resources"
        ) from error
    return tfds.builder_from_directory(os.fspath(folder))


def _check_classes(
    folder: Path, wnids: Sequence[str], labels: np.ndarray, expect_full_size: bool
) -> None:
    if not len(labels):
        raise ValueError(
            f"{folder} has no image of the {len(wnids)} classes {wnids[0]} to "
            f"{wnids[-1]}."
        )
    counts = np.bincount(labels, minlength=len(wnids))
    others = np.flatnonzero(counts != IMAGES_PER_CLASS)
    if expect_full_size and len(others):
        shown = ", ".join(f"{counts[i]} of {wnids[i]}" for i in others[:_NUM_SHOWN])
        more = (
            f" and {len(others) - _NUM_SHOWN} more" if len(others) > _NUM_SHOWN else ""
        )
        raise ValueError(
            f"The validation set of ILSVRC2012 has {IMAGES_PER_CLASS} images of each "
            f"class. {folder} has another number of {len(others)} of {len(wnids)}: "
            f"{shown}{more}. Unpack it again; if it is a subset on purpose, say so by "
            "--noexpect_full_size (expect_full_size=False)."
        )
