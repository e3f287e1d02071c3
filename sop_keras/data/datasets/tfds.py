"""Any image classification data set that TensorFlow Datasets (TFDS) has prepared."""

from __future__ import annotations

import difflib
import logging
import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from sop_keras.data.datasets.dataset import Dataset, Examples
from sop_keras.data.datasets.tfrecords import read_records
from sop_keras.data.images.encoded_images import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    EncodedImages,
)

logger = logging.getLogger(__name__)

# Images of one shape that fit in so many bytes are decoded once, into memory.
MAX_BYTES_IN_MEMORY = 2 * 2**30

_SPLITS = ("train", "validation", "test")
_BATCH_SIZE = 1000


def load_tfds(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    resize: int = 256,
    image_size: int = 224,
) -> Dataset:
    """A TFDS data set of images with one label each; no download.

    The image and the label are the data set's supervised keys, or else its features
    `image` and `label`. Its split `train` is trained on. `test` is the test set and
    `validation` the validation set; where there is no `test`, `validation` is the test
    set. A split whose labels are all -1, as TFDS marks labels that were kept secret,
    counts as not there.

    8-bit images of one shape that take at most 2 GiB together are held in memory as
    they are; `resize` and `image_size` are not used, and `mean` and `std` are those of
    the training pixels. All others stay in their TFRecord files, are decoded batch by
    batch, and have ImageNet's mean and standard deviation.

    Args:
        name: what `tfds.builder` takes: `"mnist"`, or with a configuration and a
            version, `"name/config:1.0.0"`.
        data_dir: the folder of prepared data sets. Defaults to TFDS' own,
            `~/tensorflow_datasets` unless TFDS is told otherwise.
        resize: the length of the shorter side, in pixels, before a crop is cut out.
            Defaults to `256`.
        image_size: the side of the crop, at most `resize`. Defaults to `224`.

    Returns:
        A data set called `tfds:` and the name. An id is a place in TFDS' own order:
        shard by shard, record by record. It is stable for a prepared data set, not
        from one version of it to another.

    Raises:
        ImportError: if tensorflow-datasets is not installed.
        FileNotFoundError: if the data set is not prepared, with the command that does
            it, or a file of it is missing.
        ValueError: if TFDS has no such data set, it has no training split, or not one
            image and one label an example; and as `read_records`.
    """
    builder = prepared_builder(name, data_dir)
    columns = _columns(builder)
    splits = [split for split in _SPLITS if split in builder.info.splits]
    if "train" not in splits:
        raise ValueError(
            f"{name} has no split 'train' to train on. It has: "
            f"{', '.join(builder.info.splits)}."
        )
    in_memory = _fits_in_memory(builder, columns, splits)
    examples = {}
    for split in splits:
        records, labels = read_records(
            builder,
            split,
            image_feature=columns.image,
            label_feature=columns.label,
            resize=resize,
            image_size=image_size,
        )
        if split != "train" and (labels == -1).all():
            logger.warning("%s: left out %s, all its labels are -1", name, split)
            continue
        _check_labels(labels, len(columns.class_names), f"{name}, split {split!r}")
        images = _decoded(builder, split, columns.image) if in_memory else records
        examples[split] = Examples(np.arange(len(labels)), images, labels)

    mean, std = _statistics(examples["train"].images)
    validation = examples.get("validation")
    return Dataset(
        name=f"tfds:{name}",
        class_names=columns.class_names,
        num_examples=len(examples["train"]),
        train=examples["train"],
        test=examples.get("test", validation),
        mean=mean,
        std=std,
        validation=validation if "test" in examples else None,
    )


