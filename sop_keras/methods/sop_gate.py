"""Adaptive rates of u and v: rows grow by what the network knows, not by a constant.

With a constant rate, u grows at every visit by 1/p_y - 1, whether or not the network
has learnt anything: with a slow optimizer, few steps or a rare class, right labels are
given up before they could be learnt. Here a row takes a step

    x = G G_c (R^(L/t) - 1),    R = (1/p_y - 1) / (1/r_c - 1),    L = ln(1/GIVEN_UP)

at each visit, and grows by the factor 1 + x (docs/theory.md, "Adaptive rates").

- r_c lies, in log odds, between q_c, what the network gives the label c in examples of
  c that it agrees with, and the mean of p_c over all examples, a third of the way: from
  what believed labels of the class have to what labels at random have. A row grows
  where R > 1 and shrinks again, slowly, where R < 1.
- t is how often each example has been visited so far: a row adds up log R over log t.
  What took the network t visits to learn is not decided in a small share of them:
  neither the number of epochs nor the learning rate has to be known.
- G in [0, 1] opens once the network has learnt what it can for now, and labels
  contradict it where it is surest. With right labels it stays shut: examples that are
  merely hard are contradicted where the network is unsure, or by its second choice.
  What labels at random have contradicted for long counts from then on: a network that
  learns wrong labels by heart agrees with them.
- G_c is 0 for classes that the network has not learnt as it has the others, else 1.

All is made of running means over the last visits: O(num_classes) numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from sop_keras.methods import sop_visits
from sop_keras.methods.sop_doubts import GATE_WIDEST

Tensor = Any

GIVEN_UP = 1e-4
"""A label counts as wrong once its row has grown by 1 / GIVEN_UP."""

# Chosen on small trainings of digits, CIFAR-10 and CIFAR-100 (docs/theory.md).
_LEAST_LOG_RATIO = -0.3  # of R: how fast rows shrink
# Standard deviations that q_c is below the mean of the agreeing, in log odds; and so
# many more while labels are still being learnt.
_BELIEVED, _BELIEVED_YET = 0.4, 0.6
_SURE = 0.5  # standard deviations that sure predictions are above the mean of a class's
_MEANS_OVER, _AGREEMENT_OVER, _SLOW_OVER = 1 / 3, 1 / 6, 1 / 2  # of the visits so far
_SHARPNESS = (0.4, 0.7), (1.15, 1.4)
_PROGRESS = np.array([1.02, 1.12], np.float32)
_PROGRESS_AGAINST = np.array([1.08, 1.16], np.float32)
_PROGRESS_TOLD = np.array([1.4, 1.6], np.float32)
_BY_CHANCE, _BY_CHANCE_MUCH = (0.08, 0.14), (0.16, 0.24)
_BY_FAR, _BY_FAR_OF_TWO = (0.3, 0.45), (0.34, 0.44)
_FEW_FAR, _SHARE_FAR = 4, 1 / 5  # of the classes other than the predicted one
_MANY_CLASSES, _SURE_ENOUGH = 20, (0.7, 0.85)
_HAS_BEEN_WIDE, _SHARP_ENOUGH = (0.15, 0.35), (0.6, 0.8)
_CLASS_SHARE = 0.3
_LEAST_VISITS, _LEAST_STEPS, _LEAST_SURE, _LONG_ENOUGH = 1.001, 20, 5, 3.0
_LOG_STEP = math.log(0.5), math.log(9)
_LARGEST_LOG_ODDS = 15.0  # float32 knows 1 - p up to 6e-8
_TINY = 1e-9

# Columns of the state of classes: how many examples of this label the network agrees
# with, the sum of their log odds and of the squares; the same of predictions of this
# class; examples of this label; the sum of the class's probabilities.
_AGREEING, _PREDICTED, _LABELS, _PROBS = slice(0, 3), slice(3, 6), 6, 7
_CLASS_COLUMNS = 8

# The totals: sums over the window, then numbers; the last: whether it was half open.
_COUNT, _GIVEN, _SQUARES, _SURELY, _CONTRADICTED, _FAR = range(6)
_RECENT_AGREEING, _RECENT, _SLOW, VISITS, _STEPS, _OPENED = range(6, 12)
_NUM_TOTALS = 12


@dataclass(frozen=True)
class Gate:
    """What the network knows, as far as it decides how rows may grow.

    Args:
        opening: G, a scalar in [0, 1].
        classes: G_c, float32 `(num_classes,)`, each 0 or 1.
        believed: log(q_c / (1 - q_c)), `(num_classes,)`.
        boundary: log(r_c / (1 - r_c)), likewise.
        visits: t, a scalar.
        at_random: how far labels that contradict at random would open it, a cautious
            estimate; 0 in the first visits, when hard right labels look like them.
        contradicted: the share of its surest predictions that the label contradicts, a
            cautious estimate (one standard error low): about the share of wrong labels.
    """

    opening: Tensor
    classes: Tensor
    believed: Tensor
    boundary: Tensor
    visits: Tensor
    at_random: Tensor
    contradicted: Tensor


def first_state(num_classes: int) -> dict[str, np.ndarray]:
    """The state before training, in which the gate is shut."""
    return {
        "gate_classes": np.zeros((num_classes, _CLASS_COLUMNS), np.float32),
        "gate_totals": np.zeros(_NUM_TOTALS, np.float32),
        "gate_widest": np.zeros((), np.float32),  # that `at_random` has been
        "gate_examples": np.zeros((), np.float32),  # that have been trained on
    }


def what_is_said(probs: Tensor, predictions: Tensor, labels: Tensor) -> Tensor:
    """What the gate has to know of each example, float32 `(n, 6)`.

    Label and prediction, the log odds of both, ||p||^2, and how many classes are
    likelier than the label.

    Args:
        probs: the network's probabilities, `(n, num_classes)`.
        predictions: onehot(argmax f), likewise.
        labels: one-hot given labels, likewise.
    """
    given = ops.sum(probs * labels, axis=-1)
    columns = [
        ops.argmax(labels, axis=-1),
        ops.argmax(predictions, axis=-1),
        _log_odds(given),
        _log_odds(ops.sum(probs * predictions, axis=-1)),
        ops.sum(ops.square(probs), axis=-1),
        ops.sum(ops.cast(probs > given[:, None], "float32"), axis=-1),
    ]
    return ops.stack([ops.cast(one, "float32") for one in columns], axis=-1)


def which_count(probs: Tensor, weights: Tensor | None) -> Tensor:
    """1 for examples that say something, else 0, float32 `(n, 1)`.

    Those of weight 0 do not, nor those that the network overflowed on: a NaN would stay
    in the state for ever.

    Args:
        probs: the network's probabilities, `(n, num_classes)`.
        weights: of the examples, `(n, 1)`; or None.
    """
    counts = ops.all(ops.isfinite(probs), axis=-1, keepdims=True)
    if weights is not None:
        counts = counts & (weights > 0)
    return ops.cast(counts, "float32")


def after_reset(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What is known once labels were corrected: not that some are wrong."""
    if "gate_widest" not in state:
        return {}
    return {"gate_widest": 0.0 * ops.convert_to_tensor(state["gate_widest"])}


