"""From standardised images to what a pretrained network was trained on, as layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np


def checked_statistics(
    input_shape: Sequence[int],
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> tuple[Sequence[float], Sequence[float]]:
    """`mean` and `std`, if RGB images can have been standardised with them.

    Args:
        input_shape: `(height, width, channels)`.
        mean: per-channel means of pixel values scaled to [0, 1].
        std: per-channel standard deviations of the same.

    Raises:
        ValueError: if there are not 3 channels, 3 means and 3 positive standard
            deviations.
    """
    if input_shape[-1] != 3:
        raise ValueError(
            "Pretrained networks take RGB images, with 3 channels. Received: "
            f"input_shape={tuple(input_shape)}. Convert the images to RGB, or train "
            'from scratch: pretrained="none".'
        )
    if mean is None or std is None:
        raise ValueError(
            "A pretrained network has an input scaling of its own, which replaces the "
            "data set's: `mean` and `std`, with which the images were standardised, "
            f"must be given, 3 numbers each. Received: mean={mean}, std={std}."
        )
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise ValueError(
            "`mean` and `std` must have 3 numbers each, one for each of red, green and "
            f"blue, those of `std` positive. Received: mean={mean}, std={std}."
        )
    return mean, std


def preprocessed(
    images: keras.KerasTensor,
    preprocess: Callable[[np.ndarray], Any],
    mean: Sequence[float],
    std: Sequence[float],
) -> keras.KerasTensor:
    """`preprocess(255 (images std + mean))`, by Keras' own layers and no weights.

    Standardised images become pixels again, and the pixels what `preprocess` makes of
    them. The two are one multiplication and one addition a channel, after the channels
    were reversed where `preprocess` gives blue, green, red. They are done in float32,
    whatever the dtype policy: half precision would round the pixels.

    Args:
        images: shape `(batch_size, height, width, 3)`: `(pixels / 255 - mean) / std`,
            channels red, green, blue.
        preprocess: from pixels, values 0 to 255, of shape `(n, height, width, 3)` to a
            network's input of this shape: a multiple of one channel and a constant, for
            each channel. It is called once, with four colours.
        mean: per-channel means of pixel values scaled to [0, 1].
        std: per-channel standard deviations of the same.

    Returns:
        Shape `(batch_size, height, width, 3)`.
    """
    reverse, gain, offset = _channel_map(preprocess)
    center, spread = 255 * np.asarray(mean), 255 * np.asarray(std)
    if reverse:
        images = keras.ops.flip(images, axis=-1)
        center, spread = center[::-1], spread[::-1]
    return keras.layers.Rescaling(
        (gain * spread).tolist(),
        (gain * center + offset).tolist(),
        dtype="float32",
        name="input_scaling",
    )(images)


def _channel_map(
    preprocess: Callable[[np.ndarray], Any],
) -> tuple[bool, np.ndarray, np.ndarray]:
    """Whether channels are reversed, and factor and constant of each output channel."""
    colours = np.concatenate([np.zeros((1, 3)), 255 * np.eye(3)])  # black, r, g, b
    outputs = preprocess(colours.reshape(4, 1, 1, 3).astype("float32"))
    black, *primaries = np.asarray(outputs, dtype="float64").reshape(4, 3)
    response = (np.stack(primaries) - black) / 255  # of output j to input i: [i, j]
    reverse = bool(response[0, 2])
    return reverse, np.diag(response[::-1] if reverse else response), black
