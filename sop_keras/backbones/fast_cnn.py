"""A network that learns CIFAR-10 in a few passes: whitened, then three blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from sop_keras.backbones import layers
from sop_keras.backbones.initializers import fan_in_uniform, layer_seeds
from sop_keras.backbones.whitening import PATCH_SIZE, whitening_filters
from sop_keras.validation import check_integer

WIDTHS = (64, 128, 256)
"""Channels of the blocks, for CPUs: 65.4 M multiply-adds an image of 32x32x3."""

WIDE_WIDTHS = (64, 256, 256)
"""The source's: 118.1 M multiply-adds."""

LOGIT_SCALE = 1 / 9
"""What the last layer's outputs are multiplied by."""


def fast_cnn(
    input_shape: Sequence[int],
    num_classes: int,
    seed: int | None = None,
    *,
    images: Any = None,
    widths: Sequence[int] = WIDTHS,
) -> keras.Model:
    """A frozen whitening of 2x2 patches, then three blocks of two 3x3 convolutions.

    1.16 M parameters for 32x32x3 images and 10 classes. Each block is convolution,
    max-pooling by 2, BatchNorm, GELU, convolution, BatchNorm, GELU; the last map's
    maximum of each channel goes to a linear layer without bias, whose outputs are
    multiplied by 1/9. Convolutions start as the identity in as many filters as they
    have inputs and as PyTorch's in the rest; BatchNorm has no scale, and weighs its old
    averages by 0.6. All that is of K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a
    Single GPU" (2024, arXiv 2404.00498; KellerJordan/cifar10-airbench at 01a2367,
    airbench94.py), but for the widths. The recipe that goes with it, and the source of
    each of its parts: docs/full_size.md.

    Not a network of the paper on SOP.

    Two parts are written so that a saved network loads without this package. The bias
    that is learnt beside the frozen whitening is a layer of its own, a 1x1 convolution
    of a constant 1. And the identity is in the weights, not in an initializer: a clone
    of the network whitens as well, but its other convolutions start as PyTorch's. Two
    networks that are to start alike in kind are both made by this function.

    Args:
        input_shape: `(height, width, channels)`, at least 8x8 pixels. Maps of one pixel
            are not pooled any more.
        num_classes: the number of classes.
        seed: a non-negative integer for the same weights in every build, or `None` for
            Keras' global seed. Defaults to `None`.
        images: training images, standardised as the network is fed them, floating of
            shape `(n, *input_shape)`; a few thousand of 32x32 pixels will do. They are
            what `whitening_filters` is computed from. Needed; the network keeps what it
            needs of them.
        widths: channels of the three blocks. Defaults to `(64, 128, 256)`.

    Returns:
        A model from images, shape `(batch_size, *input_shape)`, to float32 logits,
        shape `(batch_size, num_classes)`. The filters are the weights of the layer
        `whitening`, which is not trainable.

    Raises:
        ValueError: if `input_shape`, `seed` or `widths` is invalid, or `images` are
            missing or of another shape.

    Example:
    ```python
    images = ((x_train[:5000] / 255 - mean) / std).astype("float32")
    model = fast_cnn((32, 32, 3), 10, seed=0, images=images)
    ```
    """
    return _network("fast_cnn", input_shape, num_classes, seed, images, widths)


def fast_cnn_wide(
    input_shape: Sequence[int],
    num_classes: int,
    seed: int | None = None,
    *,
    images: Any = None,
) -> keras.Model:
    """`fast_cnn` of the source's widths, 64, 256 and 256: 1.97 M parameters.

    Args:
        input_shape: as of `fast_cnn`.
        num_classes: likewise.
        seed: likewise.
        images: likewise.

    Returns:
        A model, as `fast_cnn` gives it.

    Raises:
        ValueError: as `fast_cnn` does.
    """
    return _network(
        "fast_cnn_wide", input_shape, num_classes, seed, images, WIDE_WIDTHS
    )


