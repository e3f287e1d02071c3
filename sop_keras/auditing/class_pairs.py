"""Which classes look like one, from features and labels."""

from __future__ import annotations

import numpy as np

from sop_keras.auditing.alike_classes import alike_classes
from sop_keras.auditing.feature_rows import (
    FeatureRows,
    SomeRows,
    blocks,
    sample,
    scale_of,
    take_finite,
)
from sop_keras.randomness.keyed import random_bits

# Ridge, a fraction of the number of examples, on features of standard deviation 1.
_RIDGE = 0.1

# What a regression's outputs are multiplied by before softmax.
_SHARPNESS = 10.0

_NUM_PARTS = 3

# Examples that are looked at, and probabilities of them: 80 MB.
_MOST_EXAMPLES, _MOST_NUMBERS = 50_000, 20_000_000

AlikePairs = tuple[tuple[int, int, float], ...]
"""Two classes, the lower number first, and the share of `alike_classes`, each."""


def alike_pairs(
    features: FeatureRows, labels: np.ndarray, num_classes: int
) -> AlikePairs:
    """Pairs of classes that look like one, the most alike first.

    A head that was trained on all examples knows labels by heart; so the probabilities
    that `alike_classes` needs are those of linear regressions, each of two thirds of
    the examples, for the other third. At most 50,000 examples are looked at, fewer with
    more than 400 classes, but as many as there are classes, drawn from all.

    Features are read twice, in blocks; memory is that of three matrices of D x D
    numbers, and of 20 million probabilities, or of K x K from 4,473 classes on.

    Args:
        features: of n examples.
        labels: integers `(n,)`, in [0, num_classes).
        num_classes: K.

    Raises:
        ValueError: for features that are not finite or all alike.
    """
    most = min(_MOST_EXAMPLES, max(_MOST_NUMBERS // num_classes, num_classes))
    chosen = sample(features, most)
    labels = np.asarray(labels)[chosen].astype(np.int64)
    probabilities = cross_validated(SomeRows(features, chosen), labels, num_classes)
    found = alike_classes(probabilities, labels)
    pairs, shares = found.pairs[found.is_alike], found.shares[found.is_alike]
    return tuple(
        (int(first), int(second), float(share))
        for (first, second), share in zip(pairs.tolist(), shares, strict=True)
    )


def cross_validated(
    features: FeatureRows, labels: np.ndarray, num_classes: int, seed: int = 0
) -> np.ndarray:
    """Probabilities by classifiers that did not see the example, float32 `(n, K)`.

    Args:
        features: of n examples.
        labels: integers `(n,)`, in [0, num_classes).
        num_classes: K.
        seed: of the three parts, in [0, 2**64). Defaults to `0`.

    Raises:
        ValueError: for features that are not finite or all alike.
    """
    scale = scale_of(take_finite(features, sample(features)))
    width = features.num_features + 1
    draws = random_bits(seed, "class pairs: parts", np.arange(len(labels)))
    part = (draws % np.uint64(_NUM_PARTS)).astype(np.int64)
    products = np.zeros((_NUM_PARTS, width, width))
    with_labels = np.zeros((_NUM_PARTS, width, num_classes))
    for places, rows in blocks(features, beside=num_classes):
        columns = scale.with_constant(rows)
        for one in range(_NUM_PARTS):
            here = columns[part[places] == one]
            indicators = np.zeros((len(here), num_classes), np.float32)
            chosen = labels[places][part[places] == one]
            indicators[np.arange(len(here)), chosen] = 1
            products[one] += here.T @ here
            with_labels[one] += here.T @ indicators
    weights = []
    for one in range(_NUM_PARTS):
        rest = products.sum(axis=0) - products[one]
        ridge = np.full(width, max(_RIDGE * rest[-1, -1], 1.0))
        ridge[-1] = 1e-6  # of the constant, where a part has all examples
        rest[np.diag_indices(width)] += ridge
        found = np.linalg.solve(rest, with_labels.sum(axis=0) - with_labels[one])
        weights.append(found.astype(np.float32))
    probabilities = np.empty((len(labels), num_classes), np.float32)
    for places, rows in blocks(features, beside=num_classes):
        columns = scale.with_constant(rows)
        for one in range(_NUM_PARTS):
            is_here = part[places] == one
            outputs = _SHARPNESS * (columns[is_here] @ weights[one])
            exponentials = np.exp(outputs - outputs.max(axis=1, keepdims=True))
            total = exponentials.sum(axis=1, keepdims=True)
            probabilities[places[is_here]] = exponentials / total
    return probabilities
