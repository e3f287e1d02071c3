"""Label noise that hits every class alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from sop_keras.label_noise.arguments import (
    checked_labels,
    checked_rate,
    ids_of_labels,
)
from sop_keras.label_noise.noisy_labels import NoisyLabels
from sop_keras.randomness.keyed import random_integers, uniform
from sop_keras.validation import check_integer


def symmetric(
    clean_labels: ArrayLike,
    rate: float,
    num_classes: int,
    seed: int,
    *,
    include_true_class: bool = True,
    ids: ArrayLike | None = None,
) -> NoisyLabels:
    """Redraws each label with probability `rate`, uniformly over the classes.

    By default the true class may come back (Liu et al. 2022, A.2: "a random one-hot
    vector"), so that the expected rate of wrong labels is `rate * (K - 1) / K` with K
    classes. With `include_true_class=False` a redrawn label is one of the other K - 1
    (the same paper's caption of Table 1), and the expected rate is `rate`.

    An example's draw depends on `seed` and its id alone: it gets the same label in any
    order, shard, batch or subset of the data. What is redrawn at a rate is also
    redrawn, to the same class, at every higher rate. The realised rate and matrix are
    logged.

    Args:
        clean_labels: the true labels, integers in `[0, num_classes)`, shape `(n,)`.
        rate: the probability that a label is redrawn, in `[0, 1]`.
        num_classes: the number of classes K, at least 2.
        seed: an integer in `[0, 2**64)`.
        include_true_class: whether a redrawn label may be the true one. Defaults to
            `True`.
        ids: the examples' ids, distinct non-negative integers, shape `(n,)`. Defaults
            to `0 .. n - 1`: right for a whole data set in its published order only.

    Returns:
        The `NoisyLabels`, in the order of `clean_labels`.

    Raises:
        ValueError: if an argument is not as above.
    """
    num_classes = check_integer("num_classes", num_classes, 2)
    clean_labels = checked_labels(clean_labels, num_classes)
    rate = checked_rate(rate)
    ids = ids_of_labels(ids, len(clean_labels))
    is_redrawn = uniform(seed, "symmetric/is_redrawn", ids) < rate
    if include_true_class:
        drawn = random_integers(num_classes, seed, "symmetric/any_class", ids)
    else:
        steps = 1 + random_integers(num_classes - 1, seed, "symmetric/other_class", ids)
        drawn = (clean_labels + steps) % num_classes
    noisy = NoisyLabels(
        clean_labels, np.where(is_redrawn, drawn, clean_labels), num_classes
    )
    noisy.log("symmetric")
    return noisy