def _network(
    name: str,
    input_shape: Sequence[int],
    num_classes: int,
    seed: int | None,
    images: Any,
    widths: Sequence[int],
) -> keras.Model:
    seeds = layer_seeds(seed)
    inputs = layers.image_input(input_shape, smallest=8)
    if len(widths) != 3:
        raise ValueError(
            "`widths` must be three integers, the channels of each block, such as "
            f"{WIDTHS}. Received: widths={widths}."
        )
    x = _whitened(inputs, _filters(name, input_shape, images))
    for number, width in enumerate(widths, start=1):
        width = check_integer(f"widths[{number - 1}]", width, 1)
        x = _block(x, width, seeds, f"block{number}")
    x = keras.layers.GlobalMaxPooling2D(name="pool")(x)
    x = keras.layers.Dense(
        num_classes,
        use_bias=False,
        kernel_initializer=fan_in_uniform(x.shape[-1], next(seeds)),
        dtype="float32",
        name="logits",
    )(x)
    outputs = keras.layers.Rescaling(LOGIT_SCALE, dtype="float32", name="scale")(x)
    model = keras.Model(inputs, outputs, name=name)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D) and layer.name.startswith("block"):
            _start_as_identity(layer)
    return model


def _filters(name: str, input_shape: Sequence[int], images: Any) -> np.ndarray:
    if images is None:
        raise ValueError(
            f"{name!r} whitens the patches of its images by what they are in training: "
            "`images` must be given, standardised training images of shape (n, "
            f"{', '.join(map(str, input_shape))}), such as 5,000 of them."
        )
    images = np.asarray(images)
    if images.shape[1:] != tuple(input_shape):
        raise ValueError(
            f"`images` must be of shape (n, {', '.join(map(str, input_shape))}), as "
            f"`input_shape` has it. Received: shape {images.shape}."
        )
    return whitening_filters(images).astype(np.float32)


def _whitened(inputs: keras.KerasTensor, filters: np.ndarray) -> keras.KerasTensor:
    """GELU of the whitened patches and a learnt bias, which starts at 0."""
    x = keras.layers.Conv2D(
        filters.shape[-1],
        PATCH_SIZE,
        use_bias=False,
        trainable=False,
        # In the initializer: a clone of the network must whiten, too.
        kernel_initializer=keras.initializers.Constant(filters),
        name="whitening",
    )(inputs)
    # A bias of that layer would be frozen with it.
    bias = keras.layers.Conv2D(
        filters.shape[-1],
        1,
        use_bias=False,
        kernel_initializer="zeros",
        name="whitening_bias",
    )(keras.ops.ones_like(inputs[:, :1, :1, :1]))
    return _gelu(keras.layers.Add(name="whitening_sum")([x, bias]), "whitening_gelu")


def _block(
    x: keras.KerasTensor, width: int, seeds: Iterator[int | None], name: str
) -> keras.KerasTensor:
    """Convolution, pooling, BatchNorm, GELU, convolution, BatchNorm, GELU.

    Args:
        x: shape `(batch_size, height, width, channels)`.
        width: the number of output channels.
        seeds: where the kernels' seeds are taken from.
        name: what the names of the block's layers begin with.

    Returns:
        Shape `(batch_size, max(height // 2, 1), max(width // 2, 1), width)`.
    """
    x = layers.convolution(x, width, 3, seeds, name=f"{name}_conv1")
    pool = tuple(min(2, side) for side in x.shape[1:3])
    x = keras.layers.MaxPooling2D(pool, name=f"{name}_pool")(x)
    x = _gelu(_batch_norm(x, f"{name}_bn1"), f"{name}_gelu1")
    x = layers.convolution(x, width, 3, seeds, name=f"{name}_conv2")
    return _gelu(_batch_norm(x, f"{name}_bn2"), f"{name}_gelu2")


def _batch_norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Without a scale; a batch has 0.4 of the average, the old one 0.6."""
    return keras.layers.BatchNormalization(
        scale=False, momentum=0.6, epsilon=1e-12, name=name
    )(x)


def _gelu(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """GELU(x) = x P(Z <= x), Z ~ N(0, 1), by the error function."""
    return keras.layers.Activation("gelu", name=name)(x)


def _start_as_identity(layer: keras.layers.Conv2D) -> None:
    """Have the first filters, as many as there are inputs, hand these on."""
    kernel = keras.ops.convert_to_numpy(layer.kernel).copy()
    count = min(kernel.shape[2:])
    kernel[..., :count] = 0
    kernel[1, 1, range(count), range(count)] = 1
    layer.kernel.assign(kernel)
