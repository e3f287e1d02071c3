"""The networks of keras.applications under a new head, for standardised images."""

from __future__ import annotations

import functools
import inspect
import math
import os
from collections.abc import Callable, Iterator, Sequence

import keras

from sop_keras.backbones import layers
from sop_keras.backbones.initializers import default_seeds, fan_in_uniform, layer_seeds
from sop_keras.backbones.input_scaling import checked_statistics, preprocessed
from sop_keras.backbones.names import APPLICATIONS, snake_case
from sop_keras.backbones.pretrained import (
    FROM_SCRATCH,
    IMAGENET,
    check_pretrained,
    load_weights_file,
)

# The least height and width in pixels, where it is not 32.
_SMALLEST = {"inception_resnet_v2": 75, "inception_v3": 75, "xception": 71}

# The paper's networks, which its authors took from PyTorch.
_PAPER = ("inception_resnet_v2", "resnet50")


def application(
    name: str,
    input_shape: Sequence[int],
    num_classes: int,
    seed: int | None = None,
    *,
    pretrained: str | os.PathLike[str] = FROM_SCRATCH,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> keras.Model:
    """A network of keras.applications: its features, average pooling, a new head.

    Its input is the standardised image, `(pixels / 255 - mean) / std`, red before green
    before blue, with weights and without.

    - With weights, the input is turned into what they were trained on (values from -1
      to 1, say, or blue before red) by two layers without weights in front, so that the
      outputs are those of Keras' network on `preprocess_input(pixels)`.
    - From scratch, the first convolution sees the standardised image itself: what some
      networks (EfficientNet, ConvNeXt, MobileNetV3) do to pixels inside is left out or
      undone.

    The paper's two networks, `resnet50` and `inception_resnet_v2`, start from scratch
    as PyTorch's do (`initializers.fan_in_uniform`), and their BatchNorm has PyTorch's
    momentum, 0.9 in Keras' terms, with weights too; its epsilon is Keras' (1.001e-5 and
    1e-3). All other networks start and normalise as Keras made them.

    Args:
        name: Keras' name of the network, such as `"EfficientNetB0"`, or that in snake
            case, `"efficientnet_b0"`: a key of `names.APPLICATIONS`.
        input_shape: `(height, width, channels)`, 3 channels with weights. At least
            32x32 pixels, 71x71 for Xception, 75x75 for the Inception networks.
        num_classes: the number of classes.
        seed: a non-negative integer for the same weights in every build, whatever was
            built before, or `None` for Keras' global seed. Defaults to `None`.
        pretrained: `"none"`; `"imagenet"`, the weights that Keras downloads; or the
            path of a file of such weights, with the top of 1000 classes or without.
            Defaults to `"none"`.
        mean: per-channel means, of pixel values scaled to [0, 1], that the images were
            standardised with. Needed with weights. Defaults to `None`.
        std: per-channel standard deviations, likewise.

    Returns:
        A functional model of Keras' own layers from images, shape `(batch_size,
        *input_shape)`, to float32 logits, shape `(batch_size, num_classes)`.

    Raises:
        ValueError: if an argument is invalid, or the file's weights are of another
            network.
        FileNotFoundError: if there is no such file.
        OSError: if the weights of ImageNet cannot be downloaded.
    """
    key = snake_case(name)
    if key not in APPLICATIONS:
        raise ValueError(
            f"keras.applications has no network {name!r}. Known ones: "
            f"{', '.join(APPLICATIONS)}."
        )
    check_pretrained(pretrained)
    family = _published(key).__module__.rpartition(".")[2]
    inputs = layers.image_input(input_shape, _SMALLEST.get(family, 32))
    seeds = layer_seeds(seed)
    with default_seeds(next(seeds)):
        if pretrained == FROM_SCRATCH:
            network = _untrained(key, inputs)
        else:
            mean, std = checked_statistics(input_shape, mean, std)
            preprocess = getattr(keras.applications, family).preprocess_input
            x = preprocessed(inputs, preprocess, mean, std)
            network = _trained(key, x, pretrained)
    if key in _PAPER:
        if pretrained == FROM_SCRATCH:
            _start_as_in_pytorch(network, seeds)
        for layer in network.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = 0.9
    outputs = layers.logits(network.output, num_classes, seeds)
    return keras.Model(inputs, outputs, name=network.name)


def resnet50(
    input_shape: Sequence[int],
    num_classes: int,
    seed: int | None = None,
    *,
    pretrained: str | os.PathLike[str] = FROM_SCRATCH,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> keras.Model:
    """ResNet50 (He et al. 2016, arXiv 1512.03385): 23.59 M parameters and a head.

    The network of Clothing1M, with the weights of ImageNet (Table A.1). Arguments and
    errors are those of `application`.
    """
    return application(
        "resnet50",
        input_shape,
        num_classes,
        seed,
        pretrained=pretrained,
        mean=mean,
        std=std,
    )


def inception_resnet_v2(
    input_shape: Sequence[int],
    num_classes: int,
    seed: int | None = None,
    *,
    pretrained: str | os.PathLike[str] = FROM_SCRATCH,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> keras.Model:
    """InceptionResNetV2 (Szegedy et al. 2017, arXiv 1602.07261): 54.34 M and a head.

    The network of WebVision, from scratch (Table A.1). Arguments and errors are those
    of `application`.
    """
    return application(
        "inception_resnet_v2",
        input_shape,
        num_classes,
        seed,
        pretrained=pretrained,
        mean=mean,
        std=std,
    )


def _published(key: str) -> Callable[..., keras.Model]:
    """Keras' own function of a network."""
    return getattr(keras.applications, APPLICATIONS[key])


def _untrained(key: str, images: keras.KerasTensor) -> keras.Model:
    """The network without top, its first convolution on `images` themselves."""
    build = _published(key)
    if "include_preprocessing" in inspect.signature(build).parameters:
        build = functools.partial(build, include_preprocessing=False)
    elif key.startswith("efficientnet_b"):
        # It divides by 255 inside, and cannot be told not to.
        images = keras.layers.Rescaling(255.0, dtype="float32", name="input_scaling")(
            images
        )
    return _without_top(build, images, weights=None)


def _trained(
    key: str, images: keras.KerasTensor, pretrained: str | os.PathLike[str]
) -> keras.Model:
    """The network without top, with weights, on `images` as they were trained on."""
    build = _published(key)
    if pretrained != IMAGENET:
        network = _without_top(build, images, weights=None)
        with_top = functools.partial(build, include_top=True, weights=None)
        load_weights_file(network, with_top, pretrained)
        return network
    try:
        return _without_top(build, images, weights=IMAGENET)
    except Exception as error:  # Keras raises no narrower one when a download fails
        if "URL fetch failure" not in str(error):
            raise
        raise OSError(
            f"Keras could not download the ImageNet weights of {key!r} ({error}). "
            "Where there is no network, download that file elsewhere and give its "
            "path: pretrained=PATH."
        ) from error


def _without_top(
    build: Callable[..., keras.Model], images: keras.KerasTensor, weights: str | None
) -> keras.Model:
    return build(
        include_top=False,
        weights=weights,
        input_tensor=images,
        input_shape=tuple(images.shape[1:]),
        pooling="avg",
    )


def _start_as_in_pytorch(network: keras.Model, seeds: Iterator[int | None]) -> None:
    """Draw all kernels and biases again, as `nn.Conv2d` does."""
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2D):
            fan_in = math.prod(layer.kernel.shape[:-1])
            for weight in layer.trainable_weights:  # a kernel, in some a bias too
                weight.assign(fan_in_uniform(fan_in, next(seeds))(weight.shape))
