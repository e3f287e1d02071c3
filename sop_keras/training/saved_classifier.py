"""A classifier read from a file, and the images that it takes."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import BinaryIO

import keras

import sop_keras
from sop_keras.data.datasets.dataset import Dataset
from sop_keras.files.archives import check_address_space, check_unpacked
from sop_keras.files.untrusted import NO_LIMIT, open_untrusted

MAX_CONFIG_BYTES = 2**24
"""How long the description of a model's layers may be: 16 MiB."""

# Of a `.keras` file, what is no weights.
_LIMITS = {"config.json": MAX_CONFIG_BYTES, "metadata.json": 2**20}
# For each byte of JSON when it is parsed and made into layers, and for each of weights:
# the file, unpacked, and as variables.
_BYTES_OF_CONFIG, _BYTES_OF_WEIGHTS = 20, 3


def load_classifier(path: str | os.PathLike[str]) -> keras.Model:
    """The model in a file, to be used as it is, not trained.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if it is no regular file.
        ValueError: if it is not one that Keras can load, its layers' description has
            more than `MAX_CONFIG_BYTES`, or its members are far larger than the file.
        MemoryError: if a limit of the process leaves no room for it.
    """
    path = Path(path)
    if not path.exists() or path.is_dir():
        raise FileNotFoundError(
            f"There is no model {path}. Give the file of a saved Keras model, such as "
            "the backbone.keras of a complete run."
        )
    with open_untrusted(path, NO_LIMIT) as file:
        _check_members(path, file)
    try:
        # Keras takes no open file: it opens by name what was looked at above.
        _ = sop_keras.NoisyLabelModel  # and with it, all classes that Keras looks for
        model = keras.saving.load_model(path, compile=False)
    except MemoryError as error:
        raise MemoryError(f"There is not enough memory to load {path}.") from error
    except Exception as error:  # whatever the readers of zip, JSON and HDF5 raise
        if (name := _unknown_own_class(path)) is not None:
            raise ValueError(
                f"{path} holds a {name}, which this version of sop_keras does not "
                "have. The network is in the backbone.keras beside it: give that file."
            ) from error
        # Where classes are unknown, Keras puts all of the model's settings around it.
        reason = str(error).rpartition("Exception encountered: ")[2].strip()
        reason = reason.partition(" Full object config")[0].partition("\n")[0]
        raise ValueError(
            f"{path} cannot be loaded. It must be a Keras model, whole, saved by "
            "model.save() of Keras 3, and free of layers of other packages. Keras "
            f"says: {reason or type(error).__name__}"
        ) from error
    if not isinstance(model, keras.Model):
        raise ValueError(f"{path} holds a {type(model).__name__}, not a keras.Model.")
    return model


def _check_members(path: Path, file: BinaryIO) -> None:
    """Check the sizes of what is in a file before any of it is unpacked."""
    if path.suffix != ".keras" or not zipfile.is_zipfile(file):
        return  # which Keras finds out, too
    total = check_unpacked(file, path, _LIMITS)
    with zipfile.ZipFile(file) as archive:
        sizes = {one.filename: one.file_size for one in archive.infolist()}
    config = sizes.get("config.json", 0)
    needed = _BYTES_OF_CONFIG * config + _BYTES_OF_WEIGHTS * (total - config)
    check_address_space(path, needed)


def _unknown_own_class(path: Path) -> str | None:
    """The class of the model in a file, if another version of this package had it."""
    try:
        with open_untrusted(path, NO_LIMIT) as file, zipfile.ZipFile(file) as archive:
            config = json.loads(archive.read("config.json"))
        name = str(config["registered_name"])
    except (
        OSError,
        zipfile.BadZipFile,
        KeyError,
        TypeError,
        ValueError,
        RecursionError,
    ):
        return None
    package, _, name = name.partition(">")
    is_known = keras.saving.get_registered_object(f"{package}>{name}") is not None
    return name if package == "sop_keras" and not is_known else None


def input_shape(model: keras.Model) -> tuple[int | None, ...] | None:
    """`(height, width, channels)` of the images that a model takes.

    Returns:
        The shape, with None for what may be of any size; or None where the model does
        not say.

    Raises:
        ValueError: if it takes anything else than one batch of images.
    """
    backbone = getattr(model, "backbone", None)
    if isinstance(backbone, keras.Model):
        model = backbone
    shape = getattr(model, "input_shape", None)
    if shape is not None and (
        not isinstance(shape, tuple)
        or len(shape) != 4
        or any(isinstance(size, tuple) for size in shape)
    ):
        raise ValueError(
            "The model must take one batch of images, of shape (batch_size, height, "
            f"width, channels). Its inputs are: {shape}."
        )
    return None if shape is None else shape[1:]


def check_image_shape(model: keras.Model, dataset: Dataset) -> None:
    """Check that the model takes images of the size that the data set gives.

    Raises:
        ValueError: if it does not.
    """
    expected, given = input_shape(model), dataset.train.image_shape
    if expected is not None and any(
        size not in (None, other) for size, other in zip(expected, given, strict=True)
    ):
        raise ValueError(
            f"The model takes images of shape {expected}, those of {dataset.name} are "
            f"{given}. Choose the data set that it was trained on or one like it; "
            "images in files can be cut to its size (image_size, at most resize)."
        )
