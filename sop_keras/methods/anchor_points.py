"""Transition matrices read off anchor points (Patrini et al. 2017, Section 4.1)."""

from __future__ import annotations

import numpy as np

_SUM_TOLERANCE = 1e-2
_WELL_LARGER = 1.5


def estimate_transition(probs: np.ndarray, anchor_percentile: float = 97) -> np.ndarray:
    """T, T[i, j] = P(given j | true i), of what a network says of all examples.

    The anchor of class i is the example that the network is surest to be of it, and row
    i is what the network says of the anchor, divided by its sum:

        T_ij = p_j(x^i),    x^i = argmax_x p_i(x)                  (eqs. 12, 13).

    Args:
        probs: of a network that was trained on given labels, `(n, num_classes)`, not
            negative, rows sum to 1.
        anchor_percentile: as of `anchor_points`. Defaults to `97`.

    Returns:
        float64, `(num_classes, num_classes)`; rows sum to 1.

    Raises:
        ValueError: as of `anchor_points`.
    """
    probs = np.asarray(probs, np.float64)
    rows = probs[anchor_points(probs, anchor_percentile)]
    return rows / rows.sum(axis=1, keepdims=True)


def anchor_points(probs: np.ndarray, anchor_percentile: float = 97) -> np.ndarray:
    """The place of each class's anchor among the examples, integers `(num_classes,)`.

    Args:
        probs: as of `estimate_transition`.
        anchor_percentile: in (0, 100]. At 100, the anchor of class i is the example of
            the largest p_i; below, that of the largest p_i strictly below this
            percentile of p_i, which leaves out outliers. Where classes are as small as
            the part above it, as those of CIFAR-100 are, take 100
            (`suitable_percentile`). Of equal ones, the first. Defaults to `97`.

    Raises:
        ValueError: if these are no probabilities, or a class has no anchor: no example
            with a p_i above 0 is left below the percentile.
    """
    check_percentile(anchor_percentile)
    probs = np.asarray(probs, np.float64)
    if (
        probs.ndim != 2
        or not (probs >= 0).all()  # NaN fails the comparison too
        or not np.allclose(probs.sum(axis=1), 1, atol=_SUM_TOLERANCE)
    ):
        raise ValueError(
            "`probs` must be probabilities, (n, num_classes), rows of sum 1. Received: "
            f"an array of shape {probs.shape} that is not."
        )
    found = []
    for place, of_class in enumerate(probs.T):
        left = of_class
        if anchor_percentile < 100 and len(of_class):
            limit = np.percentile(of_class, anchor_percentile, method="higher")
            left = np.where(of_class < limit, of_class, 0.0)
        if not left.any():
            raise ValueError(
                f"Class {place} has no anchor: of {len(of_class)} examples, none is "
                "left whose probability of it is above 0 and, for an anchor_percentile "
                f"below 100, below that percentile. Received: {anchor_percentile}. "
                "Train longer, give more examples, or take anchor_percentile=100."
            )
        found.append(left.argmax())
    return np.array(found, np.int64)


def suitable_percentile(
    anchor_percentile: float, labels: np.ndarray, num_classes: int
) -> float:
    """The percentile if each class is well larger than the part above it, else 100.

    Below the 97th percentile, a class of 3% of the examples or less has none of its own
    left: its anchor would be of another class. Well larger is 1.5 times: so are the
    labels of CIFAR-10, of which 40% of asymmetric noise leaves a class 6%.

    Args:
        anchor_percentile: as of `anchor_points`.
        labels: given, integers `(n,)` in `[0, num_classes)`, at least one.
        num_classes: K.
    """
    counts = np.bincount(labels, minlength=num_classes)
    smallest = 100.0 * counts.min() / len(labels)
    is_well_larger = smallest >= _WELL_LARGER * (100.0 - anchor_percentile)
    return anchor_percentile if is_well_larger else 100


def check_examples_of_each(labels: np.ndarray, num_classes: int) -> None:
    """Check that every class has an example: a class's anchor is one of its own.

    Args:
        labels: given, integers `(n,)` in `[0, num_classes)`.
        num_classes: K.

    Raises:
        ValueError: if one has none.
    """
    (missing,) = np.nonzero(np.bincount(labels, minlength=num_classes) == 0)
    if len(missing):
        raise ValueError(
            f"No example is labelled {missing[0]} ({len(missing)} of {num_classes} "
            "classes have none): the network cannot learn what a class without "
            "examples looks like, and its anchor would be of another. Leave it out of "
            "the classes, or give methods.Forward(transition=T) yourself."
        )


def check_percentile(anchor_percentile: float) -> None:
    """Check a percentile of anchors.

    Raises:
        ValueError: if it is not in (0, 100].
    """
    if isinstance(anchor_percentile, bool) or not 0 < anchor_percentile <= 100:
        raise ValueError(
            "`anchor_percentile` must be above 0 and at most 100, such as 97. "
            f"Received: anchor_percentile={anchor_percentile!r}."
        )
