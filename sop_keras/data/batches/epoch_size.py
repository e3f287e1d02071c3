"""How many examples an epoch has."""

from __future__ import annotations

import numpy as np


def num_in_epoch(labels: np.ndarray, num_classes: int, examples_per_class: int) -> int:
    """How many examples an epoch has.

    Args:
        labels: the given labels, integers in `[0, num_classes)`, shape `(n,)`.
        num_classes: the number of classes K.
        examples_per_class: how many of each class; 0: all there are.

    Raises:
        ValueError: if a class has fewer.
    """
    if not examples_per_class:
        return len(labels)
    counts = np.bincount(labels, minlength=num_classes)
    if examples_per_class < 0 or counts.min() < examples_per_class:
        raise ValueError(
            "`examples_per_class` must be at most the size of the smallest class, "
            f"here {counts.min()} (class {counts.argmin()}), or 0 for all examples. "
            f"Received: examples_per_class={examples_per_class}."
        )
    return num_classes * examples_per_class
