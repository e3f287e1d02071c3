"""Classes that look like one class under two names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEAST_SHARE = 0.9
"""From this share on, two classes are called alike."""

# Of smaller classes nothing is told.
_LEAST_EXAMPLES = 10

# With more classes, each is compared with those that it is confused with most.
_MOST_CLASSES_OF_ALL_PAIRS, _MOST_CONFUSED = 50, 10

# Probabilities that are looked at together: 32 MB of float32.
_BLOCK_NUMBERS = 8_000_000


@dataclass(frozen=True)
class AlikeClasses:
    """Pairs of classes, the most alike first.

    Args:
        pairs: int64, shape `(num_pairs, 2)`: two classes, the lower number first.
        shares: float64, shape `(num_pairs,)`, in [0, 1]: 0 if the two are told apart
            without a mistake, 1 if they cannot be told apart.
        is_alike: bool, likewise: whether they look like one class.
    """

    pairs: np.ndarray
    shares: np.ndarray
    is_alike: np.ndarray


def alike_classes(probabilities: np.ndarray, labels: np.ndarray) -> AlikeClasses:
    """How well classes are told apart, pair by pair.

    For classes a and b, take an example labelled a and one labelled b: how often has
    the first the larger `p_a / p_b`? Always, of classes that are told apart; half of
    the time (the area A under the ROC curve is 1/2) if the labels a and b were given
    by tossing a coin, whatever the sizes of the classes and the other classes are.

        share = 2 (1 - A), at most 1

    Pairs are called alike from 0.9 on: classes that resemble each other, as cats and
    dogs do, are told apart far more often. Wrong labels raise all shares: with 40% of
    ten classes' labels drawn evenly from the others, to 0.25 at least. Where four of
    ten labels of two classes are exchanged, their share is 0.8 at least.

    All pairs are compared with up to 50 classes; with more, each class with the ten
    that get most of its examples' probability. Classes of fewer than ten examples are
    left out.

    Args:
        probabilities: floats, shape `(n, K)`: of each class, by a classifier that was
            not trained on that example (cross-validation). One that was knows the
            labels by heart, also those that were given by tossing a coin.
        labels: integers, shape `(n,)`, in [0, K).

    Raises:
        ValueError: if probabilities are none, or labels are not theirs.

    Example:
    ```python
    alike = alike_classes(probabilities, labels)
    alike.pairs[alike.is_alike]  # such as [[3, 10]]
    ```
    """
    probabilities, labels = _checked(np.asarray(probabilities), np.asarray(labels))
    num_classes = probabilities.shape[1]
    members = _members(labels, num_classes)
    pairs = _pairs(probabilities, members)
    shares = np.array(
        [
            _share(probabilities, members[first], members[second], first, second)
            for first, second in pairs.tolist()
        ],
        np.float64,
    )
    order = np.argsort(-shares, kind="stable")
    return AlikeClasses(pairs[order], shares[order], shares[order] >= LEAST_SHARE)


def _checked(
    probabilities: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    if probabilities.ndim != 2 or probabilities.dtype.kind != "f":
        raise ValueError(
            "`probabilities` must be floats of shape (num_examples, num_classes). "
            f"Received: {probabilities.dtype} of shape {probabilities.shape}."
        )
    num_examples, num_classes = probabilities.shape
    size = max(1, _BLOCK_NUMBERS // max(num_classes, 1))
    for start in range(0, num_examples, size):
        block = probabilities[start : start + size]
        is_one = ((block >= 0) & (block <= 1.001)).all(axis=1)  # not so of NaN
        if not is_one.all():
            raise ValueError(
                "`probabilities` must be in [0, 1]. Received others, first for the "
                f"example at place {start + is_one.argmin()}. Put logits through "
                "softmax first."
            )
    if labels.shape != (num_examples,) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"`labels` must be {num_examples} integers, one for each example. "
            f"Received: {labels.dtype} of shape {labels.shape}."
        )
    if num_examples and not 0 <= labels.min() <= labels.max() < num_classes:
        raise ValueError(
            f"`labels` must be in [0, {num_classes}), as there are {num_classes} "
            f"probabilities an example. Received: {labels.min()} to {labels.max()}."
        )
    return probabilities, labels.astype(np.int64)


def _members(labels: np.ndarray, num_classes: int) -> list[np.ndarray]:
    """The places of the examples of each class."""
    order = np.argsort(labels, kind="stable")
    ends = np.cumsum(np.bincount(labels, minlength=num_classes))
    return np.split(order, ends[:-1])


def _pairs(probabilities: np.ndarray, members: list[np.ndarray]) -> np.ndarray:
    """Pairs of classes to compare, int64 of shape `(num_pairs, 2)`, in their order."""
    large = np.array([len(places) >= _LEAST_EXAMPLES for places in members])
    num_classes = len(members)
    is_compared = np.ones((num_classes, num_classes), bool)
    if num_classes > _MOST_CLASSES_OF_ALL_PAIRS:
        is_compared[:] = False
        for label in np.flatnonzero(large):
            mean = _mean(probabilities, members[label])
            mean[~large] = -1
            mean[label] = -1
            is_compared[label, np.argsort(-mean)[:_MOST_CONFUSED]] = True
    is_compared = (is_compared | is_compared.T) & large & large[:, None]
    return np.argwhere(np.triu(is_compared, 1))


def _mean(probabilities: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Of each class's probability over some examples, float64 `(num_classes,)`."""
    num_classes = probabilities.shape[1]
    size = max(1, _BLOCK_NUMBERS // num_classes)
    total = np.zeros(num_classes)
    for start in range(0, len(places), size):
        rows = probabilities[places[start : start + size]]
        total += rows.sum(axis=0, dtype=np.float64)
    return total / len(places)


def _share(
    probabilities: np.ndarray,
    of_first: np.ndarray,
    of_second: np.ndarray,
    first: int,
    second: int,
) -> float:
    """2 (1 - A), at most 1; of equal ratios, half count as larger."""
    here, there = (
        np.sort(_log_ratio(probabilities[places, first], probabilities[places, second]))
        for places in (of_first, of_second)
    )
    below = np.searchsorted(there, here, "left") + np.searchsorted(there, here, "right")
    area = below.sum(dtype=np.float64) / (2 * len(here) * len(there))
    return min(1.0, 2 * (1 - float(area)))


def _log_ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Of two probabilities; two that are 0 are equal."""
    least = np.finfo(np.float64).tiny
    return np.log(np.maximum(above.astype(np.float64), least)) - np.log(
        np.maximum(below.astype(np.float64), least)
    )
