"""Pre-activation ResNet18 for small images (He et al. 2016, arXiv 1603.05027)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import keras

from sop_keras.backbones import layers
from sop_keras.backbones.initializers import layer_seeds

# (filters, blocks, stride of the first block) of each stage.
STAGES = ((64, 2, 1), (128, 2, 2), (256, 2, 2), (512, 2, 2))


def preact_block(
    x: keras.KerasTensor,
    filters: int,
    stride: int,
    seeds: Iterator[int | None],
    name: str,
) -> keras.KerasTensor:
    """`conv(relu(bn(conv(a)))) + shortcut(a)`, where `a = relu(bn(x))`.

    The shortcut is a bare 1x1 convolution where the shape changes, and `a` itself
    elsewhere. (In the paper of He et al. the identity carries `x`; the code that SOP's
    results come from carries the activated tensor, and so does this.)

    Args:
        x: shape `(batch_size, height, width, channels)`.
        filters: the number of output channels.
        stride: the step of the first convolution and of the shortcut, in pixels.
        seeds: where the kernels' seeds are taken from.
        name: what the names of the block's layers begin with.

    Returns:
        Shape `(batch_size, ceil(height / stride), ceil(width / stride), filters)`.
    """
    x = layers.relu(layers.batch_norm(x, f"{name}_bn1"), f"{name}_relu1")
    shortcut = x
    if stride != 1 or x.shape[-1] != filters:
        shortcut = layers.convolution(
            x, filters, 1, seeds, stride=stride, name=f"{name}_shortcut_conv"
        )
    x = layers.convolution(x, filters, 3, seeds, stride=stride, name=f"{name}_conv1")
    x = layers.relu(layers.batch_norm(x, f"{name}_bn2"), f"{name}_relu2")
    x = layers.convolution(x, filters, 3, seeds, name=f"{name}_conv2")
    return keras.layers.Add(name=f"{name}_out")([x, shortcut])


def preact_resnet18(
    input_shape: Sequence[int], num_classes: int, seed: int | None = None
) -> keras.Model:
    """PreActResNet18 with a 3x3 stem: 11.17 M parameters for 10 classes.

    The network of SOP+ on CIFAR (Table A.1; `PreActResNet18` of the authors' code,
    model/PreResNet.py, which came from DivideMix). Unlike the common form, its stem has
    BatchNorm and a rectifier, and neither comes after the last block. Four stages of
    two blocks give maps of 64, 128, 256 and 512 channels, 32, 16, 8 and 4 pixels wide
    for a 32x32 image.

    Args:
        input_shape: `(height, width, channels)`.
        num_classes: the number of classes.
        seed: a non-negative integer for the same weights in every build, or `None` for
            Keras' global seed. Defaults to `None`.

    Returns:
        A model from images, shape `(batch_size, *input_shape)`, to float32 logits,
        shape `(batch_size, num_classes)`. The output of stage `s` is the layer
        `stage{s}_block2_out`.

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
            x = preact_block(x, filters, stride, seeds, f"stage{stage}_block{block}")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    outputs = layers.logits(x, num_classes, seeds)
    return keras.Model(inputs, outputs, name="preact_resnet18")
