"""When what a training found out about labels is not to be trusted, and why.

A method looks at the evidence of a training and gives its doubts: plain sentences, each
with the figure seen and what to change. Those here are of any method.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

WHOLE_CLASS = 0.95
"""The share of a class's labels from which on "nearly all" of them are issues.

Of symmetric noise of 80%, trained well, it is about 0.8 in every class; at 0.95, three
quarters of the right labels of such a class would have been given up with the wrong.
"""

HIGH_LOSS = 10.0
"""In units of log K, the loss of knowing nothing: the first epoch's mean loss.

Measured on the digits: 0.6 to 1.0 with pixels in [0, 1], whatever the optimizer and the
noise; 5 with pixels in [0, 16], which training still recovers from; 30 with pixels in
[0, 255], which it does not.
"""

FEWEST_VISITS = 3
"""Of an example, below which nothing can tell its label from a wrong one.

The first says what an untrained network thinks; in the shortest trainings for which
rates are suggested, a label is given up after 3.4.
"""

# Of a class, and of all examples, that are enough to speak of a share.
_LEAST_OF_CLASS, _LEAST_OF_ALL = 5, 50
# Where more of all labels are issues, noise makes a class look like that, too.
_MOST_OF_ALL = 0.7
# How unlikely it must be that a class is like the others.
_CHANCE = 1e-3
# Pixels and other inputs that were scaled are not beyond.
_SCALED = 20.0


@dataclass(frozen=True)
class Doubt:
    """A reason not to trust what a training found out about labels.

    Args:
        name: of the kind of reason; each is said once in a training.
        text: a sentence or two, with the figure seen and what to change.
    """

    name: str
    text: str


@dataclass(frozen=True)
class Evidence:
    """What is known of a training; None is what is not.

    Args:
        largest_score: the largest `noise_score` of all, -inf where none is known.
        noise_scores: as in the table of label issues, `(n,)`, of all examples that were
            trained on or of a sample of them; NaN of trusted labels.
        quality: `label_quality`, likewise, by the predictions made in training; 1 of
            trusted labels.
        labels: the given labels, integers `(n,)`.
        predictions: the class that the network last predicted in training, `(n,)`.
        num_classes: K.
        start_loss: the mean cross entropy of the given labels in the first epoch.
        input_range: the least and the largest value of the inputs.
        visits: how often an example is visited in the whole training, on average.
        figures: what the method says of its own state (`Method.figures`), by name.
        is_over: whether the training is; some things can only be missing at its end.
    """

    largest_score: float
    noise_scores: np.ndarray | None = None
    quality: np.ndarray | None = None
    labels: np.ndarray | None = None
    predictions: np.ndarray | None = None
    num_classes: int | None = None
    start_loss: float | None = None
    input_range: tuple[float, float] | None = None
    visits: float | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    is_over: bool = True


def general_doubts(evidence: Evidence) -> tuple[Doubt, ...]:
    """The doubts that hold with any method, in the order in which to mend them."""
    return found(high_loss(evidence), few_visits(evidence), whole_classes(evidence))


def found(*doubts: Doubt | None) -> tuple[Doubt, ...]:
    """Those that there are."""
    return tuple(one for one in doubts if one is not None)


def largest_of(noise_scores: np.ndarray) -> float:
    """The largest of some scores; NaN is not known, and -inf where none is."""
    known = noise_scores[~np.isnan(noise_scores)]
    return float(known.max(initial=-np.inf))


def high_loss(evidence: Evidence) -> Doubt | None:
    """A network that was sure, and wrong, before it had learnt anything."""
    loss, num_classes = evidence.start_loss, evidence.num_classes
    if loss is None or num_classes is None:
        return None
    chance = math.log(num_classes)
    if loss < HIGH_LOSS * chance:
        return None
    cause = "The inputs may be unscaled, or the learning rate too high"
    if evidence.input_range is not None:
        low, high = evidence.input_range
        cause = f"The inputs are in [{low:.3g}, {high:.3g}]"
        if max(abs(low), abs(high)) > _SCALED:
            cause += ", which looks unscaled"
    return Doubt(
        "high_loss",
        f"In the first epoch the mean cross entropy was {loss:.3g}, where knowing "
        f"nothing of {num_classes} classes is {chance:.2f}: the network overflows or "
        f"saturates, and no label can be judged by it. {cause}: scale them to [0, 1] "
        "or to mean 0 and variance 1 (keras.layers.Rescaling(1 / 255) or "
        "Normalization at the network's input), or lower the learning rate.",
    )


def few_visits(evidence: Evidence) -> Doubt | None:
    """A training in which examples are hardly seen again."""
    visits = evidence.visits
    if visits is None or visits >= FEWEST_VISITS:
        return None
    return Doubt(
        "few_visits",
        f"Each example gets {visits:.2g} of the {FEWEST_VISITS} visits that it takes "
        "at least to tell a wrong label from one that is not learnt yet. Train for "
        "more epochs (`epochs` of fit, --epochs) or more steps_per_epoch; where "
        "several calls of fit are one training, pass `total_epochs`.",
    )


def whole_classes(evidence: Evidence) -> Doubt | None:
    """Classes of which nearly all labels are issues, or all classes."""
    if not evidence.is_over or evidence.quality is None or evidence.labels is None:
        return None
    is_issue, labels = evidence.quality < 0.5, evidence.labels
    if len(labels) < _LEAST_OF_ALL:
        return None
    if is_issue.mean() >= WHOLE_CLASS:
        return Doubt(
            "whole_classes",
            f"{_percent(is_issue.mean())} of all labels count as issues, so that "
            "hardly a class is left to judge them by. Train for more epochs "
            "(`epochs` of fit, --epochs) or at a higher learning rate, or take the "
            "worst of them alone (num_issues, issue_rate).",
        )
    if is_issue.mean() > _MOST_OF_ALL:
        return None
    counts = np.bincount(labels)
    issues = np.bincount(labels, weights=is_issue).astype(np.int64)
    places = np.flatnonzero(
        (counts >= _LEAST_OF_CLASS) & (issues >= WHOLE_CLASS * counts)
    )
    whole = [one for one in places.tolist() if _stands_out(one, counts, issues)]
    if not whole:
        return None
    whole.sort(key=lambda one: int(counts[one]))
    shown = [f"class {one} ({issues[one]:,} of {counts[one]:,})" for one in whole[:3]]
    more = f" and {len(whole) - 3} more" if len(whole) > 3 else ""
    return Doubt(
        "whole_classes",
        f"Nearly all labels of {', '.join(shown)}{more} count as issues, against "
        f"{_percent(is_issue.mean())} of all labels: a class that is rare or hard to "
        "learn looks like one that is given by mistake. Give it more weight "
        "(`class_weight` of fit) or more epochs (`epochs`, --epochs), or take the "
        "worst labels alone (num_issues, issue_rate).",
    )


def _stands_out(place: int, counts: np.ndarray, issues: np.ndarray) -> bool:
    """Whether chance alone would not make a class so unlike the others.

    The bound of Chernoff: of n labels that are issues with probability r each, at least
    k are with probability exp(-n KL(k/n, r)) at most.
    """
    count, share = counts[place], issues[place] / counts[place]
    # One of each kind more: a share of 0 would be beyond all doubt.
    rate = (issues.sum() - issues[place] + 1) / (counts.sum() - count + 2)
    if share <= rate:
        return False
    divergence = share * math.log(share / rate)
    if share < 1:
        divergence += (1 - share) * math.log((1 - share) / (1 - rate))
    return bool(count * divergence > math.log(len(counts) / _CHANCE))


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%"
