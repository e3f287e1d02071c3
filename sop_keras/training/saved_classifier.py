"""A classifier read from a file, and the images that it takes."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import keras

import sop_keras
from sop_keras.data.datasets.dataset import Dataset


def load_classifier(path: str | os.PathLike[str]) -> keras.Model:
    """The model in a file, to be used as it is, not trained.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not one that Keras can load.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no model {path}. Give the file of a saved Keras model, such as "
            "the backbone.keras of a complete run."
        )
    try:
        _ = sop_keras.NoisyLabelModel  # and with it, all classes that Keras looks for
        model = keras.saving.load_model(path, compile=False)
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


def _unknown_own_class(path: Path) -> str | None:
    """The class of the model in a file, if another version of this package had it."""
    try:
        with zipfile.ZipFile(path) as file:
            config = json.loads(file.read("config.json"))
        name = str(config["registered_name"])
    except (OSError, zipfile.BadZipFile, KeyError, TypeError, ValueError):
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
