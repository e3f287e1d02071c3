"""ResNet34 for small images (He et al. 2016, arXiv 1512.03385)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import keras

from sop_keras.backbones import layers
from sop_keras.backbones.initializers import layer_seeds

# (filters, blocks, stride of the first block) of each stage.
STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))


def basic_block(
    x: keras.KerasTensor,
    filters: int,
    stride: int,
    seeds: Iterator[int | None],
    name: str,
) -> keras.KerasTensor:
    """`relu(bn(conv(relu(bn(conv(x))))) + shortcut(x))`.

    The shortcut is a 1x1 convolution with BatchNorm where the shape changes, and `x`
    itself elsewhere.

    Args:
        x: shape `(batch_size, height, width, channels)`.
        filters: the number of output channels.
        stride: the step of the first convolution and of the shortcut, in pixels.
        seeds: where the kernels' seeds are taken from.
        name: what the names of the block's layers begin with.

    Returns:
        Shape `(batch_size, ceil(height / stride), ceil(width / stride), filters)`.
    """
    shortcut = x
    if stride != 1 or x.shape[-1] != filters:
        shortcut = layers.convolution(
            x, filters, 1, seeds, stride=stride, name=f"{name}_shortcut_conv"
        )
        shortcut = layers.batch_norm(shortcut, f"{name}_shortcut_bn")
    x = layers.convolution(x, filters, 3, seeds, stride=stride, name=f"{name}_conv1")
    x = layers.relu(layers.batch_norm(x, f"{name}_bn1"), f"{name}_relu1")
    x = layers.convolution(x, filters, 3, seeds, name=f"{name}_conv2")
    x = layers.batch_norm(x, f"{name}_bn2")
    x = keras.layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.relu(x, f"{name}_out")


def resnet34(
    input_shape: Sequence[int], num_classes: int, seed: int | None = None
) -> keras.Model:
    """ResNet34 with a 3x3 stem and no max-pool: 21.28 M parameters for 10 classes.

    The network of SOP on CIFAR (Table A.1; `resnet34` of the authors' code). Stages of
    3, 4, 6 and 3 basic blocks give maps of 64, 128, 256 and 512 channels, 32, 16, 8 and
    4 pixels wide for a 32x32 image.

    Args:
        input_shape: `(height, width, channels)`.
        num_classes: the number of classes.
        seed: a non-negative integer for the same weights in every build, or `None` for
            Keras' global seed. Defaults to `None`.

    Returns:
        A model from images, shape `(batch_size, *input_shape)`, to float32 logits,
        shape `(batch_size, num_classes)`. The outputs of the stages are the layers
        `stage1_block3_out`, `stage2_block4_out`, `stage3_block6_out` and
        `stage4_block3_out`.

    Raises:
        ValueError: if `input_shape` or `seed` is invalid.
    """
    seeds = layer_seeds(seed)
    inputs = layers.image_input(input_shape)
    x = layers.convolution(inputs, 64, 3, seeds, name="stem_conv")
    x = layers.relu(layers.batch_norm(x, "stem_bn"), "stem_relu")
    for stage, (filters, blocks, first_stride) in enumerate(STAGES, start=1):
        for block in range(1, blocks + 1):
            stride = first_stride if block == 1 else 1
            x = basic_block(x, filters, stride, seeds, f"stage{stage}_block{block}")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.logits(x, num_classes, seeds), name="resnet34")
