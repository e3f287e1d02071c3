"""The backbones of KerasHub's presets under a new head, for standardised images."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from sop_keras.backbones import layers
from sop_keras.backbones.initializers import default_seeds, layer_seeds
from sop_keras.backbones.input_scaling import checked_statistics, preprocessed
from sop_keras.backbones.names import PREFIX
from sop_keras.backbones.pretrained import FROM_SCRATCH, IMAGENET


def keras_hub_backbone(
    preset: str,
    input_shape: Sequence[int],
    num_classes: int,
    seed: int | None = None,
    *,
    pretrained: str | os.PathLike[str] = FROM_SCRATCH,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> keras.Model:
    """The backbone of a KerasHub preset, its output averaged, and a new head.

    Its input is the standardised image, `(pixels / 255 - mean) / std`, red before green
    before blue. With the preset's weights it is turned into what they were trained on,
    by one layer in front that does what the preset's image converter does to pixels but
    for the resizing. From scratch, the backbone takes the standardised image itself.

    Maps `(height, width, channels)` are averaged over all places and token sequences
    `(tokens, channels)` over all tokens; the rest starts and normalises as KerasHub
    made it. A saved model needs `import keras_hub` to load.

    Args:
        preset: what KerasHub's `from_preset` takes: the name of a preset, such as
            `"resnet_50_imagenet"`, or a folder that `save_to_preset` wrote.
        input_shape: `(height, width, channels)`, 3 channels with weights; the preset's
            own where it has a fixed one, as vision transformers do.
        num_classes: the number of classes.
        seed: a non-negative integer for the same weights in every build, whatever was
            built before, or `None` for Keras' global seed. Defaults to `None`.
        pretrained: `"none"`, or `"imagenet"` for the preset's weights, whatever they
            were trained on. Defaults to `"none"`.
        mean: per-channel means, of pixel values scaled to [0, 1], that the images were
            standardised with. Needed with weights. Defaults to `None`.
        std: per-channel standard deviations, likewise.

    Returns:
        A functional model from images, shape `(batch_size, *input_shape)`, to float32
        logits, shape `(batch_size, num_classes)`.

    Raises:
        ImportError: if KerasHub is not installed.
        ValueError: if an argument is invalid, or the preset is unknown, is none for
            images or has no image converter to take the scaling from.
        OSError: if the preset's files cannot be read or downloaded.
    """
    keras_hub = _import_keras_hub()
    if pretrained not in (FROM_SCRATCH, IMAGENET):
        raise ValueError(
            "A KerasHub preset brings its own weights: `pretrained` must be "
            f'"imagenet" to load them or "none". Received: pretrained={pretrained!r}. '
            f"Weights of your own are a preset too: {PREFIX}FOLDER, written by "
            "save_to_preset."
        )
    inputs = layers.image_input(input_shape)
    seeds = layer_seeds(seed)
    x = inputs
    if pretrained != FROM_SCRATCH:
        mean, std = checked_statistics(input_shape, mean, std)
        x = preprocessed(inputs, _converter(keras_hub, preset), mean, std)
    with default_seeds(next(seeds)):
        backbone = _load(
            keras_hub.models.Backbone, preset, load_weights=pretrained != FROM_SCRATCH
        )
    _check_input(backbone, preset, tuple(input_shape))
    outputs = layers.logits(_pooled(backbone, preset, x), num_classes, seeds)
    return keras.Model(inputs, outputs, name=backbone.name)


def _import_keras_hub() -> Any:
    try:
        import keras_hub
    except ImportError as error:
        raise ImportError(
            f"Backbones {PREFIX}PRESET need KerasHub, which is an extra of this "
            'package: pip install "sop-keras[keras-hub]".'
        ) from error
    return keras_hub


def _load(kind: Any, preset: str, **options: bool) -> Any:
    """`kind.from_preset`, with a hint where the preset cannot be downloaded."""
    try:
        return kind.from_preset(preset, **options)
    except FileNotFoundError:  # the preset is there, without this file
        raise
    except OSError as error:
        raise OSError(
            f"KerasHub could not download the preset {preset!r} ({error}). Where there "
            "is no network, download its folder elsewhere and name that: "
            f"{PREFIX}FOLDER."
        ) from error


def _converter(keras_hub: Any, preset: str) -> Callable[[np.ndarray], Any]:
    """What the preset does to pixels, but for the resizing."""
    try:
        converter = _load(keras_hub.layers.ImageConverter, preset)
    except FileNotFoundError as error:
        raise ValueError(
            f"The KerasHub preset {preset!r} has no image converter, so that nothing "
            "says how its input is scaled. Save one to its folder with "
            'save_to_preset, or train from scratch: pretrained="none".'
        ) from error
    converter.image_size = None
    converter.dtype_policy = "float32"
    return converter


def _check_input(backbone: Any, preset: str, input_shape: tuple[int, ...]) -> None:
    """Refuse backbones of anything but images of this shape."""
    expected = getattr(backbone.input, "shape", ())[1:]  # inputs may be a dictionary
    if len(expected) != 3:
        raise ValueError(
            f"The KerasHub preset {preset!r} is a {type(backbone).__name__}, whose "
            "input is not one image. Take the preset of an image backbone."
        )
    if any(e not in (None, r) for e, r in zip(expected, input_shape, strict=True)):
        raise ValueError(
            f"The KerasHub preset {preset!r} takes images of shape {expected}, None "
            f"for any size. Received: input_shape={input_shape}. Give it such images, "
            "or take another preset."
        )


def _pooled(backbone: Any, preset: str, images: keras.KerasTensor) -> keras.KerasTensor:
    """The average of the backbone's output over all places, for each channel."""
    features = backbone(images)
    rank = len(getattr(features, "shape", ()))
    if rank == 4:
        return keras.layers.GlobalAveragePooling2D(name="pool")(features)
    if rank == 3:
        return keras.layers.GlobalAveragePooling1D(name="pool")(features)
    if rank == 2:
        return features
    raise ValueError(
        f"The KerasHub preset {preset!r} is a {type(backbone).__name__}, whose output "
        "is not one tensor of features. Take the preset of an image classifier."
    )
