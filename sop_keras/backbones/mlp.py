"""A multilayer perceptron for digits of a few pixels."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from sop_keras.backbones import layers
from sop_keras.backbones.initializers import layer_seeds


def mlp(
    input_shape: Sequence[int], num_classes: int, seed: int | None = None
) -> keras.Model:
    """Two hidden layers of 512 rectified units: 0.30 M parameters for 8x8x1 digits.

    Not a network of the paper: it memorises a few thousand small images in seconds on a
    CPU, which is enough to watch SOP at work. No BatchNorm.

    Args:
        input_shape: `(height, width, channels)`.
        num_classes: the number of classes.
        seed: a non-negative integer for the same weights in every build, or `None` for
            Keras' global seed. Defaults to `None`.

    Returns:
        A model from images, shape `(batch_size, *input_shape)`, to float32 logits,
        shape `(batch_size, num_classes)`.

    Raises:
        ValueError: if `input_shape` or `seed` is invalid.
    """
    seeds = layer_seeds(seed)
    inputs = layers.image_input(input_shape)
    x = keras.layers.Flatten(name="flatten")(inputs)
    for number in (1, 2):
        x = layers.dense(x, 512, seeds, name=f"dense{number}")
        x = layers.relu(x, f"relu{number}")
    return keras.Model(inputs, layers.logits(x, num_classes, seeds), name="mlp")
