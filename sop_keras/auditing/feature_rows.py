"""Features that may lie in a file: read some rows at a time, put to one scale."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sop_keras.files.mapped import take_rows
from sop_keras.randomness.keyed import random_bits

# Of a block, in numbers of float32: 32 MB.
_BLOCK_NUMBERS = 8_000_000

# Rows that a mean, a standard deviation and the like are taken of.
_MOST_SAMPLED = 20_000

# Whose standard deviations are taken together.
_FEATURES_AT_ONCE = 64


class FeatureRows(Protocol):
    """Features of n examples, such as `sop_keras.features.embed.Embedded`."""

    @property
    def num_features(self) -> int:
        """D, the number of features of an example."""

    def __len__(self) -> int: ...

    def take(self, positions: np.ndarray) -> np.ndarray:
        """float32, shape `(m, num_features)`, of the examples at `positions`."""


@dataclass(frozen=True)
class ArrayRows:
    """Rows of an array of features, in the order of some examples.

    Args:
        features: floats, shape `(num_rows, D)`; mapped from a file, it is read as it is
            used.
        places: the row of each of n examples, integers `(n,)`.
    """

    features: np.ndarray
    places: np.ndarray

    @property
    def num_features(self) -> int:
        """D, the number of features of an example."""
        return self.features.shape[1]

    def __len__(self) -> int:
        return len(self.places)

    def take(self, positions: np.ndarray) -> np.ndarray:
        """Those of some examples, float32 `(m, D)`, by their places `(m,)`."""
        rows = take_rows(self.features, self.places[positions])
        return rows.astype(np.float32, copy=False)


@dataclass(frozen=True)
class SomeRows:
    """Some examples of others.

    Args:
        features: of all.
        positions: which of them, integers `(n,)`.
    """

    features: FeatureRows
    positions: np.ndarray

    @property
    def num_features(self) -> int:
        """D, the number of features of an example."""
        return self.features.num_features

    def __len__(self) -> int:
        return len(self.positions)

    def take(self, positions: np.ndarray) -> np.ndarray:
        """Those of some examples, float32 `(m, D)`, by their places `(m,)`."""
        return self.features.take(self.positions[positions])


@dataclass(frozen=True)
class Scale:
    """What puts features to mean 0 and standard deviation 1.

    Args:
        mean: float32, shape `(num_features,)`.
        factor: likewise: 1 / standard deviation; 0 for features that do not vary.
    """

    mean: np.ndarray
    factor: np.ndarray

    def standardised(self, rows: np.ndarray) -> np.ndarray:
        """Rows of shape `(m, num_features)` on this scale, float32."""
        standardised = rows - self.mean
        standardised *= self.factor
        return standardised

    def with_constant(self, rows: np.ndarray) -> np.ndarray:
        """The same, and a last column of ones: float32 `(m, num_features + 1)`."""
        columns = np.empty((len(rows), len(self.mean) + 1), np.float32)
        np.subtract(rows, self.mean, out=columns[:, :-1])
        columns[:, :-1] *= self.factor
        columns[:, -1] = 1
        return columns


def take_finite(features: FeatureRows, positions: np.ndarray) -> np.ndarray:
    """The features of some examples.

    Raises:
        ValueError: if one has a feature that is not finite, or far too large.
    """
    rows = np.asarray(features.take(positions), np.float32)
    # Of squares, no sum may overflow. The largest of a NaN and others is NaN.
    is_sound = (rows.max(axis=1) < 1e15) & (rows.min(axis=1) > -1e15)
    if not is_sound.all():
        raise ValueError(
            "Features must be finite, and below 1e15. Received others, first for the "
            f"example at place {positions[is_sound.argmin()]}. Leave it out, or make "
            "its features anew."
        )
    return rows


def blocks(
    features: FeatureRows, beside: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All examples in their order, as many at a time as take some 32 MB.

    Args:
        features: of n examples.
        beside: numbers that the caller computes for each row; blocks are made smaller
            if these are more than the features. Defaults to `0`.

    Yields:
        Places, int64 of shape `(m,)`, and features, float32 of `(m, num_features)`.

    Raises:
        ValueError: as of `take_finite`.
    """
    size = max(1, _BLOCK_NUMBERS // max(features.num_features, beside, 1))
    for start in range(0, len(features), size):
        places = np.arange(start, min(start + size, len(features)))
        yield places, take_finite(features, places)


def sample(features: Sized, most: int | None = None) -> np.ndarray:
    """Places drawn from all examples, the same ones each time.

    At equal distances, classes that take turns in the data would be left out.

    Args:
        features: of n examples; or anything else of that length.
        most: how many, at most. Defaults to `None`: 20,000.

    Returns:
        int64, shape `(min(n, most),)`, in increasing order.
    """
    places = np.arange(len(features))
    count = _MOST_SAMPLED if most is None else most
    if count >= len(places):
        return places
    draws = random_bits(0, "sample of examples", places)
    return np.sort(np.argpartition(draws, count)[:count])


def scale_of(rows: np.ndarray) -> Scale:
    """The scale of a sample.

    Args:
        rows: float32, shape `(m, num_features)`.

    Raises:
        ValueError: if there are fewer than two rows, or no feature varies.
    """
    if len(rows) < 2:
        raise ValueError(
            f"Features of two examples at least are compared. Received: {len(rows)}."
        )
    mean = rows.mean(axis=0, dtype=np.float64)
    # Some features at a time, for it computes with a copy in float64.
    parts = np.array_split(rows, max(1, rows.shape[1] // _FEATURES_AT_ONCE), axis=1)
    std = np.concatenate([part.std(axis=0, dtype=np.float64) for part in parts])
    # What rounding alone makes of equal numbers is no variation.
    varies = std > 1e-6 * np.abs(mean)
    if not varies.any():
        raise ValueError(
            "All examples have the same features: nothing can be told from them. Were "
            "the images read, and does the network have its weights?"
        )
    factor = np.where(varies, 1 / np.where(varies, std, 1), 0)
    return Scale(mean.astype(np.float32), factor.astype(np.float32))


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1; those of zeros stay so, and are like nothing."""
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    return rows / np.where(lengths > 0, lengths, 1)
