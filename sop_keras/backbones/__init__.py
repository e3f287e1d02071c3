"""The networks: the paper's for CIFAR, and small ones for CPUs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras

from sop_keras.backbones.cnn import cnn
from sop_keras.backbones.mlp import mlp
from sop_keras.backbones.preact_resnet import preact_resnet18
from sop_keras.backbones.resnet import resnet34

__all__ = [
    "BACKBONES",
    "build_backbone",
    "cnn",
    "mlp",
    "preact_resnet18",
    "resnet34",
]

BACKBONES: dict[str, Callable[[Sequence[int], int, int | None], keras.Model]] = {
    "cnn": cnn,
    "mlp": mlp,
    "preact_resnet18": preact_resnet18,
    "resnet34": resnet34,
}


def build_backbone(
    name: str, input_shape: Sequence[int], num_classes: int, seed: int | None = None
) -> keras.Model:
    """Build the network that `name` stands for.

    Args:
        name: `"resnet34"` (SOP) or `"preact_resnet18"` (SOP+), the paper's for CIFAR;
            `"cnn"` (images from 8x8 pixels) or `"mlp"` (digits), small ones for CPUs.
        input_shape: `(height, width, channels)`.
        num_classes: the number of classes.
        seed: a non-negative integer for the same weights in every build, whatever was
            built before, or `None` for Keras' global seed. Defaults to `None`.

    Returns:
        A functional model from images, shape `(batch_size, *input_shape)`, to logits,
        float32 of shape `(batch_size, num_classes)`. Its weights start as PyTorch's do
        (`initializers.fan_in_uniform`), and so do its BatchNorm constants.

    Raises:
        ValueError: if the name is unknown, or `input_shape` or `seed` is invalid.

    Example:
    ```python
    model = build_backbone("cnn", (32, 32, 3), num_classes=10, seed=0)
    ```
    """
    if name not in BACKBONES:
        raise ValueError(
            f"Unknown backbone {name!r}. Known ones: {', '.join(sorted(BACKBONES))}."
        )
    return BACKBONES[name](input_shape, num_classes, seed)
