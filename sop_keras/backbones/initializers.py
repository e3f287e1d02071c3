"""PyTorch's default initialisation, and the seeds that keep its draws apart."""

from __future__ import annotations

import contextlib
import itertools
import math
import random
from collections.abc import Iterator

import keras
import numpy as np

from sop_keras.validation import check_integer


def fan_in_uniform(
    fan_in: int, seed: int | None = None
) -> keras.initializers.RandomUniform:
    """Uniform values in `[-1/sqrt(fan_in), 1/sqrt(fan_in))`.

    PyTorch starts the kernels and the biases of `nn.Conv2d` and `nn.Linear` so
    (`kaiming_uniform_` with `a=sqrt(5)`: gain `sqrt(1/3)` times `sqrt(3/fan_in)`), and
    the published results of SOP were trained from it. The standard deviation is
    `1/sqrt(3 fan_in)`. Keras' own defaults (Glorot uniform, zero biases) differ.

    It is Keras' own initializer, so that a saved network loads without this package.

    Args:
        fan_in: The number of inputs that each unit sums over: of a kernel, the product
            of all axes of its shape but the last; of a bias, its kernel's.
        seed: An integer for the same values at every call, or `None` for Keras' global
            seed. Defaults to `None`.

    Raises:
        ValueError: if `fan_in` is not positive.
    """
    check_integer("fan_in", fan_in, 1, meaning="the number of inputs of each unit")
    limit = 1 / math.sqrt(fan_in)
    return keras.initializers.RandomUniform(-limit, limit, seed=seed)


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
    seed = check_integer("seed", seed, 0, meaning="or None for Keras' global seed")
    # Keras takes seeds modulo 2**31 - 2 on TensorFlow: 30 bits leave room to count.
    start = int(np.random.SeedSequence(seed).generate_state(1)[0]) >> 2
    return itertools.count(start)


@contextlib.contextmanager
def default_seeds(seed: int | None) -> Iterator[None]:
    """What Keras builds in this context draws its seeds from `seed`.

    Keras takes the seed of an initializer or of a dropout layer that was made without
    one from Python's `random`. Networks that are built by others, whose layers take no
    seeds, so start alike in every build. `random` goes on afterwards as if nothing had
    been drawn.

    Args:
        seed: an integer, or `None` to leave Keras' global seed in charge.
    """
    if seed is None:
        yield
        return
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)