def prepared_builder(name: str, data_dir: str | os.PathLike[str] | None) -> Any:
    """The `tfds.core.DatasetBuilder` of a prepared data set.

    Args:
        name: as for `load_tfds`.
        data_dir: as for `load_tfds`.

    Raises:
        ImportError: if tensorflow-datasets is not installed.
        FileNotFoundError: if the data set is not prepared.
        ValueError: if TFDS has no such data set, configuration or version.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ImportError(
            f"{name} is read through tensorflow-datasets, which is not installed. Run: "
            "pip install tensorflow-datasets importlib_resources"
        ) from error
    folder = None if data_dir is None else os.fspath(data_dir)
    try:
        builder = tfds.builder(name, data_dir=folder)
    except tfds.core.DatasetNotFoundError as error:
        _check_not_its_own_folder(name, folder)
        known = tfds.list_builders(with_community_datasets=False)
        close = difflib.get_close_matches(name.split("/")[0].split(":")[0], known)
        raise ValueError(
            f"tensorflow-datasets knows no data set {name!r}, and there is none in "
            f"{folder or 'its own folder'}. "
            + (f"Did you mean {' or '.join(close)}? " if close else "")
            + "Give its name, and the `data_dir` that has it if it is one of your own."
        ) from error
    except (AssertionError, ValueError) as error:
        raise ValueError(
            f"tensorflow-datasets cannot give {name!r}: {error} Give a name, "
            "configuration and version that it has, as in 'name/config:1.0.0'."
        ) from error
    if not builder.is_prepared():
        _check_not_its_own_folder(name, folder)
        arguments = f"'{name}'" if folder is None else f"'{name}', data_dir={folder!r}"
        raise FileNotFoundError(
            f"No prepared {name} in {builder.data_dir}. Give the `data_dir` that has "
            "it, or prepare it once (a download) with:\n"
            'python -c "import tensorflow_datasets as tfds; '
            f'tfds.load({arguments})"'
        )
    return builder


def _check_not_its_own_folder(name: str, folder: str | None) -> None:
    """Check that `data_dir` is not the data set's own folder, or a version's in it.

    Raises:
        FileNotFoundError: if a folder above has the data set prepared.
    """
    import tensorflow_datasets as tfds

    if folder is None:
        return
    above = os.path.abspath(folder)
    for _ in range(3):  # name/config/version at most
        above = os.path.dirname(above)
        try:
            is_there = tfds.builder(name, data_dir=above).is_prepared()
        except (tfds.core.DatasetNotFoundError, AssertionError, ValueError):
            continue
        if is_there:
            raise FileNotFoundError(
                f"No prepared {name} below {folder}, which is the data set's own "
                f"folder. Give the one above: data_dir={above!r}."
            )


@dataclass(frozen=True)
class _Columns:
    """The names of the two features, and those of the classes."""

    image: str
    label: str
    class_names: tuple[str, ...]


def _columns(builder: Any) -> _Columns:
    import tensorflow_datasets as tfds

    info = builder.info
    features = {}
    if isinstance(info.features, tfds.features.FeaturesDict):
        features = dict(info.features.items())
    for pair in (info.supervised_keys, ("image", "label")):
        # Supervised keys may also be three, or nested in tuples and dictionaries.
        if pair is None or len(pair) != 2:
            continue
        image, label = (
            features.get(name) if isinstance(name, str) else None for name in pair
        )
        if not isinstance(image, tfds.features.Image):
            continue
        if not isinstance(label, tfds.features.ClassLabel) or not label.num_classes:
            continue
        # TFDS stores the bits of floats as if they were the bytes of RGBA pixels.
        if image.np_dtype == np.float32:
            raise ValueError(
                f"The images of {info.full_name} are float32. They must be of 8 or 16 "
                "bits: prepare the data set with such ones."
            )
        return _Columns(pair[0], pair[1], tuple(label.names))
    found = sorted(f"{name} ({type(f).__name__})" for name, f in features.items())
    raise ValueError(
        f"{info.full_name} must have an Image and a ClassLabel, as its supervised keys "
        "or called 'image' and 'label'. Received: supervised keys "
        f"{info.supervised_keys}; features {', '.join(found) or info.features}. "
        "Prepare a data set that has them, or list its images in a manifest."
    )


def _fits_in_memory(builder: Any, columns: _Columns, splits: list[str]) -> bool:
    """Whether the images are 8-bit ones of one shape, grey or RGB, and few."""
    feature = builder.info.features[columns.image]
    shape = feature.shape
    if None in shape or shape[-1] not in (1, 3) or feature.np_dtype != np.uint8:
        return False
    num_images = sum(builder.info.splits[split].num_examples for split in splits)
    return num_images * math.prod(shape) <= MAX_BYTES_IN_MEMORY


def _decoded(builder: Any, split: str, image_feature: str) -> np.ndarray:
    """The images of a split, in the order of `read_records`."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    num_images = builder.info.splits[split].num_examples
    images = np.zeros((num_images, *builder.info.features[image_feature].shape), "u1")
    batches = builder.as_dataset(
        split=split,
        batch_size=_BATCH_SIZE,
        shuffle_files=False,
        decoders=tfds.decode.PartialDecoding({image_feature: True}),
        # One file after the other, not a few records of each in turn.
        read_config=tfds.ReadConfig(interleave_cycle_length=1),
    )
    try:
        for number, batch in enumerate(batches):
            start = number * _BATCH_SIZE
            images[start : start + _BATCH_SIZE] = batch[image_feature].numpy()
    except tf.errors.OpError as error:
        raise ValueError(
            f"An image of {builder.info.full_name}, split {split!r}, cannot be decoded:"
            f" {error.message} Prepare or copy the data set again."
        ) from error
    return images


def _check_labels(labels: np.ndarray, num_classes: int, where: str) -> None:
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(wrong):
        raise ValueError(
            f"The labels of {where} must be from 0 to {num_classes - 1}. Received: "
            f"{len(wrong)} others, the first {labels[wrong[0]]}, of example {wrong[0]}."
            " Prepare the data set again with labels of its classes."
        )


def _statistics(
    images: np.ndarray | EncodedImages,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Per-channel means and standard deviations of pixels scaled to [0, 1].

    Those of the pixels, or ImageNet's where these are not in memory.
    """
    if isinstance(images, EncodedImages):
        return IMAGENET_MEAN, IMAGENET_STD
    # Out of counts of the 256 values: exact, and without a copy of all in floats.
    values = np.arange(256)
    means, stds = [], []
    for channel in range(images.shape[-1]):
        counts = np.zeros(256)
        for i in range(0, len(images), _BATCH_SIZE):
            pixels = images[i : i + _BATCH_SIZE, ..., channel].ravel()
            counts += np.bincount(pixels, minlength=256)
        mean = np.average(values, weights=counts)
        variance = np.average((values - mean) ** 2, weights=counts)
        means.append(float(mean) / 255)
        stds.append(float(variance) ** 0.5 / 255)
    return tuple(means), tuple(stds)
