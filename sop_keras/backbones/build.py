"""The networks: the paper's, small ones for CPUs, those of Keras and KerasHub."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import keras

from sop_keras.backbones.applications import (
    APPLICATIONS,
    application,
    inception_resnet_v2,
    resnet50,
    snake_case,
)
from sop_keras.backbones.cnn import cnn
from sop_keras.backbones.keras_hub import PREFIX, keras_hub_backbone
from sop_keras.backbones.mlp import mlp
from sop_keras.backbones.preact_resnet import preact_resnet18
from sop_keras.backbones.pretrained import FROM_SCRATCH
from sop_keras.backbones.resnet import resnet34

__all__ = [
    "BACKBONES",
    "application",
    "backbone_names",
    "build_backbone",
    "check_backbone_name",
    "cnn",
    "inception_resnet_v2",
    "keras_hub_backbone",
    "mlp",
    "preact_resnet18",
    "resnet34",
    "resnet50",
]

# The small ones, and the networks of the paper.
BACKBONES: dict[str, Callable[[Sequence[int], int, int | None], keras.Model]] = {
    "cnn": cnn,
    "inception_resnet_v2": inception_resnet_v2,
    "mlp": mlp,
    "preact_resnet18": preact_resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
}


def backbone_names() -> list[str]:
    """All names that `build_backbone` knows, sorted, but for KerasHub's presets."""
    return sorted({*BACKBONES, *APPLICATIONS})


def check_backbone_name(name: str) -> None:
    """Refuse a name that `build_backbone` does not know.

    Presets of KerasHub are only looked for when they are built.

    Args:
        name: as for `build_backbone`.

    Raises:
        ValueError: if the name is unknown; the message has the known ones.
    """
    if name in BACKBONES or snake_case(name) in APPLICATIONS:
        return
    if name.startswith(PREFIX) and name != PREFIX:
        return
    raise ValueError(
        f"Unknown backbone {name!r}. Known ones: {', '.join(backbone_names())}; and "
        f"{PREFIX}PRESET for a preset of KerasHub or a folder that holds one."
    )


def build_backbone(
    name: str,
    input_shape: Sequence[int],
    num_classes: int,
    seed: int | None = None,
    *,
    pretrained: str | os.PathLike[str] = FROM_SCRATCH,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> keras.Model:
    """Build the network that `name` stands for.

    Args:
        name: `"resnet34"` (SOP) or `"preact_resnet18"` (SOP+), the paper's for CIFAR;
            `"resnet50"` (Clothing1M) or `"inception_resnet_v2"` (WebVision), the
            paper's for large images; `"cnn"` (images from 8x8 pixels) or `"mlp"`
            (digits), small ones for CPUs; any other network of keras.applications, as
            Keras writes it or in snake case (`"EfficientNetB0"`, `"efficientnet_b0"`);
            or `"keras_hub:PRESET"`, the backbone of a preset of KerasHub.
        input_shape: `(height, width, channels)`.
        num_classes: the number of classes.
        seed: a non-negative integer for the same weights in every build, whatever was
            built before, or `None` for Keras' global seed. Defaults to `None`.
        pretrained: `"none"` to start from scratch; `"imagenet"` for the weights that
            Keras or KerasHub downloads; or the path of a file of weights of
            keras.applications, `.weights.h5`, `.h5` or `.keras`. The networks for CIFAR
            and the small ones have none. Defaults to `"none"`.
        mean: per-channel means, of pixel values scaled to [0, 1], that the images were
            standardised with. Needed with weights, ignored without. Defaults to `None`.
        std: per-channel standard deviations, likewise.

    Returns:
        A functional model from images, shape `(batch_size, *input_shape)`, standardised
        whether it has weights or not, to logits, float32 of shape `(batch_size,
        num_classes)`. From scratch, the weights of the networks in `BACKBONES` start as
        PyTorch's do (`initializers.fan_in_uniform`), and so does every head. Their
        BatchNorm has PyTorch's momentum and, but for the two of keras.applications, its
        epsilon.

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
    if name.startswith(PREFIX) or snake_case(name) in APPLICATIONS:
        build = keras_hub_backbone if name.startswith(PREFIX) else application
        return build(
            name.removeprefix(PREFIX),
            input_shape,
            num_classes,
            seed,
            pretrained=pretrained,
            mean=mean,
            std=std,
        )
    if pretrained != FROM_SCRATCH:
        raise ValueError(
            f'`pretrained` must be "none" for {name!r}: there are no published weights '
            f"of it. Received: pretrained={str(pretrained)!r}. Those of "
            f"keras.applications have some: {', '.join(APPLICATIONS)}."
        )
    return BACKBONES[name](input_shape, num_classes, seed)
