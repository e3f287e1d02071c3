"""The layers that all backbones are made of, with the constants of PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import keras

from sop_keras.backbones.initializers import fan_in_uniform


def image_input(input_shape: Sequence[int], smallest: int = 1) -> keras.KerasTensor:
    """The input of a backbone.

    Args:
        input_shape: `(height, width, channels)`.
        smallest: the least height and width that the backbone can take, in pixels.

    Returns:
        A symbolic tensor, shape `(batch_size, height, width, channels)`.

    Raises:
        ValueError: if the shape is not three positive integers, or is too small.
    """
    shape = tuple(input_shape)
    if len(shape) != 3 or not all(isinstance(n, int) and n > 0 for n in shape):
        raise ValueError(
            "`input_shape` must be (height, width, channels), three positive integers, "
            f"such as (32, 32, 3). Received: input_shape={input_shape}."
        )
    if min(shape[:2]) < smallest:
        raise ValueError(
            f"This backbone needs images of at least {smallest}x{smallest} pixels. "
            f"Received: input_shape={input_shape}. Enlarge the images or take "
            "another backbone."
        )
    return keras.Input(shape, name="images")


def convolution(
    x: keras.KerasTensor,
    filters: int,
    kernel_size: int,
    seeds: Iterator[int | None],
    *,
    name: str,
    stride: int = 1,
) -> keras.KerasTensor:
    """A convolution without bias, padded as `nn.Conv2d(padding=kernel_size // 2)`.

    Args:
        x: shape `(batch_size, height, width, channels)`.
        filters: the number of output channels.
        kernel_size: the side of the window, odd, in pixels.
        seeds: where the kernel's seed is taken from.
        name: the layer's name.
        stride: the step of the window in pixels. Defaults to `1`.

    Returns:
        Shape `(batch_size, ceil(height / stride), ceil(width / stride), filters)`.
    """
    padding = "same"
    if stride > 1:
        # At stride 2 Keras' "same" pads an even side on its far end alone, which
        # moves the window's centre by a pixel against PyTorch's.
        padding = "valid"
        if kernel_size > 1:
            x = keras.layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x)
    return keras.layers.Conv2D(
        filters,
        kernel_size,
        strides=stride,
        padding=padding,
        use_bias=False,
        kernel_initializer=fan_in_uniform(
            kernel_size * kernel_size * x.shape[-1], next(seeds)
        ),
        name=name,
    )(x)


def batch_norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Batch normalisation with `nn.BatchNorm2d`'s constants.

    PyTorch's momentum 0.1 is the weight of the new batch, Keras' 0.9 that of the old
    average: the same rule. One difference stays: PyTorch's moving variance takes the
    batch's variance over `n - 1` values, Keras' over `n` (`n` is the batch size times
    the pixels of the map, 2,048 at the least for a batch of 128 32x32 images).
    """
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)


def relu(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """The rectifier, `max(x, 0)`."""
    return keras.layers.ReLU(name=name)(x)


def dense(
    x: keras.KerasTensor,
    units: int,
    seeds: Iterator[int | None],
    *,
    name: str,
    dtype: str | None = None,
) -> keras.KerasTensor:
    """A fully connected layer with bias, started as `nn.Linear`.

    Args:
        x: shape `(batch_size, inputs)`.
        units: the number of outputs.
        seeds: where the seeds of kernel and bias are taken from.
        name: the layer's name.
        dtype: the layer's dtype policy. Defaults to the global one.

    Returns:
        Shape `(batch_size, units)`.
    """
    return keras.layers.Dense(
        units,
        kernel_initializer=fan_in_uniform(x.shape[-1], next(seeds)),
        bias_initializer=fan_in_uniform(x.shape[-1], next(seeds)),
        dtype=dtype,
        name=name,
    )(x)


def logits(
    x: keras.KerasTensor, num_classes: int, seeds: Iterator[int | None]
) -> keras.KerasTensor:
    """The last layer: float32 class scores whatever the dtype policy.

    The losses take a softmax of them and the noise estimates added to it are as small
    as 1e-16, so half precision ends here.

    Args:
        x: shape `(batch_size, features)`.
        num_classes: the number of classes.
        seeds: where the seeds of kernel and bias are taken from.

    Returns:
        float32, shape `(batch_size, num_classes)`, before any softmax.
    """
    return dense(x, num_classes, seeds, name="logits", dtype="float32")
