"""Label noise that takes each class for one particular other, as people do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from sop_keras.label_noise.arguments import checked_labels, checked_rate, ids_of_labels
from sop_keras.label_noise.noisy_labels import NoisyLabels
from sop_keras.randomness.keyed import random_bits, uniform

CIFAR10_CLASS_MAP: tuple[int, ...] = (0, 1, 0, 5, 7, 3, 6, 7, 8, 1)
"""CIFAR-10: truck to automobile, bird to airplane, deer to horse, cat and dog to each
other (Patrini et al. 2017, "Making Deep Neural Networks Robust to Label Noise")."""

# CIFAR-100's superclass of every class; classes and superclasses in the data set's own
# (alphabetical) order. A. Krizhevsky, "Learning Multiple Layers of Features from Tiny
# Images", 2009; https://www.cs.toronto.edu/~kriz/cifar.html
# fmt: off
_CIFAR100_SUPERCLASSES = (
    4, 1, 14, 8, 0, 6, 7, 7, 18, 3,
    3, 14, 9, 18, 7, 11, 3, 9, 7, 11,
    6, 11, 5, 10, 7, 6, 13, 15, 3, 15,
    0, 11, 1, 10, 12, 14, 16, 9, 11, 5,
    5, 19, 8, 8, 15, 13, 14, 17, 18, 10,
    16, 4, 17, 4, 2, 0, 17, 4, 18, 17,
    10, 3, 2, 12, 12, 16, 12, 1, 9, 19,
    2, 10, 0, 1, 16, 12, 9, 13, 15, 13,
    16, 19, 2, 4, 6, 19, 5, 5, 8, 19,
    18, 1, 2, 15, 6, 0, 17, 8, 14, 13,
)
# fmt: on


def cifar100_class_map(structure: str = "superclass", seed: int = 0) -> tuple[int, ...]:
    """The class that each class of CIFAR-100 is taken for.

    Args:
        structure: `"superclass"` (default): the next class, in label order, of the
            same superclass, the last one to the first (Patrini et al. 2017). Every
            class flips.
            `"blocks"`: in each block of five consecutive labels (0-4, 5-9, ...,
            alphabetical neighbours of no kinship) two classes drawn at random flip to
            each other and three stay, so that `asymmetric` makes 0.4 of its rate
            wrong. It is what the published code of SOP does (shengliu66/SOP,
            `data_loader/cifar100.py`, commit 4d991ce), which draws the pairs afresh in
            every run, and once more for its validation labels.
        seed: an integer in `[0, 2**64)` that decides the pairs of `"blocks"`;
            `"superclass"` has nothing to draw. Defaults to `0`.

    Returns:
        100 labels; entry c is the class that class c is taken for.

    Raises:
        ValueError: if `structure` is another word, or `seed` is out of range.
    """
    if structure == "superclass":
        groups = np.argsort(_CIFAR100_SUPERCLASSES, kind="stable").reshape(20, 5)
        classes, targets = groups, np.roll(groups, -1, axis=1)
    elif structure == "blocks":
        blocks = np.arange(100).reshape(20, 5)
        lots = np.argsort(random_bits(seed, "asymmetric/blocks", blocks), axis=1)
        classes = np.take_along_axis(blocks, lots[:, :2], axis=1)
        targets = classes[:, ::-1]
    else:
        raise ValueError(
            '`structure` must be "superclass" or "blocks". Received: '
            f"structure={structure!r}."
        )
    class_map = np.arange(100)
    class_map[classes] = targets
    return tuple(class_map.tolist())


def asymmetric(
    clean_labels: ArrayLike,
    rate: float,
    class_map: Sequence[int] | np.ndarray,
    seed: int,
    *,
    ids: ArrayLike | None = None,
) -> NoisyLabels:
    """Replaces each label, with probability `rate`, by what its class is taken for.

    The target is always that of the true label: with cats and dogs mapped to each
    other, a fraction `rate` of the cats becomes dogs and no cat is flipped back.
    Classes that `class_map` maps to themselves stay clean.

    An example's draw depends on `seed` and its id alone: it gets the same label in any
    order, shard, batch or subset of the data. What is wrong at a rate is also wrong at
    every higher rate. The realised rate and matrix are logged.

    Args:
        clean_labels: the true labels, integers in `[0, K)`, shape `(n,)`.
        rate: the probability that a label is replaced, in `[0, 1]`.
        class_map: K integers in `[0, K)`; entry c is the class that class c is taken
            for. See `CIFAR10_CLASS_MAP` and `cifar100_class_map`.
        seed: an integer in `[0, 2**64)`.
        ids: the examples' ids, distinct non-negative integers, shape `(n,)`. Defaults
            to `0 .. n - 1`: right for a whole data set in its published order only.

    Returns:
        The `NoisyLabels`, in the order of `clean_labels`.

    Raises:
        ValueError: if an argument is not as above.
    """
    targets = _checked_class_map(class_map)
    clean_labels = checked_labels(clean_labels, len(targets))
    rate = checked_rate(rate)
    ids = ids_of_labels(ids, len(clean_labels))
    is_replaced = uniform(seed, "asymmetric/is_replaced", ids) < rate
    noisy = NoisyLabels(
        clean_labels,
        np.where(is_replaced, targets[clean_labels], clean_labels),
        len(targets),
    )
    noisy.log("asymmetric")
    return noisy


def _checked_class_map(class_map: Sequence[int] | np.ndarray) -> np.ndarray:
    array = np.asarray(class_map)
    if (
        array.ndim != 1
        or len(array) < 2
        or array.dtype.kind not in "iu"
        or array.min() < 0
        or array.max() >= len(array)
    ):
        raise ValueError(
            "`class_map` must hold one class for each of at least 2 classes: K "
            f"integers in [0, K). Received: {class_map!r}. Map a class that stays "
            "clean to itself."
        )
    return array.astype(np.int64)
