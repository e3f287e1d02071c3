"""What `validation_split` leaves to train on: the first share of arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np


def num_trained_on(num_examples: int, validation_split: float) -> int:
    """How many of the examples are trained on, rounded as Keras does."""
    return int(num_examples * (1.0 - validation_split))


def trained_on(x: Any, y: Any, validation_split: float) -> tuple[Any, Any]:
    """The arrays without those that Keras sets aside; streams as they are."""
    if y is None or not validation_split:
        return x, y
    count = num_trained_on(len(y["label"]), validation_split)
    return keras.tree.map_structure(lambda one: one[:count], (x, y))


def labels_of(y: Any, validation_split: float) -> np.ndarray | None:
    """The labels of arrays that are trained on; None where there is no y."""
    if y is None:
        return None
    labels = np.asarray(y["label"] if isinstance(y, Mapping) else y)
    return labels[: num_trained_on(len(labels), validation_split)]


def of_trained_on(class_weights: Any, validation_split: float) -> np.ndarray:
    """Weights of each example's class, but 1 where it is set aside.

    Keras splits sample weights along, and classes have no weights in validation.
    """
    weights = np.array(class_weights)
    weights[num_trained_on(len(weights), validation_split) :] = 1.0
    return weights
