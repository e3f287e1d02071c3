"""The networks: the paper's, small ones for CPUs, those of Keras and KerasHub."""

from __future__ import annotations

import os
import pkgutil
from collections.abc import Sequence
from typing import Any

import keras

from sop_keras.backbones.applications import application
from sop_keras.backbones.keras_hub import keras_hub_backbone
from sop_keras.backbones.names import (
    APPLICATIONS,
    BACKBONES,
    OF_IMAGES,
    PREFIX,
    WITH_WEIGHTS,
    check_backbone_name,
    snake_case,
)
from sop_keras.backbones.pretrained import FROM_SCRATCH


def build_backbone(
    name: str,
    input_shape: Sequence[int],
    num_classes: int,
    seed: int | None = None,
    *,
    pretrained: str | os.PathLike[str] = FROM_SCRATCH,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    images: Any = None,
) -> keras.Model:
    """Build the network that `name` stands for.

    Args:
        name: `"resnet34"` (SOP) or `"preact_resnet18"` (SOP+), the paper's for CIFAR;
            `"resnet50"` (Clothing1M) or `"inception_resnet_v2"` (WebVision), the
            paper's for large images; `"efficientnet_lite0"`, small, whose weights come
            as a Python package; `"cnn"` (images from 8x8 pixels) or `"mlp"`
            (digits), small ones for CPUs; `"fast_cnn"` or `"fast_cnn_wide"`, which
            learn CIFAR-10 in a few passes; any other network of keras.applications, as
            Keras writes it or in snake case (`"EfficientNetB0"`, `"efficientnet_b0"`);
            or `"keras_hub:PRESET"`, the backbone of a preset of KerasHub.
        input_shape: `(height, width, channels)`.
        num_classes: the number of classes.
        seed: a non-negative integer for the same weights in every build, whatever was
            built before, or `None` for Keras' global seed. Defaults to `None`.
        pretrained: `"none"` to start from scratch; `"imagenet"` for the weights that
            Keras or KerasHub downloads, or that an installed package has (of
            efficientnet_lite0); or the path of a file of weights: of keras.applications
            `.weights.h5`, `.h5` or `.keras`, of efficientnet_lite0 `.pth`. The networks
            for CIFAR, `"cnn"` and `"mlp"` have none. Defaults to `"none"`.
        mean: per-channel means, of pixel values scaled to [0, 1], that the images were
            standardised with. Needed with weights, ignored without. Defaults to `None`.
        std: per-channel standard deviations, likewise.
        images: standardised training images, shape `(n, *input_shape)`, which
            `"fast_cnn"` and `"fast_cnn_wide"` need to see; others ignore them. Defaults
            to `None`.

    Returns:
        A functional model from images, shape `(batch_size, *input_shape)`, standardised
        whether it has weights or not, to logits, float32 of shape `(batch_size,
        num_classes)`. From scratch, the weights of the paper's networks, `"cnn"` and
        `"mlp"` start as PyTorch's do, and so does every head. Their BatchNorm has
        PyTorch's momentum and, but for the two of keras.applications, its epsilon.

    Raises:
        ValueError: if the name is unknown, an argument is invalid, there are no weights
            of this network, or the file's are of another.
        FileNotFoundError: if `pretrained` is the path of no file.
        ImportError: if KerasHub is needed and not installed.
        OSError: if weights cannot be downloaded.

    Example:
    ```python
    model = build_backbone("cnn", (32, 32, 3), num_classes=10, seed=0)
    ```
    """
    check_backbone_name(name)
    weights: dict[str, Any] = {"pretrained": pretrained, "mean": mean, "std": std}
    if name.startswith(PREFIX) or snake_case(name) in APPLICATIONS:
        build = keras_hub_backbone if name.startswith(PREFIX) else application
        preset = name.removeprefix(PREFIX)
        return build(preset, input_shape, num_classes, seed, **weights)
    build = pkgutil.resolve_name(BACKBONES[name])
    if name in WITH_WEIGHTS:
        return build(input_shape, num_classes, seed, **weights)
    if pretrained != FROM_SCRATCH:
        raise ValueError(
            f'`pretrained` must be "none" for {name!r}: there are no published weights '
            f"of it. Received: pretrained={str(pretrained)!r}. There are some of "
            f"{', '.join(WITH_WEIGHTS)} and the others of keras.applications: "
            f"{', '.join(APPLICATIONS)}."
        )
    if name in OF_IMAGES:
        return build(input_shape, num_classes, seed, images=images)
    return build(input_shape, num_classes, seed)