def updated_state(
    state: dict[str, Tensor],
    said: Tensor,
    counts: Tensor,
    num_new: Tensor,
    mean_probs: Tensor,
    num_examples: int,
) -> dict[str, Tensor]:
    """The state after a batch.

    Args:
        state: as of `first_state`.
        said: `what_is_said` of the whole batch, `(n, 6)`.
        counts: 1, or 0 for examples that do not count (`which_count`), `(n,)`.
        num_new: how many examples were not trained on before, each counted once.
        mean_probs: the mean over the batch of the probabilities, those of examples that
            do not count as 0, `(num_classes,)`.
        num_examples: N, of which some may never be trained on.
    """
    classes, totals = state["gate_classes"], state["gate_totals"]
    num_classes = classes.shape[0]
    label, predicted, of_given, of_own, square, likelier = (
        said[:, column] for column in range(6)
    )
    label, predicted = ops.cast(label, "int32"), ops.cast(predicted, "int32")
    agrees = counts * ops.cast(ops.equal(label, predicted), "float32")
    bar, number = _bar_of_sure(classes[:, _PREDICTED])
    is_sure = (of_own >= ops.take(bar, predicted)) & (ops.take(number, predicted) > 1)
    sure = counts * ops.cast(is_sure, "float32")
    contradicted = sure - sure * agrees
    used, num_far = _used_and_far(classes)
    is_far = (num_far > 0) & (likelier >= used - num_far)

    brought = ops.concatenate(
        [
            ops.segment_sum(_powers(agrees, of_given), label, num_classes),
            ops.segment_sum(_powers(counts, of_own), predicted, num_classes),
            ops.segment_sum(counts[:, None], label, num_classes),
            mean_probs[:, None] * ops.cast(ops.shape(said)[0], "float32"),
        ],
        axis=-1,
    )
    sums = [counts, counts * ops.sigmoid(of_given), counts * square, sure]
    sums += [contradicted, contradicted * ops.cast(is_far, "float32")]
    size = ops.sum(counts)
    before, examples = sop_visits.numbers_of_examples(
        state["gate_examples"], totals[VISITS], num_new, num_examples
    )
    visits = (totals[VISITS] * before + size) / examples

    def share_of_new(over: float, most: float = 1.0) -> Tensor:
        """Of a mean over a part of the visits so far, and of so many at most."""
        window = ops.maximum(ops.minimum(over * visits, most) * examples, _TINY)
        return ops.minimum(size / window, 1.0)

    keep, keep_recent = (
        1.0 - share_of_new(over) for over in (_MEANS_OVER, _AGREEMENT_OVER)
    )
    agreement = ops.sum(agrees)
    slow = totals[_SLOW] + share_of_new(_SLOW_OVER, math.inf) * (
        agreement / ops.maximum(size, 1.0) - totals[_SLOW]
    )
    new_totals = [
        *(totals[place] * keep + ops.sum(one) for place, one in enumerate(sums)),
        totals[_RECENT_AGREEING] * keep_recent + agreement,
        totals[_RECENT] * keep_recent + size,
        slow,
        visits,
        totals[_STEPS] + 1.0,
        totals[_OPENED],
    ]
    new = {
        "gate_classes": classes * keep + brought,
        "gate_totals": ops.stack(new_totals),
        "gate_widest": state["gate_widest"],
        "gate_examples": examples,
    }
    gate = gate_of(new)
    opens = ops.cast(gate.opening > 0.5, "float32")
    new_totals[_OPENED] = ops.maximum(totals[_OPENED], opens)
    return {
        **new,
        "gate_totals": ops.stack(new_totals),
        "gate_widest": ops.maximum(state["gate_widest"], gate.at_random),
    }


