"""Class weights, in all forms in which they are given, as a table of the classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sop_keras.core.label_checks import check_labels

_FORMS = (
    "a dict of class to weight, one weight for each class in their order, or "
    '"balanced", as in scikit-learn'
)


def class_weight_table(
    class_weight: Any, num_classes: int, labels: Any = None
) -> np.ndarray:
    """`class_weight` as float32, shape `(num_classes,)`.

    Args:
        class_weight: a mapping of class to weight, 1 where a class is not named;
            `num_classes` weights; or `"balanced"`: n / (k n_c) for class c, where n_c
            of the n labels are c and k classes have any (scikit-learn's), 1 for a class
            without.
        num_classes: K.
        labels: all that are trained on, for `"balanced"`. Defaults to `None`: they are
            not known in advance.

    Raises:
        ValueError: for a key that is no class, a weight that is negative or not
            finite, another number of weights, or `"balanced"` without the labels.
    """
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ValueError(
                f"`class_weight` must be {_FORMS}. Received: {class_weight!r}"
            )
        return _balanced(labels, num_classes)
    # A pandas Series has the classes as its index.
    is_mapping = isinstance(class_weight, Mapping) or hasattr(class_weight, "items")
    weights = (
        dict(class_weight.items())
        if is_mapping
        else _in_order(class_weight, num_classes)
    )
    table = np.ones(num_classes, dtype=np.float32)
    for key, weight in weights.items():
        if key not in range(num_classes):
            raise ValueError(
                f"`class_weight` has the key {key!r}, which is no class of "
                f"[0, {num_classes})."
            )
        if not np.isfinite(weight) or weight < 0:
            raise ValueError(
                f"`class_weight[{key}]` must be finite and non-negative. "
                f"Received: {weight}"
            )
        table[int(key)] = weight
    return table


def _in_order(class_weight: Any, num_classes: int) -> dict[int, float]:
    weights = np.asarray(class_weight)
    if weights.shape != (num_classes,) or weights.dtype.kind not in "iufb":
        raise ValueError(
            f"`class_weight` must be {_FORMS}. There are {num_classes} classes. "
            f"Received: {weights.dtype.name} of shape {weights.shape}."
        )
    return dict(enumerate(weights.tolist()))


def _balanced(labels: Any, num_classes: int) -> np.ndarray:
    if labels is None:
        raise ValueError(
            'class_weight="balanced" needs all labels before training, which a stream '
            "or a batch does not show. Pass the weights: counts = np.bincount(labels); "
            "class_weight=len(labels) / (len(counts) * counts)."
        )
    labels = check_labels(labels, num_classes)
    if labels.ndim == 2:
        labels = labels.argmax(axis=-1)
    counts = np.bincount(labels, minlength=num_classes)
    has_any = counts > 0
    weights = len(labels) / (has_any.sum() * np.maximum(counts, 1))
    return np.where(has_any, weights, 1.0).astype(np.float32)
