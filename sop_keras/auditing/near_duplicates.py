"""Images that are there more than once, and whether their labels agree."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
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
from sop_keras.randomness.keyed import random_bits
from sop_keras.validation import check_fraction

LEAST_SIMILARITY = 0.9
"""The cosine of features from which on images count as the same."""

MOST_NEAR = 0.2
"""The share of near-duplicates from which on they are none: features of few numbers, or
of classes far apart, are at such a cosine to all of their class."""

# Of the short code of an example, that candidates are found by.
_CODE_LENGTH = 128

# By how much the cosine of two codes may be below that of the features. At a cosine of
# 0.9 the difference has a standard deviation of (1 - 0.9**2) / sqrt(128) = 0.017.
_SLACK = 0.06

# Examples to a cell, on average, and cells that an example is compared with.
_CELL_SIZE, _CELLS_SEEN = 1000, 4

_MOST_CELLS = 2000

# Candidates that are looked at of one example in one cell.
_MOST_CANDIDATES = 16

# Numbers of a block of cosines: 32 MB; and pairs whose features are read together.
_BLOCK_NUMBERS, _PAIRS_READ = 8_000_000, 2000


@dataclass(frozen=True)
class Duplicates:
    """Images that are there more than once, among n examples.

    Args:
        groups: int64, shape `(n,)`, as of `duplicate_groups`.
        near_share: the share of examples that are near-duplicates of one of other
            features, in [0, 1].
    """

    groups: np.ndarray
    near_share: float

    @property
    def are_equal(self) -> bool:
        """Whether groups are of equal features alone, as too many are near others."""
        return self.near_share > MOST_NEAR


def find_duplicates(features: FeatureRows) -> Duplicates:
    """Near-duplicates; equal ones alone where a fifth of all would be near-duplicates.

    So many are no copies: the cosine does not tell copies from images of one class
    there, and what is joined over others would make whole classes one image.

    Args:
        features: of n examples.

    Raises:
        ValueError: as of `duplicate_groups`.
    """
    groups, first_equal = _groups(features, LEAST_SIMILARITY, seed=0)
    is_first = first_equal == np.arange(len(features))
    num_different = np.bincount(groups[is_first & (groups >= 0)])
    is_near = (groups >= 0) & (np.append(num_different, 0)[groups] > 1)
    found = Duplicates(groups, float(is_near.mean()))
    if found.are_equal:
        return Duplicates(_numbered(first_equal), found.near_share)
    return found


def duplicate_groups(
    features: FeatureRows, *, least_similarity: float = LEAST_SIMILARITY, seed: int = 0
) -> np.ndarray:
    """Groups of images that are the same, or nearly.

    Two examples are joined if the cosine of their features, of mean 0 and standard
    deviation 1 each, is `least_similarity` or more; groups are what is joined, directly
    or over others. Mirrored, shifted and slightly brighter copies are found, for
    networks see through that, and so are two pictures of one thing from one camera.

    Not all pairs are compared. Features are made 128 numbers by random signs, which
    keep cosines (Johnson and Lindenstrauss), examples are put into cells of some 1,000
    around random ones of them, and those of the four nearest cells are compared: a few
    of a hundred pairs at the threshold are missed, hardly one far above it, and none of
    equal features. The numbers take 512 MB a million examples; features are read in
    blocks, twice, and those of candidates again.

    Args:
        features: of n examples.
        least_similarity: in [0, 1]. Defaults to `0.9`; smaller ones find copies that
            were changed more, and join things that resemble each other.
        seed: of the signs and cells, in [0, 2**64). Defaults to `0`.

    Returns:
        int64, shape `(n,)`: the number of each example's group, from 0 in the order of
        their first examples; -1 for those that are like no other.

    Raises:
        ValueError: if an argument is out of range, features are not finite, or all are
            the same.

    Example:
    ```python
    groups = duplicate_groups(embedded)
    wrong = contradictory_groups(groups, labels)
    np.nonzero(groups == wrong[0])  # one image under two labels
    ```
    """
    least_similarity = check_fraction("least_similarity", least_similarity)
    return _groups(features, least_similarity, seed)[0]


def contradictory_groups(groups: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Groups whose examples have different labels: one at least is wrong.

    Args:
        groups: as of `duplicate_groups`.
        labels: integers, shape `(n,)`.

    Returns:
        int64: numbers of such groups, in increasing order.

    Raises:
        ValueError: if there are not as many labels as examples.
    """
    groups, labels = np.asarray(groups), np.asarray(labels)
    if groups.shape != labels.shape or groups.ndim != 1:
        raise ValueError(
            "`groups` and `labels` must have one number for each example. Received "
            f"shapes: {groups.shape} and {labels.shape}."
        )
    is_grouped = groups >= 0
    kinds = np.unique(
        np.stack([groups[is_grouped], labels[is_grouped]], axis=1), axis=0
    )
    numbers, num_labels = np.unique(kinds[:, 0], return_counts=True)
    return numbers[num_labels > 1].astype(np.int64)


