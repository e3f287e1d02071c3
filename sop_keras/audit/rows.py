"""Features of some examples, out of an array that may be a file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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
        rows = np.take(self.features, self.places[positions], axis=0)
        return rows.astype(np.float32, copy=False)
