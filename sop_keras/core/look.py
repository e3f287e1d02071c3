"""What a method is shown of all examples before an epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Look:
    """What a method is shown of all examples before an epoch.

    Args:
        epoch: that is about to begin, from 0.
        ids: of the examples, int64 `(n,)`.
        labels: their given labels, int64 `(n,)`.
        log_probs: of each network, under the view of evaluation, float32 `(n, K)`.
        losses: the cross entropy of each given label by each network, `(n,)`.
        rows: the rows of every table, `(n, columns)`, by name.
        state: the method's own variables, by name.
    """

    epoch: int
    ids: np.ndarray
    labels: np.ndarray
    log_probs: tuple[np.ndarray, ...]
    losses: tuple[np.ndarray, ...]
    rows: Mapping[str, np.ndarray]
    state: Mapping[str, np.ndarray]
