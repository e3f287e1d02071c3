"""Random numbers that are a pure function of a seed, a use and integer keys.

A draw that hangs on an example's id (and, say, the epoch) alone is the same whatever
the order, the batch, the shard or the subset the example is met in. There is no state:
nothing to seed twice, to save or to restore.

The core is SplitMix64 (G. L. Steele, D. Lea, C. H. Flood, "Fast Splittable Pseudorandom
Number Generators", OOPSLA 2014, with the finaliser that the paper calls mix64variant13,
D. Stafford's "Mix13"): its output number k is a function of the state and k, so it
can be asked for in any order. The digest of the use's name is the first state; the seed
and each key in turn pick an output of the current state, which is the next state.
These are statistical random numbers, not cryptographic ones.
"""

from __future__ import annotations

import hashlib
from typing import SupportsIndex

import numpy as np
from numpy.typing import ArrayLike

from sop_keras.validation import check_integer

# Constants of SplitMix64; GAMMA is the odd integer nearest to 2**64 / golden ratio.
GAMMA = np.uint64(0x9E3779B97F4A7C15)
MULTIPLIER_1 = np.uint64(0xBF58476D1CE4E5B9)
MULTIPLIER_2 = np.uint64(0x94D049BB133111EB)


def splitmix64(state: ArrayLike, step: ArrayLike) -> np.ndarray:
    """Output number `step` of the SplitMix64 generator that starts in `state`.

    For a fixed state it is a bijection of `step`, and for a fixed step of `state`.

    Args:
        state: uint64 values.
        step: uint64 values, broadcast with `state`; the first output is number 0.

    Returns:
        uint64 array of the broadcast shape.
    """
    state, step = np.asarray(state, np.uint64), np.asarray(step, np.uint64)
    # Arithmetic is modulo 2**64 by design; numpy warns about it for scalars.
    with np.errstate(over="ignore"):
        z = state + (step + np.uint64(1)) * GAMMA
        z = (z ^ (z >> np.uint64(30))) * MULTIPLIER_1
        z = (z ^ (z >> np.uint64(27))) * MULTIPLIER_2
        return np.asarray(z ^ (z >> np.uint64(31)))


def seeded_state(seed: SupportsIndex, stream: str) -> np.uint64:
    """The state that `seed` and `stream` lead to, before any key.

    Args:
        seed: an integer in `[0, 2**64)`.
        stream: the name of the use, any non-empty text.

    Raises:
        ValueError: if the seed is out of range or the stream has no name.
    """
    value = check_integer(
        "seed", seed, 0, below=2**64, mend="Pass a non-negative integer, such as 0."
    )
    if not isinstance(stream, str) or not stream:
        raise ValueError(
            "`stream` must be a non-empty string that names the use of the random "
            f"numbers, such as 'crop'. Received: stream={stream!r}."
        )
    # blake2b, not hash(): Python salts the hashes of strings in every process.
    digest = hashlib.blake2b(stream.encode(), digest_size=8).digest()
    return np.uint64(
        splitmix64(np.uint64(int.from_bytes(digest, "little")), np.uint64(value))
    )


def checked_key(key: ArrayLike) -> np.ndarray:
    """`key` as a uint64 array of the same shape.

    Args:
        key: an integer or an array of integers, none negative.

    Raises:
        ValueError: if `key` is not of integers or has a negative one.
    """
    array = np.asarray(key)
    if array.dtype.kind not in "iu":
        raise ValueError(
            "A key must be an integer or an array of integers. Received: an array of "
            f"dtype {array.dtype} and shape {array.shape}. Cast ids to int64 first."
        )
    if array.dtype.kind == "i" and array.size and array.min() < 0:
        raise ValueError(
            f"A key must not be negative. Received: {array.min()}. Key draws by ids "
            "and counters, which start at 0."
        )
    return array.astype(np.uint64)


def random_bits(seed: SupportsIndex, stream: str, *keys: ArrayLike) -> np.ndarray:
    """64 random bits for each key, a pure function of the arguments.

    `random_bits(s, "flip", a, b)` and `random_bits(s, "flip", b, a)` are unrelated, and
    so are the draws of two streams. With one key array, distinct keys always get
    distinct bits (the core is a bijection).

    Args:
        seed: an integer in `[0, 2**64)`.
        stream: the name of the use, such as `"crop"`; uses with different names are
            independent.
        *keys: non-negative integers or integer arrays, broadcast against each other:
            most often the example's id, sometimes the epoch before it.

    Returns:
        uint64 array of the keys' broadcast shape (`()` without keys).

    Raises:
        ValueError: if the seed is out of range, the stream has no name, or a key is
            negative or not an integer.
    """
    state = np.asarray(seeded_state(seed, stream))
    for key in keys:
        state = splitmix64(state, checked_key(key))
    return state


def uniform(seed: SupportsIndex, stream: str, *keys: ArrayLike) -> np.ndarray:
    """A uniform number for each key: the top 53 bits of `random_bits`.

    Args:
        seed: as for `random_bits`.
        stream: as for `random_bits`.
        *keys: as for `random_bits`.

    Returns:
        float64 array of multiples of 2**-53 in `[0, 1)`.

    Raises:
        ValueError: as for `random_bits`.
    """
    bits = random_bits(seed, stream, *keys)
    return np.asarray((bits >> np.uint64(11)) * 2.0**-53)


def checked_bound(bound: SupportsIndex) -> int:
    """`bound` as an int, if it is one in `[1, 2**31)`.

    Raises:
        ValueError: if it is not.
    """
    mend = "It is the number of values to choose from."
    return check_integer("bound", bound, 1, below=2**31, mend=mend)


def random_integers(
    bound: SupportsIndex, seed: SupportsIndex, stream: str, *keys: ArrayLike
) -> np.ndarray:
    """A random integer in `[0, bound)` for each key.

    It is `floor(bound * h / 2**32)` for the high 32 bits h of `random_bits`. The
    probability of each value is off `1 / bound` by less than 2**-32 (by nothing where
    `bound` is a power of two).

    Args:
        bound: an integer in `[1, 2**31)`.
        seed: as for `random_bits`.
        stream: as for `random_bits`.
        *keys: as for `random_bits`.

    Returns:
        int64 array, values in `[0, bound)`.

    Raises:
        ValueError: if `bound` is out of range, or as for `random_bits`.
    """
    factor = np.uint64(checked_bound(bound))
    high = random_bits(seed, stream, *keys) >> np.uint64(32)
    return np.asarray((high * factor) >> np.uint64(32)).astype(np.int64)