def gate_of(state: dict[str, Tensor]) -> Gate:
    """The gate in a state.

    Sharpness is the slope of the label's indicator on the probabilities of the classes:
    1 for probabilities that are what they say, more for a network that knows more than
    it says as it still learns, near 0 before it has learnt anything.
    """
    classes, totals = state["gate_classes"], state["gate_totals"]
    num_classes = classes.shape[0]
    count = ops.maximum(totals[_COUNT], _TINY)
    mean_probs, frequencies = classes[:, _PROBS] / count, classes[:, _LABELS] / count
    covariance = totals[_GIVEN] / count - ops.sum(mean_probs * frequencies)
    variance = totals[_SQUARES] / count - ops.sum(ops.square(mean_probs))
    sharpness = covariance / ops.maximum(variance, _TINY)
    agreement = totals[_RECENT_AGREEING] / ops.maximum(totals[_RECENT], _TINY)
    progress = agreement / ops.maximum(totals[_SLOW], _TINY)
    surely = ops.maximum(totals[_SURELY], 1.0)
    share = totals[_CONTRADICTED] / surely
    share = share - ops.sqrt(ops.maximum(share * (1.0 - share), 0.0) / surely)
    share = ops.where(totals[_SURELY] > _LEAST_SURE, share, 0.0)
    far = totals[_FAR] / ops.maximum(totals[_CONTRADICTED], _TINY)
    used, num_far = _used_and_far(classes)  # of two classes, none
    by_chance = ops.minimum(far * (used - 1.0) / ops.maximum(num_far, 1.0), 1.0)

    # Where it has opened, given labels no longer say how sharp the network is: those
    # that were given up contradict it for ever.
    begun = ops.maximum(_ramp(sharpness, *_SHARPNESS[0]), totals[_OPENED])
    has_learnt = begun * (1.0 - _ramp(sharpness, *_SHARPNESS[1]))
    # Nor do they say that none is wrong: those learnt by heart no longer contradict it.
    known = _ramp(state["gate_widest"], *_HAS_BEEN_WIDE)
    evidence = ops.maximum(_ramp(share * by_chance, *_BY_CHANCE_MUCH), known)
    long_enough = ops.cast(totals[VISITS] >= _LONG_ENOUGH, "float32")
    at_random = _ramp(share * by_chance, *_BY_CHANCE)
    sure_enough = 1.0 - _ramp(share, *_SURE_ENOUGH)
    cautious = 1.0 - ops.rsqrt(ops.maximum(totals[_FAR], 1.0))  # one standard error
    surely_random = _ramp(share * by_chance * cautious, *_BY_CHANCE)
    is_many = ops.cast(used > _MANY_CLASSES, "float32")
    told = ops.maximum(known, surely_random * sure_enough * is_many)
    bounds = _PROGRESS + evidence * (_PROGRESS_AGAINST - _PROGRESS)
    bounds = bounds + told * long_enough * (_PROGRESS_TOLD - bounds)
    has_learnt = has_learnt * (1.0 - _ramp(progress, bounds[0], bounds[1]))
    by_far = _BY_FAR if num_classes > 2 else _BY_FAR_OF_TWO
    is_contradicted = ops.maximum(at_random, _ramp(share, *by_far) * long_enough)
    is_contradicted = ops.maximum(is_contradicted, known)
    sharp_enough = _ramp(sharpness, *_SHARP_ENOUGH)
    in_time = (totals[VISITS] > _LEAST_VISITS) & (totals[_STEPS] >= _LEAST_STEPS)
    has_learnt = has_learnt * ops.cast(in_time, "float32")

    number, mean, deviation = _moments(classes[:, _AGREEING])
    share_agreeing = number / ops.maximum(classes[:, _LABELS], _TINY)
    is_learnt = (number >= 1.0) & (share_agreeing >= _CLASS_SHARE * agreement)
    below = _BELIEVED + _BELIEVED_YET * _ramp(progress, *_PROGRESS)
    believed = mean - below * deviation
    return Gate(
        opening=has_learnt * is_contradicted,
        classes=ops.cast(is_learnt, "float32"),
        believed=believed,
        boundary=(2 * believed + _log_odds(mean_probs)) / 3,
        visits=totals[VISITS],
        at_random=has_learnt * surely_random * long_enough * sharp_enough,
        contradicted=share,
    )


