"""Which examples are held out for validation, and which are trained on.

Both choices take the examples with the smallest keyed hashes: how many is exact, and
who they are depends on the seed and the ids alone, not on the order of the data.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from sop_keras.randomness.ids import checked_ids
from sop_keras.randomness.keyed import random_bits
from sop_keras.validation import check_integer


def validation_ids(ids: int | ArrayLike, num_validation: int, seed: int) -> np.ndarray:
    """The ids to hold out for validation.

    With the same seed a smaller validation set is contained in a larger one.

    Args:
        ids: the size n of the full id range, `0 .. n - 1`; or distinct non-negative
            integers, shape `(n,)`, in any order.
        num_validation: how many to hold out, in `[0, n)`.
        seed: an integer in `[0, 2**64)`.

    Returns:
        int64 array, shape `(num_validation,)`, ascending.

    Raises:
        ValueError: if a number is out of range, or the ids are not as above.
    """
    if np.ndim(ids) == 0:
        ascending = np.arange(check_integer("num_examples", ids, 1))
    else:
        ascending = np.sort(checked_ids(ids))
    num_validation = check_integer(
        "num_validation",
        num_validation,
        0,
        below=len(ascending),
        meaning="the number of examples, or nothing is left to train on",
    )
    return _smallest_hashes(ascending, num_validation, seed, "split/validation")


def keyed_subset(ids: ArrayLike, size: int, seed: int) -> np.ndarray:
    """`size` of the ids, for training on fewer examples.

    With the same seed a smaller subset is contained in a larger one, and the choice is
    independent of that of `validation_ids`.

    Args:
        ids: distinct non-negative integers, shape `(n,)`, in any order.
        size: how many to keep, in `[1, n]`.
        seed: an integer in `[0, 2**64)`.

    Returns:
        int64 array, shape `(size,)`, ascending.

    Raises:
        ValueError: if a number is out of range, or the ids are not as above.
    """
    ids = checked_ids(ids)
    size = check_integer("size", size, 1, most=len(ids), meaning="the number of ids")
    return _smallest_hashes(np.sort(ids), size, seed, "split/subset")


def _smallest_hashes(
    ascending_ids: np.ndarray, size: int, seed: int, stream: str
) -> np.ndarray:
    # A stable sort gives a tie to the smaller id.
    order = np.argsort(random_bits(seed, stream, ascending_ids), kind="stable")
    return np.sort(ascending_ids[order[:size]])
