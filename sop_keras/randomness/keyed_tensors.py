"""Keyed random numbers inside TensorFlow graphs, `tf.data` pipelines above all.

The same numbers as `keyed`, bit for bit, from whole-tensor operations: one call serves
a batch of ids. They are not stateful operations, so `tf.data` may run them in parallel
and in any order.
"""

from __future__ import annotations

from typing import Any, SupportsIndex

import numpy as np
import tensorflow as tf

from sop_keras.randomness import keyed
from sop_keras.validation import check_positive

# Of draws from Gamma; that all are refused has a probability below 1e-20.
_TRIES = 16
_LEAST_ROOT = 1e-6


def _key_tensor(key: Any) -> tf.Tensor:
    if not tf.is_tensor(key):
        return tf.constant(keyed.checked_key(key))
    if not key.dtype.is_integer:
        raise ValueError(
            f"A key must be a tensor of integers. Received: a tensor of {key.dtype} "
            f"and shape {key.shape}. Cast ids to int64 first."
        )
    return tf.cast(key, tf.uint64)


def _shift_right(values: tf.Tensor, bits: int) -> tf.Tensor:
    return tf.bitwise.right_shift(values, np.uint64(bits))


def _splitmix64(state: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    z = state + (step + np.uint64(1)) * keyed.GAMMA
    z = tf.bitwise.bitwise_xor(z, _shift_right(z, 30)) * keyed.MULTIPLIER_1
    z = tf.bitwise.bitwise_xor(z, _shift_right(z, 27)) * keyed.MULTIPLIER_2
    return tf.bitwise.bitwise_xor(z, _shift_right(z, 31))


def random_bits_tensor(seed: SupportsIndex, stream: str, *keys: Any) -> tf.Tensor:
    """64 random bits for each key, the same as `keyed.random_bits` gives.

    Args:
        seed: a Python integer in `[0, 2**64)`.
        stream: the name of the use, such as `"crop"`; uses with different names are
            independent.
        *keys: integer tensors, arrays or integers, none negative, broadcast against
            each other. The values of a tensor are not checked: a negative one counts
            as the same number modulo 2**64.

    Returns:
        uint64 tensor of the keys' broadcast shape (`()` without keys).

    Raises:
        ValueError: if the seed is out of range, the stream has no name, or a key is
            not of integers.
    """
    state = tf.constant(keyed.seeded_state(seed, stream))
    for key in keys:
        state = _splitmix64(state, _key_tensor(key))
    return state


def random_integers_tensor(
    bound: SupportsIndex, seed: SupportsIndex, stream: str, *keys: Any
) -> tf.Tensor:
    """A random integer in `[0, bound)` for each key.

    The same as `keyed.random_integers` gives: the probability of each value is off
    `1 / bound` by less than 2**-32 (by nothing where `bound` is a power of two).

    Args:
        bound: a Python integer in `[1, 2**31)`.
        seed: as for `random_bits_tensor`.
        stream: as for `random_bits_tensor`.
        *keys: as for `random_bits_tensor`.

    Returns:
        int32 tensor, values in `[0, bound)`.

    Raises:
        ValueError: if `bound` is out of range, or as for `random_bits_tensor`.
    """
    factor = np.uint64(keyed.checked_bound(bound))
    high = _shift_right(random_bits_tensor(seed, stream, *keys), 32)
    return tf.cast(_shift_right(high * factor, 32), tf.int32)


def uniform_tensor(seed: SupportsIndex, stream: str, *keys: Any) -> tf.Tensor:
    """A uniform number for each key: the top 24 bits of `random_bits_tensor`.

    Args:
        seed: as for `random_bits_tensor`.
        stream: as for `random_bits_tensor`.
        *keys: as for `random_bits_tensor`.

    Returns:
        float32 tensor of multiples of 2**-24 in `[0, 1)`.

    Raises:
        ValueError: as for `random_bits_tensor`.
    """
    bits = random_bits_tensor(seed, stream, *keys)
    # float32 holds 24 bits exactly: the product is never rounded up to 1.
    return tf.cast(_shift_right(bits, 40), tf.float32) * 2.0**-24


def normal_tensor(seed: SupportsIndex, stream: str, *keys: Any) -> tf.Tensor:
    """A draw from N(0, 1) for each key, by the transform of Box and Muller.

    Args:
        seed: as for `random_bits_tensor`.
        stream: as for `random_bits_tensor`.
        *keys: as for `random_bits_tensor`.

    Returns:
        float32 tensor, values in [-5.8, 5.8].

    Raises:
        ValueError: as for `random_bits_tensor`.
    """
    # In float64, because the last digits of logarithms and cosines depend on where in a
    # tensor a number is.
    radius, angle = (
        tf.cast(uniform_tensor(seed, f"{stream}: {part}", *keys), tf.float64)
        for part in ("radius", "angle")
    )
    # In (0, 1]: the logarithm of 0 is no number.
    length = tf.sqrt(-2.0 * tf.math.log(1.0 - radius))
    return tf.cast(length * tf.cos(2.0 * np.pi * angle), tf.float32)


def symmetric_beta_tensor(
    alpha: float, seed: SupportsIndex, stream: str, *keys: Any
) -> tf.Tensor:
    """A draw from Beta(alpha, alpha) for each key.

    It is X / (X + Y) of two draws of Gamma(alpha), in logarithms: with a small alpha
    both may be smaller than any float.

    Args:
        alpha: a Python number, positive and finite.
        seed: as for `random_bits_tensor`.
        stream: as for `random_bits_tensor`.
        *keys: as for `random_bits_tensor`.

    Returns:
        float32 tensor, values in `[0, 1]`.

    Raises:
        ValueError: if alpha is out of range, or as for `random_bits_tensor`.
    """
    alpha = check_positive("alpha", alpha)
    first, second = (
        _log_gamma_draws(alpha, seed, f"{stream}: {part}", *keys)
        for part in ("first", "second")
    )
    return tf.cast(tf.sigmoid(first - second), tf.float32)


def _log_gamma_draws(
    alpha: float, seed: SupportsIndex, stream: str, *keys: Any
) -> tf.Tensor:
    """Logarithms of draws from Gamma(alpha), float64.

    G. Marsaglia, W. W. Tsang, "A Simple Method for Generating Gamma Variables", ACM
    TOMS 2000: of Gamma(alpha + 1), times U^(1 / alpha). It takes the first of a fixed
    number of tries that is accepted, as more than 95% are: a graph has no loop.
    """
    shape = alpha + 2.0 / 3.0
    tries = [tf.expand_dims(tf.convert_to_tensor(key), -1) for key in keys]
    tries.append(tf.range(_TRIES))
    normal = tf.cast(normal_tensor(seed, f"{stream}: try", *tries), tf.float64)
    level = tf.cast(uniform_tensor(seed, f"{stream}: level", *tries), tf.float64)
    root = 1.0 + normal / np.sqrt(9.0 * shape)
    cube = tf.maximum(root, _LEAST_ROOT) ** 3
    bound = normal**2 / 2.0 + shape * (1.0 - cube + tf.math.log(cube))
    is_accepted = (root > 0.0) & (tf.math.log(1.0 - level) < bound)
    first = tf.argmax(tf.cast(is_accepted, tf.int32), axis=-1)
    chosen = tf.gather(cube, first, axis=-1, batch_dims=len(first.shape))
    small = tf.cast(uniform_tensor(seed, f"{stream}: power", *keys), tf.float64)
    return tf.math.log(shape * chosen) + tf.math.log(1.0 - small) / alpha
