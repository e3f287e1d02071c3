"""Which classes look like one, from features and labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sop_keras.auditing.alike_classes import alike_in_rows
from sop_keras.auditing.feature_rows import (
    FeatureRows,
    Scale,
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

# Examples that are looked at; and of each class, so many even if that is more.
_MOST_EXAMPLES, _ENOUGH_OF_A_CLASS = 50_000, 20

_AT_ONCE = 8_192

AlikePairs = tuple[tuple[int, int, float], ...]
"""Two classes, the lower number first, and the share of `alike_classes`, each."""


def alike_pairs(
    features: FeatureRows, labels: np.ndarray, num_classes: int
) -> AlikePairs:
    """Pairs of classes that look like one, the most alike first.

    A head that was trained on all examples knows labels by heart; so the probabilities
    that `alike_classes` needs are those of linear regressions, each of two thirds of
    the examples, for the other third. 50,000 examples are looked at, drawn from all,
    and 20 of each class that has them, which are more from 2,501 classes on.

    Features are read three times, in blocks; memory is that of three matrices of D x D
    numbers, and six of D x K.

    Args:
        features: of n examples.
        labels: integers `(n,)`, in [0, num_classes).
        num_classes: K.

    Raises:
        ValueError: for features that are not finite or all alike.
    """
    labels = np.asarray(labels).astype(np.int64)
    chosen = _chosen(labels)
    labels = labels[chosen]
    regressions = fit_regressions(SomeRows(features, chosen), labels, num_classes)
    found = alike_in_rows(regressions.probabilities, labels, num_classes)
    pairs, shares = found.pairs[found.is_alike], found.shares[found.is_alike]
    return tuple(
        (int(first), int(second), float(share))
        for (first, second), share in zip(pairs.tolist(), shares, strict=True)
    )


@dataclass(frozen=True)
class Regressions:
    """Linear regressions, each of all parts of the examples but one, for that part.

    Args:
        features: of n examples.
        scale: what puts them to one scale.
        part: of each example, integers `(n,)`.
        weights: of each part's regression, float32 `(3, D + 1, K)`.
    """

    features: FeatureRows
    scale: Scale
    part: np.ndarray
    weights: np.ndarray

    def probabilities(self, places: np.ndarray) -> np.ndarray:
        """Of some examples, by those that did not see them, float32 `(m, K)`.

        Args:
            places: integers `(m,)`.
        """
        columns = self.scale.with_constant(take_finite(self.features, places))
        found = np.empty((len(places), self.weights.shape[-1]), np.float32)
        for one, weights in enumerate(self.weights):
            is_here = self.part[places] == one
            outputs = _SHARPNESS * (columns[is_here] @ weights)
            exponentials = np.exp(outputs - outputs.max(axis=1, keepdims=True))
            found[is_here] = exponentials / exponentials.sum(axis=1, keepdims=True)
        return found


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
    regressions = fit_regressions(features, labels, num_classes, seed)
    parts = np.array_split(_all(labels), len(labels) // _AT_ONCE + 1)
    return np.concatenate([regressions.probabilities(part) for part in parts])


def fit_regressions(
    features: FeatureRows, labels: np.ndarray, num_classes: int, seed: int = 0
) -> Regressions:
    """Regressions on two thirds of the examples each, for the other third.

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
    # A third of each class: of few examples, one part could have nearly all by chance,
    # and its regression would know the class less well than the others do.
    rank = _rank_in_class(labels, random_bits(seed, "class pairs: parts", _all(labels)))
    part = (rank + labels) % _NUM_PARTS
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
    return Regressions(features, scale, part, np.stack(weights))


def _chosen(labels: np.ndarray) -> np.ndarray:
    """The places of the examples that are looked at, in their order."""
    rank = _rank_in_class(labels, random_bits(0, "class pairs: some", _all(labels)))
    is_chosen = rank < _ENOUGH_OF_A_CLASS
    is_chosen[sample(labels, _MOST_EXAMPLES)] = True
    return np.flatnonzero(is_chosen)


def _rank_in_class(labels: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """How many examples of the same label have a smaller draw, int64 `(n,)`."""
    order = np.lexsort((draws, labels))
    counts = np.bincount(labels)
    starts = np.cumsum(counts) - counts
    rank = np.empty(len(labels), np.int64)
    rank[order] = _all(labels) - starts[labels[order]]
    return rank


def _all(labels: np.ndarray) -> np.ndarray:
    return np.arange(len(labels))