def _groups(
    features: FeatureRows, least_similarity: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The group of each example, and the first that has equal features."""
    scale = scale_of(take_finite(features, sample(features)))
    codes, first_equal = _codes(features, scale, seed)
    (places,) = np.nonzero(first_equal == np.arange(len(features)))
    pairs = places[_candidates(codes[places], least_similarity - _SLACK, seed)]
    pairs = pairs[_are_similar(features, scale, pairs, least_similarity)]
    equal = np.stack([np.arange(len(features)), first_equal], axis=1)
    joined = _joined(np.concatenate([pairs, equal]), len(features))
    return _numbered(joined), first_equal


def _codes(
    features: FeatureRows, scale: Scale, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """A code of length 1 for each example, and the first that has equal features."""
    num_features = features.num_features
    signs = None
    if num_features > _CODE_LENGTH:
        keys = np.arange(num_features)[:, None], np.arange(_CODE_LENGTH)
        bits = random_bits(seed, "near duplicates: signs", *keys) >> np.uint64(63)
        signs = bits.astype(np.float32) * 2 - 1
    length = min(num_features, _CODE_LENGTH)
    codes = np.empty((len(features), length), np.float32)
    first_equal = np.arange(len(features))
    known: dict[bytes, int] = {}
    for places, rows in blocks(features):
        for place, row in zip(places.tolist(), rows, strict=True):
            digest = hashlib.blake2b(row.tobytes(), digest_size=16).digest()
            first_equal[place] = known.setdefault(digest, place)
        rows = scale.standardised(rows)
        codes[places] = unit(rows if signs is None else rows @ signs)
    return codes, first_equal


def _candidates(codes: np.ndarray, least: float, seed: int) -> np.ndarray:
    """Pairs of examples whose codes are similar, int64 of shape `(num_pairs, 2)`."""
    found = [np.empty((0, 2), np.int64)]
    for seen, members in _cells(codes, seed):
        size = max(1, _BLOCK_NUMBERS // len(members))
        for start in range(0, len(seen), size):
            queries = seen[start : start + size]
            cosines = codes[queries] @ codes[members].T
            pairs = _most_similar(queries, members, cosines, least)
            found.append(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1))
    return np.unique(np.concatenate(found), axis=0)


def _cells(codes: np.ndarray, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each cell, the examples that look into it, and those that are its own."""
    num_cells = min(max(len(codes) // _CELL_SIZE, 1), _MOST_CELLS)
    num_seen = min(_CELLS_SEEN, num_cells)
    draws = random_bits(seed, "near duplicates: cells", np.arange(len(codes)))
    centres = codes[np.argsort(draws)[:num_cells]].T
    nearest = np.empty((len(codes), num_seen), np.int16)
    size = max(1, _BLOCK_NUMBERS // num_cells)
    for start in range(0, len(codes), size):
        block = slice(start, start + size)
        cosines = codes[block] @ centres
        last = np.argpartition(-cosines, num_seen - 1, axis=1)[:, :num_seen]
        order = np.argsort(-np.take_along_axis(cosines, last, axis=1), axis=1)
        nearest[block] = np.take_along_axis(last, order, axis=1)
    by_cell = np.argsort(nearest, axis=None, kind="stable")
    ends = np.searchsorted(nearest.ravel()[by_cell], np.arange(num_cells + 1))
    for cell in range(num_cells):
        example, rank = np.divmod(by_cell[ends[cell] : ends[cell + 1]], num_seen)
        if (rank == 0).any():
            yield example, example[rank == 0]


def _most_similar(
    queries: np.ndarray, members: np.ndarray, cosines: np.ndarray, least: float
) -> np.ndarray:
    """For each query, the members that are at least so similar, up to some."""
    is_similar = cosines >= least
    is_crowded = is_similar.sum(axis=1) > _MOST_CANDIDATES
    if is_crowded.any():
        crowded = cosines[is_crowded]
        best = np.argpartition(-crowded, _MOST_CANDIDATES, axis=1)[:, :_MOST_CANDIDATES]
        kept = np.zeros(crowded.shape, bool)
        np.put_along_axis(kept, best, True, axis=1)
        is_similar[is_crowded] = kept
    row, column = np.nonzero(is_similar)
    return np.stack([queries[row], members[column]], axis=1)


def _are_similar(
    features: FeatureRows, scale: Scale, pairs: np.ndarray, least: float
) -> np.ndarray:
    """Whether the cosine of the features of each pair is at least so large."""
    answers = np.zeros(len(pairs), bool)
    for start in range(0, len(pairs), _PAIRS_READ):
        block = slice(start, start + _PAIRS_READ)
        one, other = (
            unit(scale.standardised(take_finite(features, places)))
            for places in pairs[block].T
        )
        answers[block] = np.einsum("ij,ij->i", one, other) >= least
    return answers


def _joined(pairs: np.ndarray, num_examples: int) -> np.ndarray:
    """The first example that each is joined to, directly or over others."""
    first = np.arange(num_examples)
    while True:
        ends = first[pairs]
        lower = ends.min(axis=1)
        if (lower == ends.max(axis=1)).all():
            return first
        np.minimum.at(first, ends[:, 0], lower)
        np.minimum.at(first, ends[:, 1], lower)
        while (first[first] != first).any():
            first = first[first]


def _numbered(first: np.ndarray) -> np.ndarray:
    """Groups of two and more by number, of the first example of each."""
    _, place, size = np.unique(first, return_inverse=True, return_counts=True)
    is_group = size > 1
    number = np.where(is_group, np.cumsum(is_group) - 1, -1)
    return number[place].astype(np.int64)
