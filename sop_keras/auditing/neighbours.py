"""The examples that are most like some others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sop_keras.auditing.feature_rows import (
    FeatureRows,
    Scale,
    blocks,
    sample,
    scale_of,
    take_finite,
    unit,
)
from sop_keras.validation import check_integer


@dataclass(frozen=True)
class Neighbours:
    """The k examples most like each query, the most similar first.

    Args:
        positions: int64, shape `(num_queries, k)`: places among all examples.
        similarities: float32, likewise: cosines, in [-1, 1].
    """

    positions: np.ndarray
    similarities: np.ndarray


def nearest(features: FeatureRows, queries: np.ndarray, k: int) -> Neighbours:
    """The k examples that are most similar to each of some, but for itself.

    Similarity is the cosine of features of mean 0 and standard deviation 1 (taken of
    at most 20,000 examples). All examples are compared, block by block:
    beyond the queries' own features and results, some 300 MB of memory are enough for
    any number of them, with 1,280 features.
    An example whose features are the mean has similarity 0 to all.

    Args:
        features: of n examples.
        queries: integers, shape `(num_queries,)`: places among the examples.
        k: how many, in [1, n - 1].

    Returns:
        `Neighbours`. Of those that are equally similar, the first are taken.

    Raises:
        ValueError: if an argument is out of range, features are not finite, or all are
            the same.

    Example:
    ```python
    found = nearest(embedded, np.array([17, 4]), k=5)
    found.positions[0]  # five places, of what is most like example 17
    ```
    """
    queries = _checked_places(queries, len(features))
    scale = scale_of(take_finite(features, sample(features)))
    k = check_integer(
        "k", k, 1, most=len(features) - 1, meaning="fewer than there are examples"
    )
    found = Neighbours(
        np.full((len(queries), k), -1, np.int64),
        np.full((len(queries), k), -np.inf, np.float32),
    )
    wanted = _directions(take_finite(features, queries), scale)
    for places, rows in blocks(features, beside=len(queries)):
        cosines = wanted @ _directions(rows, scale).T
        (own,) = np.nonzero((queries >= places[0]) & (queries <= places[-1]))
        cosines[own, queries[own] - places[0]] = -np.inf
        found = _best(found, places, cosines)
    return Neighbours(found.positions, found.similarities.clip(-1, 1))


def _checked_places(queries: np.ndarray, num_examples: int) -> np.ndarray:
    queries = np.asarray(queries)
    if queries.ndim != 1 or (queries.dtype.kind not in "iu" and queries.size):
        raise ValueError(
            "`queries` must be integers of shape (num_queries,). Received: "
            f"{queries.dtype} of shape {queries.shape}."
        )
    if queries.size and not 0 <= queries.min() <= queries.max() < num_examples:
        raise ValueError(
            f"`queries` must be places among {num_examples} examples. Received: "
            f"{queries.min()} to {queries.max()}."
        )
    return queries.astype(np.int64)


def _directions(rows: np.ndarray, scale: Scale) -> np.ndarray:
    return unit(scale.standardised(rows))


def _best(found: Neighbours, places: np.ndarray, cosines: np.ndarray) -> Neighbours:
    """The best of those found before and of a block, whose places are later ones."""
    k = found.positions.shape[1]
    is_better = cosines > found.similarities[:, -1:]
    if k < len(places):  # no more than k of a block are needed, but for equal ones
        worst = np.partition(cosines, -k, axis=1)[:, -k, None]
        is_better &= cosines >= worst
    query, column = np.nonzero(is_better)
    all_queries = np.concatenate([np.repeat(np.arange(len(cosines)), k), query])
    positions = np.concatenate([found.positions.ravel(), places[column]])
    similarities = np.concatenate([found.similarities.ravel(), cosines[query, column]])
    order = np.lexsort((-similarities, all_queries))
    # Each query has its k of before, at least: the first k of each are the best.
    starts = np.searchsorted(all_queries[order], np.arange(len(cosines)))
    chosen = order[starts[:, None] + np.arange(k)]
    return Neighbours(positions[chosen], similarities[chosen])
