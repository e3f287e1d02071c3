"""Clothing1M: a million photographs of clothes, labelled by the shops' own words."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from sop_keras.data.datasets.dataset import Dataset, Examples
from sop_keras.data.datasets.file_lists import (
    check_full_size,
    find_layout,
    labels_of,
    printable,
    read_labelled_names,
    read_lines,
    read_names,
)
from sop_keras.data.images.encoded_images import ImageFiles

NUM_CLASSES = 14
CLOTHING1M_MEAN = (0.6959, 0.6537, 0.6371)
CLOTHING1M_STD = (0.3113, 0.3192, 0.3214)
FULL_SIZES = {"training": 1_000_000, "validation": 14_313, "test": 10_526}

# The list of the images of each split, and the one with their labels.
_LISTS = {
    "training": ("noisy_train_key_list.txt", "noisy_label_kv.txt"),
    "validation": ("clean_val_key_list.txt", "clean_label_kv.txt"),
    "test": ("clean_test_key_list.txt", "clean_label_kv.txt"),
}
_CLASS_NAMES = "category_names_eng.txt"
_IMAGES = "images/"
_FILES = dict.fromkeys([name for lists in _LISTS.values() for name in lists])
_LAYOUT = {
    **{name: (name, f"annotations/{name}") for name in (*_FILES, _CLASS_NAMES)},
    # Without the level images/, its folders 0 to 9 are where it would be.
    _IMAGES: (_IMAGES, *(f"{digit}/" for digit in range(10))),
}
_ADVICE = (
    "The authors of Clothing1M (Xiao et al., CVPR 2015) give it out on request; unpack "
    "all of it into one folder and keep the names of its files."
)


def load_clothing1m(
    data_dir: str | os.PathLike[str],
    *,
    resize: int = 256,
    image_size: int = 224,
    expect_full_size: bool = True,
) -> Dataset:
    """Clothing1M (T. Xiao et al., CVPR 2015): 14 classes, about 38% wrong labels.

    The training examples are those of `noisy_train_key_list.txt` under the labels of
    `noisy_label_kv.txt`; their true labels are not known. (The latter list has labels
    of 37,497 images more, those with a clean label, which are not trained on.) The
    validation and test examples are those of `clean_val_key_list.txt` and
    `clean_test_key_list.txt` under the labels of `clean_label_kv.txt`. An example's id
    is the place of its line in its key list, from 0.

    Args:
        data_dir: the folder of the data set, or the one that holds it as `clothing1m`
            or `Clothing1M`. The lists may be in a folder `annotations`; the level
            `images` may lack in the tree, in the lists or in both.
        resize: the length of the shorter side, in pixels, before a crop is cut out.
            Defaults to `256`.
        image_size: the side of the crop, in pixels. Defaults to `224`.
        expect_full_size: whether there must be 1,000,000 training, 14,313 validation
            and 10,526 test examples. Defaults to `True`.

    Returns:
        A data set with training, validation and test examples, none of them decoded.

    Raises:
        FileNotFoundError: if files or folders are missing; the text has all of them.
        ValueError: if a list is malformed, has an image twice, a label out of range or
            none for an image, or does not have the published size.
    """
    paths = find_layout(
        "clothing1m", data_dir, ("clothing1m", "Clothing1M"), _LAYOUT, _ADVICE
    )
    class_names = _read_class_names(paths[_CLASS_NAMES])
    folder = paths[_IMAGES]
    if folder.name != _IMAGES.rstrip("/"):
        folder = folder.parent
    splits = {}
    for split, (keys_name, labels_name) in _LISTS.items():
        names, labels = _read_split(paths[keys_name], paths[labels_name])
        images = ImageFiles(folder, names, resize, image_size)
        splits[split] = Examples(np.arange(len(names)), images, labels)
    if expect_full_size:
        check_full_size(
            "Clothing1M", {split: len(splits[split]) for split in splits}, FULL_SIZES
        )
    return Dataset(
        name="clothing1m",
        class_names=class_names,
        num_examples=len(splits["training"]),
        train=splits["training"],
        validation=splits["validation"],
        test=splits["test"],
        mean=CLOTHING1M_MEAN,
        std=CLOTHING1M_STD,
        labels_have_errors=True,
    )


def _read_class_names(file: Path) -> tuple[str, ...]:
    names = tuple(printable(line) for line in read_lines(file))
    if len(names) != NUM_CLASSES:
        raise ValueError(
            f"{file} must have the names of the {NUM_CLASSES} classes, one a line. "
            f"Received: {len(names)} lines. Get it again."
        )
    return names


def _read_split(keys_file: Path, labels_file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Paths from the folder of the images, and labels, in the order of the keys."""
    prefix = _IMAGES.encode()
    keys = read_names(keys_file, prefix)
    names, labels = read_labelled_names(labels_file, NUM_CLASSES, prefix)
    return keys, labels_of(keys, keys_file, names, labels, labels_file)
