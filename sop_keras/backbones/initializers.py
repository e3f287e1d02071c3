"""PyTorch's default initialisation, and the seeds that keep its draws apart."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np


@keras.saving.register_keras_serializable(package="sop_keras")
class FanInUniform(keras.initializers.Initializer):
    """Uniform values in `[-1/sqrt(fan_in), 1/sqrt(fan_in))`.

    PyTorch starts the kernels and the biases of `nn.Conv2d` and `nn.Linear` so
    (`kaiming_uniform_` with `a=sqrt(5)`: gain `sqrt(1/3)` times `sqrt(3/fan_in)`), and
    the published results of SOP were trained from it. The standard deviation is
    `1/sqrt(3 fan_in)`. Keras' own defaults (Glorot uniform, zero biases) differ.

    Args:
        fan_in: The number of inputs that each unit sums over. `None` reads it from the
            shape of a kernel, `(*window, inputs, units)`; a bias does not tell, so its
            initializer must be given the number. Defaults to `None`.
        seed: An integer for the same values at every call, or `None` for fresh ones
            drawn from Keras' global seed. Defaults to `None`.

    Raises:
        ValueError: if `fan_in` is not positive, or is `None` when the shape has fewer
            than two axes.

    Example:
    ```python
    keras.layers.Dense(
        10,
        kernel_initializer=FanInUniform(seed=0),
        bias_initializer=FanInUniform(fan_in=512, seed=1),
    )
    ```
    """

    def __init__(self, fan_in: int | None = None, seed: int | None = None) -> None:
        if fan_in is not None and fan_in < 1:
            raise ValueError(
                "`fan_in` must be a positive integer, the number of inputs of each "
                f"unit, or None for a kernel. Received: fan_in={fan_in}."
            )
        self.fan_in = fan_in
        self.seed = seed

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        """Draw values of the given shape and dtype (Keras' float type by default)."""
        if self.fan_in is None and len(shape) < 2:
            raise ValueError(
                f"The shape {tuple(shape)} of a bias does not tell how many inputs its "
                "units have. Pass `fan_in`, the fan-in of the layer's kernel."
            )
        fan_in = self.fan_in or math.prod(shape[:-1])
        limit = 1 / math.sqrt(fan_in)
        return keras.random.uniform(
            shape, minval=-limit, maxval=limit, dtype=dtype, seed=self.seed
        )

    def get_config(self) -> dict[str, Any]:
        """The arguments, as Keras serializes them."""
        return {"fan_in": self.fan_in, "seed": self.seed}


def layer_seeds(seed: int | None) -> Iterator[int | None]:
    """Endless seeds for the initializers of one network, no two alike.

    Args:
        seed: a non-negative integer, or `None` for seeds of `None`: every
            initializer then draws from Keras' global seed, which
            `keras.utils.set_random_seed` sets.

    Returns:
        An iterator that starts at a place hashed from `seed` and counts up from it.

    Raises:
        ValueError: if `seed` is negative.
    """
    if seed is None:
        return itertools.repeat(None)
    if seed < 0:
        raise ValueError(
            "`seed` must be a non-negative integer, or None for Keras' global seed. "
            f"Received: seed={seed}."
        )
    # Keras takes seeds modulo 2**31 - 2 on TensorFlow: 30 bits leave room to count.
    start = int(np.random.SeedSequence(seed).generate_state(1)[0]) >> 2
    return itertools.count(start)
