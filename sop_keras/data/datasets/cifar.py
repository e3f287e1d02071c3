"""CIFAR-10 and CIFAR-100 as TensorFlow Datasets (TFDS) has prepared them."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from sop_keras.data.datasets.dataset import ClassMap, Dataset, Examples
from sop_keras.data.datasets.tfds import prepared_builder
from sop_keras.label_noise.asymmetric import CIFAR10_CLASS_MAP, cifar100_class_map

IMAGE_SHAPE = (32, 32, 3)
SPLIT_SIZES = {"train": 50_000, "test": 10_000}

CIFAR10_CLASS_NAMES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
# The standard deviations that published training code passes on, the authors' of SOP
# too: smaller than those of the pixels, which are (0.2470, 0.2435, 0.2616).
CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2023, 0.1994, 0.2010)

CIFAR100_CLASS_NAMES = (
    *("apple", "aquarium_fish", "baby", "bear", "beaver"),
    *("bed", "bee", "beetle", "bicycle", "bottle"),
    *("bowl", "boy", "bridge", "bus", "butterfly"),
    *("camel", "can", "castle", "caterpillar", "cattle"),
    *("chair", "chimpanzee", "clock", "cloud", "cockroach"),
    *("couch", "crab", "crocodile", "cup", "dinosaur"),
    *("dolphin", "elephant", "flatfish", "forest", "fox"),
    *("girl", "hamster", "house", "kangaroo", "keyboard"),
    *("lamp", "lawn_mower", "leopard", "lion", "lizard"),
    *("lobster", "man", "maple_tree", "motorcycle", "mountain"),
    *("mouse", "mushroom", "oak_tree", "orange", "orchid"),
    *("otter", "palm_tree", "pear", "pickup_truck", "pine_tree"),
    *("plain", "plate", "poppy", "porcupine", "possum"),
    *("rabbit", "raccoon", "ray", "road", "rocket"),
    *("rose", "sea", "seal", "shark", "shrew"),
    *("skunk", "skyscraper", "snail", "snake", "spider"),
    *("squirrel", "streetcar", "sunflower", "sweet_pepper", "table"),
    *("tank", "telephone", "television", "tiger", "tractor"),
    *("train", "trout", "tulip", "turtle", "wardrobe"),
    *("whale", "willow_tree", "wolf", "woman", "worm"),
)
CIFAR100_MEAN = (0.5071, 0.4867, 0.4408)
CIFAR100_STD = (0.2675, 0.2565, 0.2761)


def load_cifar10(data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """CIFAR-10 (A. Krizhevsky, 2009) from a prepared TFDS data set; no download.

    Args:
        data_dir: the folder that holds `cifar10/3.0.2/`. Defaults to TFDS' own,
            `~/tensorflow_datasets` unless TFDS is told otherwise.

    Returns:
        A data set of 50,000 training and 10,000 test images of shape `(32, 32, 3)` in
        10 classes. Ids are places in the published order: the number in TFDS' own `id`
        (`train_00042`), never the order of arrival. `mean` and `std` are
        `CIFAR10_MEAN` and `CIFAR10_STD`. Asymmetric noise has one structure,
        `CIFAR10_CLASS_MAP`.

    Raises:
        ImportError: if tensorflow-datasets is not installed.
        FileNotFoundError: if the folder has no prepared data set; the text has the
            command that prepares it.
        ValueError: if the data set is not the published one (ids, shapes, labels).
    """
    return _load(
        "cifar10",
        data_dir,
        CIFAR10_CLASS_NAMES,
        CIFAR10_MEAN,
        CIFAR10_STD,
        lambda structure, seed: CIFAR10_CLASS_MAP,
    )


def load_cifar100(data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """CIFAR-100 with its 100 fine classes; otherwise as `load_cifar10`.

    Args:
        data_dir: the folder that holds `cifar100/3.0.2/`. Defaults to TFDS' own.

    Returns:
        A data set as `load_cifar10`'s, in 100 classes, with `CIFAR100_MEAN` and
        `CIFAR100_STD`. The structures of asymmetric noise are those of
        `cifar100_class_map`.

    Raises:
        ImportError: as `load_cifar10`.
        FileNotFoundError: as `load_cifar10`.
        ValueError: as `load_cifar10`.
    """
    return _load(
        "cifar100",
        data_dir,
        CIFAR100_CLASS_NAMES,
        CIFAR100_MEAN,
        CIFAR100_STD,
        cifar100_class_map,
    )


def _load(
    name: str,
    data_dir: str | os.PathLike[str] | None,
    class_names: tuple[str, ...],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    class_map: ClassMap,
) -> Dataset:
    builder = prepared_builder(name, data_dir)
    train, test = (
        _in_id_order(*_read_split(builder, split), name, split, len(class_names))
        for split in ("train", "test")
    )
    return Dataset(
        name=name,
        class_names=class_names,
        num_examples=SPLIT_SIZES["train"],
        train=train,
        test=test,
        mean=mean,
        std=std,
        class_map=class_map,
    )


def _read_split(builder: Any, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """TFDS ids (bytes), images and labels of a split, in the order of arrival."""
    # batch_size=-1: all in one batch, which TFDS decodes in parallel (3 s a split).
    whole = builder.as_dataset(split=split, batch_size=-1)
    return (
        np.array(list(whole["id"].numpy()), dtype=np.bytes_),
        whole["image"].numpy(),
        whole["label"].numpy(),
    )


def _in_id_order(
    tfds_ids: np.ndarray,
    images: np.ndarray,
    labels: np.ndarray,
    name: str,
    split: str,
    num_classes: int,
) -> Examples:
    """The examples sorted by id, after checking that they are the published ones.

    Args:
        tfds_ids: bytes, shape `(n,)`: `train_00000` to `train_49999`, or `test_00000`
            to `test_09999`, in any order.
        images: uint8, shape `(n, 32, 32, 3)`, in the same order.
        labels: integers in `[0, num_classes)`, shape `(n,)`, in the same order.
        name: the data set, for the errors.
        split: `"train"` or `"test"`.
        num_classes: the number of classes.

    Raises:
        ValueError: if an id is missing, doubled or unknown, an image has another shape
            or a label is out of range.
    """

    def mismatch(expected: str, received: str) -> ValueError:
        return ValueError(
            f"The prepared {name} must have {expected} in its {split} split. Received: "
            f"{received}. Delete the prepared data set and prepare it again."
        )

    size = SPLIT_SIZES[split]
    expected_ids = np.array([f"{split}_{i:05d}" for i in range(size)], np.bytes_)
    # Five digits each: the order of the texts is the order of the numbers.
    order = np.argsort(tfds_ids, kind="stable")
    if not np.array_equal(tfds_ids[order], expected_ids):
        num_found = len(np.intersect1d(tfds_ids, expected_ids))
        raise mismatch(
            f"every id from {split}_00000 to {split}_{size - 1:05d} once",
            f"{len(tfds_ids)} ids, {num_found} of these {size} among them",
        )
    if images.shape[1:] != IMAGE_SHAPE:
        raise mismatch(f"images of shape {IMAGE_SHAPE}", f"{images.shape[1:]}")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise mismatch(
            f"labels from 0 to {num_classes - 1}", f"{labels.min()} to {labels.max()}"
        )
    ordered = labels[order].astype(np.int64)
    return Examples(np.arange(size), images[order], ordered, clean_labels=ordered)
