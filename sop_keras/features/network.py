"""A frozen network from images to features."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sop_keras.augment.standardize import standardize
from sop_keras.backbones.build import build_backbone
from sop_keras.backbones.pretrained import IMAGENET
from sop_keras.data.images.encoded_images import IMAGENET_MEAN, IMAGENET_STD
from sop_keras.training.saved_classifier import input_shape, load_classifier
from sop_keras.validation import check_integer

LAYOUT = 1
"""The version of how images become features: raised when that changes."""

DEFAULT_IMAGE_SIZE = 224
"""The side, in pixels, of the images of networks that take any size."""

# Of the head that is cut off, and of the weights that a network from scratch begins
# with: the same ones whenever it is built.
_NUM_CLASSES, _SEED = 2, 0


class FeatureNetwork:
    """A classifier without its head: from images to what its last Dense layer is fed.

    Nothing of it is trained. Images are standardised as for evaluation; those of
    another size (arrays) are made `image_size` pixels high and wide first, bilinear and
    without antialiasing, by `tf.image.resize`. Where the network takes colours, grey
    images become red, green and blue of the same value.

    Args:
        network: the classifier: a functional or sequential Keras model from one batch
            of standardised images, shape `(batch_size, height, width, channels)`, with
            a Dense layer as its head.
        image_size: the side of its images, in pixels.
        resize: the length of the shorter side of an image in a file, in pixels, before
            `image_size` pixels are cut out of its centre. At least `image_size`.
        mean: per-channel means, of pixel values scaled to [0, 1].
        std: per-channel standard deviations of the same.
        name: what `record` calls it. Defaults to `None`: a digest of its layers'
            description, for networks that have no name of their own.

    Attributes:
        num_features: D, the number of features of an image.
        image_size: as given.
        resize: as given.

    Raises:
        ValueError: if it has no Dense layer, has layers with weights after the last
            one, does not feed that one features of shape `(batch_size, D)`, or takes
            other images.
    """

    def __init__(
        self,
        network: keras.Model,
        image_size: int,
        resize: int,
        mean: Sequence[float],
        std: Sequence[float],
        name: str | None = None,
    ):
        self.image_size = check_integer("image_size", image_size, 1)
        self.resize = check_integer(
            "resize",
            resize,
            self.image_size,
            meaning="the shorter side of an image before `image_size` is cut out of it",
        )
        self._network = _without_head(network)
        self._network.trainable = False
        self._mean = tuple(map(float, mean))
        self._std = tuple(map(float, std))
        if len(self._std) != len(self._mean) or not min(self._std, default=0) > 0:
            raise ValueError(
                "`mean` and `std` must have one number for each channel, those of "
                f"`std` positive. Received: mean={mean}, std={std}."
            )
        self._channels = _checked_channels(self._network, self.image_size, self._mean)
        self.num_features = int(self._network.output_shape[-1])
        self._name = name or f"layers {_digest_of_layers(self._network)}"
        self._compiled = tf.function(self._of_pixels)

    def features(self, images: np.ndarray) -> np.ndarray:
        """The features of one batch; batches of one shape are the quickest.

        Args:
            images: uint8, shape `(n, height, width, channels)`, values 0 to 255.

        Returns:
            float32, shape `(n, num_features)`.

        Raises:
            ValueError: if the images have another number of channels.
        """
        self.check_channels(images.shape[-1])
        return np.asarray(self._compiled(images))

    def check_channels(self, channels: int) -> None:
        """Check that images with so many channels can be had features of.

        Raises:
            ValueError: if they cannot.
        """
        if channels not in (1, self._channels):
            raise ValueError(
                f"The network takes images of {self._channels} channels (grey ones, "
                f"too). Received: images of {channels}. Convert them, or take a "
                "network for such images."
            )

    def record(self) -> dict[str, Any]:
        """All that features depend on beside the images, as JSON has it.

        Weights are named by a SHA-256 over their bytes, in their order, so that others
        are noticed wherever they came from.
        """
        weights = hashlib.sha256()
        for weight in self._network.weights:
            array = np.ascontiguousarray(keras.ops.convert_to_numpy(weight))
            weights.update(f"{array.dtype.name} {array.shape}\n".encode())
            weights.update(array.tobytes())
        layers = self._network.layers
        return {
            "layout": LAYOUT,
            "backbone": self._name,
            "weights": weights.hexdigest(),
            "num_features": self.num_features,
            "image_size": self.image_size,
            "resize": self.resize,
            "mean": list(self._mean),
            "std": list(self._std),
            "precision": sorted({layer.compute_dtype for layer in layers}),
        }

    def _of_pixels(self, images: tf.Tensor) -> tf.Tensor:
        if images.shape[-1] != self._channels:
            images = tf.repeat(images, self._channels, axis=-1)
        size = (self.image_size, self.image_size)
        if tuple(images.shape[1:3]) == size:
            standardized = standardize(images, self._mean, self._std)
        else:
            resized = tf.image.resize(images, size, "bilinear", antialias=False)
            standardized = (resized / 255 - self._mean) / self._std
        return tf.cast(self._network(standardized, training=False), tf.float32)


def feature_network(
    backbone: str | os.PathLike[str],
    image_size: int | None = None,
    *,
    pretrained: str | os.PathLike[str] = IMAGENET,
    mean: float | Sequence[float] = IMAGENET_MEAN,
    std: float | Sequence[float] = IMAGENET_STD,
    resize: int | None = None,
) -> FeatureNetwork:
    """Build a frozen network, or read one, and cut its head off.

    Args:
        backbone: a name as for `build_backbone` (`"efficientnet_b0"`,
            `"keras_hub:PRESET"`, ...), or the path of a file that ends in `.keras`: a
            classifier, such as the `backbone.keras` of a complete run.
        image_size: the side of its images, in pixels. Defaults to `None`: as large as a
            network in a file takes them, or else 224.
        pretrained: as for `build_backbone`; not used for a file, which has its own
            weights. Defaults to `"imagenet"`.
        mean: per-channel means, of pixel values scaled to [0, 1], that the network's
            images are standardised with: those of the data set that a network in a file
            was trained on; or one number for all channels. Defaults to ImageNet's.
        std: per-channel standard deviations, likewise.
        resize: the length of the shorter side of an image in a file, in pixels, before
            `image_size` pixels are cut out of its centre. Defaults to `None`: 8/7 of
            `image_size`, which is 256 for 224.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if there is no such backbone, an argument is invalid, or the network
            in a file has no head that can be cut off.
        ImportError: if KerasHub is needed and not installed.
        OSError: if weights cannot be downloaded.

    Example:
    ```python
    network = feature_network("efficientnet_b0")
    features = network.features(np.zeros((2, 32, 32, 3), np.uint8))  # (2, 1280)
    ```
    """
    name = None
    if Path(backbone).suffix == ".keras":
        network = load_classifier(backbone)
        network = getattr(network, "backbone", network)
        shape = input_shape(network) or (None, None, None)
        image_size = image_size or shape[0] or DEFAULT_IMAGE_SIZE
        mean, std = (_of_channels(one, shape[-1]) for one in (mean, std))
    else:
        name = os.fspath(backbone)
        image_size = image_size or DEFAULT_IMAGE_SIZE
        mean, std = _of_channels(mean), _of_channels(std)
        network = build_backbone(
            name,
            (image_size, image_size, len(mean)),
            _NUM_CLASSES,
            _SEED,
            pretrained=pretrained,
            mean=mean,
            std=std,
        )
    if resize is None:
        resize = image_size * 8 // 7
    return FeatureNetwork(network, image_size, resize, mean, std, name)


def _of_channels(
    values: float | Sequence[float], channels: int | None = None
) -> tuple[float, ...]:
    """One number a channel, of one for all of them or of so many."""
    if isinstance(values, Sequence | np.ndarray):
        return tuple(values)
    return (values,) * (channels or 3)


def _without_head(network: keras.Model) -> keras.Model:
    """The network up to what its last Dense layer is fed."""
    layers = getattr(network, "layers", [])
    places = [i for i, one in enumerate(layers) if isinstance(one, keras.layers.Dense)]
    if not places:
        kinds = ", ".join(type(layer).__name__ for layer in layers[-3:]) or "none"
        raise ValueError(
            "Features are what the last Dense layer of a network is fed, and "
            f"{network.name!r} has none among its own layers, the last of which are: "
            f"{kinds}. Give a classifier that ends in a Dense layer."
        )
    if later := [one.name for one in layers[places[-1] + 1 :] if one.weights]:
        raise ValueError(
            f"The last Dense layer of {network.name!r}, {layers[places[-1]].name!r}, "
            f"is not its head: {', '.join(map(repr, later))} with weights of their own "
            "come after it. Give a classifier that ends in a Dense layer."
        )
    head = layers[places[-1]]
    try:
        inputs, features = network.inputs, head.input
        cut = keras.Model(inputs, features, name="features")
    except (AttributeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{network.name!r} does not say how its layers are connected: it must be a "
            "functional or sequential Keras model, built. Write a model of your own as "
            f"keras.Model(inputs, outputs). Keras says: {str(error).splitlines()[0]}"
        ) from error
    shape = cut.output_shape
    if len(shape) != 2 or shape[-1] is None:
        raise ValueError(
            f"The last Dense layer of {network.name!r}, {head.name!r}, is fed arrays "
            f"of shape {shape}. It must be fed one row of features an image, "
            "(batch_size, num_features): pool over the places before it."
        )
    return cut


def _checked_channels(
    network: keras.Model, image_size: int, mean: Sequence[float]
) -> int:
    height, width, channels = input_shape(network) or (None, None, None)
    if any(side not in (None, image_size) for side in (height, width)):
        raise ValueError(
            f"The network takes images of {height}x{width} pixels. Received: "
            f"image_size={image_size}. Leave that out for the network's own size; it "
            "must be square."
        )
    if channels not in (None, len(mean)):
        raise ValueError(
            f"The network takes images of {channels} channels, so that `mean` and "
            f"`std` (--mean, --std) must have as many numbers: those that its images "
            "were standardised with; 0 and 1 of a network that takes them in [0, 1]. "
            f"Received: mean={tuple(mean)}."
        )
    return len(mean)


def _digest_of_layers(network: keras.Model) -> str:
    """Of the description of all layers, whose names a file keeps."""
    text = json.dumps(keras.saving.serialize_keras_object(network), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