def steps(gate: Gate, given: Tensor, labels: Tensor, predictions: Tensor) -> Tensor:
    """The step x of each example, `(n, 1)`, in [-0.5, 8].

    Args:
        gate: now.
        given: p_y, `(n, 1)`.
        labels: one-hot given labels, `(n, num_classes)`.
        predictions: onehot(argmax f), likewise. No row grows where the network
            predicts the label.
    """
    log_ratio = labels @ gate.boundary[:, None] - _log_odds(given)
    is_learnt = labels @ gate.classes[:, None]
    is_predicted = ops.sum(labels * predictions, axis=-1, keepdims=True)
    per_visit = -math.log(GIVEN_UP) / ops.maximum(gate.visits, 1.0)
    log_step = per_visit * ops.maximum(log_ratio, _LEAST_LOG_RATIO)
    x = ops.exp(ops.clip(log_step, *_LOG_STEP)) - 1.0
    x = x - ops.maximum(x, 0.0) * is_predicted
    return gate.opening * is_learnt * x


def grown(rows: Tensor, step: Tensor, init_std: float) -> Tensor:
    """Rows after their steps, in [init_std / 2, 1]; those of step 0 as they are.

    1 / GIVEN_UP in all takes a row from `init_std` to 1, whatever that is.
    """
    power = math.log(init_std) / math.log(GIVEN_UP) if 0 < init_std < 1 else 1.0
    factor = ops.power(ops.maximum(1.0 + step, 0.1), power)
    least = init_std / 2
    new = ops.clip(ops.maximum(ops.abs(rows), least) * factor, least, 1.0)
    return ops.where(ops.equal(step, 0.0), rows, new)


