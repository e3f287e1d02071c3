"""Classes that look like one class under two names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby

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
    return alike_in_rows(
        probabilities.__getitem__, labels, num_classes=probabilities.shape[1]
    )


def alike_in_rows(
    rows: Callable[[np.ndarray], np.ndarray], labels: np.ndarray, num_classes: int
) -> AlikeClasses:
    """The same of probabilities that are computed as they are needed.

    Args:
        rows: gives those of some examples, `(m, K)` of places `(m,)`; it is asked for
            each once, or twice with more than 50 classes.
        labels: int64, shape `(n,)`, in [0, K).
        num_classes: K.
    """
    members = _members(labels, num_classes)
    pairs = _pairs(rows, members)
    ratios = _log_ratios(rows, members, pairs)
    shares = np.array(
        [
            _share(ratios[first, second], -ratios[second, first])
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


def _of_classes(
    rows: Callable[[np.ndarray], np.ndarray],
    members: list[np.ndarray],
    wanted: list[int],
) -> Iterator[tuple[int, Iterator[np.ndarray]]]:
    """Some classes in turn, and the probabilities of the examples of each, in parts."""
    if not wanted:
        return
    places = np.concatenate([members[label] for label in wanted])
    labels = np.repeat(wanted, [len(members[label]) for label in wanted])
    size = max(1, _BLOCK_NUMBERS // len(members))

    def parts() -> Iterator[tuple[int, np.ndarray]]:
        for start in range(0, len(places), size):
            here = labels[start : start + size]
            found = rows(places[start : start + size])
            starts = np.flatnonzero(np.diff(here, prepend=-1))
            split = np.split(found, starts[1:])
            yield from zip(here[starts].tolist(), split, strict=True)

    for label, of_label in groupby(parts(), key=lambda one: one[0]):
        yield label, (part for _, part in of_label)


def _pairs(
    rows: Callable[[np.ndarray], np.ndarray], members: list[np.ndarray]
) -> np.ndarray:
    """Pairs of classes to compare, int64 of shape `(num_pairs, 2)`, in their order."""
    is_large = np.array([len(places) >= _LEAST_EXAMPLES for places in members])
    large = np.flatnonzero(is_large)
    if len(members) <= _MOST_CLASSES_OF_ALL_PAIRS:
        first, second = np.triu_indices(len(large), 1)
        return np.stack([large[first], large[second]], axis=1)
    found = set()
    for label, parts in _of_classes(rows, members, large.tolist()):
        mean = np.zeros(len(members))
        for part in parts:
            mean += part.sum(axis=0, dtype=np.float64)
        mean[~is_large] = -1
        mean[label] = -1
        confused = np.argsort(-mean)[:_MOST_CONFUSED]
        others = confused[mean[confused] >= 0].tolist()
        found |= {(min(label, other), max(label, other)) for other in others}
    return np.array(sorted(found), np.int64).reshape(-1, 2)


def _log_ratios(
    rows: Callable[[np.ndarray], np.ndarray],
    members: list[np.ndarray],
    pairs: np.ndarray,
) -> dict[tuple[int, int], np.ndarray]:
    """log(p_a / p_b) of the examples labelled a, for each pair a, b, both ways."""
    partners: dict[int, list[int]] = {}
    for first, second in pairs.tolist():
        partners.setdefault(first, []).append(second)
        partners.setdefault(second, []).append(first)
    found = {}
    for label, parts in _of_classes(rows, members, sorted(partners)):
        columns = [label, *partners[label]]
        least = np.finfo(np.float64).tiny  # two that are 0 are equal
        logs = [
            np.log(np.maximum(part[:, columns].astype(np.float64), least))
            for part in parts
        ]
        own, *others = np.concatenate(logs).T
        for other, log in zip(partners[label], others, strict=True):
            found[label, other] = own - log
    return found


def _share(here: np.ndarray, there: np.ndarray) -> float:
    """2 (1 - A), at most 1; of equal ratios, half count as larger.

    Args:
        here: log(p_a / p_b) of the examples labelled a, float64 `(m,)`.
        there: the same ratio of those labelled b.
    """
    here, there = np.sort(here), np.sort(there)
    below = np.searchsorted(there, here, "left") + np.searchsorted(there, here, "right")
    area = below.sum(dtype=np.float64) / (2 * len(here) * len(there))
    return min(1.0, 2 * (1 - float(area)))