def figures(state: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The gate as it is, by name; nothing where no step was taken with it."""
    if "gate_totals" not in state or not state["gate_totals"][_STEPS]:
        return {}
    gate = gate_of(dict(state))
    return {
        "rates/gate": float(gate.opening),
        GATE_WIDEST: float(state["gate_widest"]),
        "rates/contradicted": float(gate.contradicted),
        "rates/classes_learnt": float(ops.mean(gate.classes)),
    }


def class_figures(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """q_c of each class, 0 where G_c is, `(num_classes,)`; as `figures`."""
    if not figures(state):
        return {}
    gate = gate_of(dict(state))
    believed = ops.convert_to_numpy(ops.sigmoid(gate.believed) * gate.classes)
    return {"Believed labels": believed}


def _bar_of_sure(moments: Tensor) -> tuple[Tensor, Tensor]:
    number, mean, deviation = _moments(moments)
    return mean + _SURE * deviation, number


def _moments(sums: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Count, mean and standard deviation, of counts, sums and sums of squares."""
    number = sums[:, 0]
    mean = sums[:, 1] / ops.maximum(number, _TINY)
    variance = sums[:, 2] / ops.maximum(number, _TINY) - ops.square(mean)
    return number, mean, ops.sqrt(ops.maximum(variance, 0.0))


def _powers(weights: Tensor, values: Tensor) -> Tensor:
    return ops.stack([weights, weights * values, weights * values * values], axis=-1)


def _log_odds(probs: Tensor) -> Tensor:
    odds = ops.log(ops.maximum(probs, _TINY)) - ops.log(ops.maximum(1 - probs, _TINY))
    return ops.clip(odds, -_LARGEST_LOG_ODDS, _LARGEST_LOG_ODDS)


def _ramp(value: Tensor, low: float, high: float) -> Tensor:
    return ops.clip((value - low) / (high - low), 0.0, 1.0)


def _used_and_far(classes: Tensor) -> tuple[Tensor, Tensor]:
    """How many classes have labels; and how many of these, the least likely, are far.

    A hard but right label is hardly ever far, one at random as often as by chance.
    """
    used = ops.sum(ops.cast(classes[:, _LABELS] > 0, "float32"))
    others = ops.maximum(used - 1.0, 0.0)
    few = ops.minimum(ops.floor(others / 2), _FEW_FAR)
    return used, ops.maximum(few, ops.round(_SHARE_FAR * others))
