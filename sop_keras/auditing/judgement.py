"""What a trained head says of each label, and how many are wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sop_keras.auditing.feature_rows import FeatureRows, blocks, sample
from sop_keras.auditing.head import Head
from sop_keras.auditing.transitions import (
    LESS_SHARP,
    SHARPER,
    calibrated,
    class_posteriors,
    estimate_transitions,
    sharpened,
    sharpness_of,
)

# Beliefs that the noise between classes is estimated of: 160 MB. Of fewer examples than
# there are classes, it cannot be.
_MAX_BELIEFS = 20_000_000
_AT_ONCE = 8_192


@dataclass(frozen=True)
class Judgement:
    """What is said of n labels.

    Args:
        quality: about the probability that a label is right, float64 `(n,)`.
        suggested: the likeliest class but the given one, int64 `(n,)`.
        given_prob: what the head believes of the given label, float64 `(n,)`.
        suggested_prob: of the suggested one, likewise.
        rates: T_jy = P(given label y | class j), float64 `(K, K)`.
        num_wrong: how many labels that nobody decided on are wrong, as far as it can be
            estimated.
        num_wrong_interval: the same for a head that is trusted less, and more
            (`LESS_SHARP`, `SHARPER`); the lower number first.
    """

    quality: np.ndarray
    suggested: np.ndarray
    given_prob: np.ndarray
    suggested_prob: np.ndarray
    rates: np.ndarray
    num_wrong: float
    num_wrong_interval: tuple[float, float]


def judge(
    head: Head,
    rows: FeatureRows,
    labels: np.ndarray,
    decided: np.ndarray | None = None,
    is_decided: np.ndarray | None = None,
) -> Judgement:
    """Judge labels by a head that was trained on the same examples.

    Memory: what is returned, three matrices of K x K rates, and beliefs of at most 20
    million entries; of more than 4,472 classes, whose K x K is more than that, of K
    examples.

    Args:
        head: trained.
        rows: features of the n examples.
        labels: their given labels, integers `(n,)`.
        decided: counts of labels that a person has decided on, as of
            `estimate_transitions`. Defaults to `None`: none.
        is_decided: which examples these are, bool `(n,)`: the noise is estimated, and
            wrong labels are counted, of the others. Defaults to `None`: none.
    """
    open_to_doubt = np.ones(len(rows), bool) if is_decided is None else ~is_decided
    count, num_classes = len(rows), head.model.num_classes
    some = np.flatnonzero(open_to_doubt)
    some = some[sample(some, max(_MAX_BELIEFS // num_classes, num_classes))]
    logits = np.concatenate(
        [
            head.logits(rows.take(part))
            for part in np.array_split(some, max(1, -(-len(some) // _AT_ONCE)))
        ]
    )
    sharpness = sharpness_of(len(rows))
    powers = [sharpness * factor for factor in (1, LESS_SHARP, SHARPER)]
    rates = [
        estimate_transitions(sharpened(logits, power), labels[some], decided)
        for power in powers
    ]
    quality, given_prob, suggested_prob = np.empty((3, count))
    suggested = np.empty(count, np.int64)
    wrong = np.zeros(len(powers))
    for places, features in blocks(rows, beside=8 * num_classes):
        logits, given = head.logits(features), labels[places]
        here = np.arange(len(places))
        for number, power in enumerate(powers):
            beliefs = sharpened(logits, power)
            classes = class_posteriors(beliefs, given, rates[number])
            right = calibrated(classes[here, given])
            wrong[number] += (1 - right)[open_to_doubt[places]].sum()
            if number == 0:
                quality[places] = right
                given_prob[places] = beliefs[here, given]
                classes[here, given] = -1
                suggested[places] = classes.argmax(axis=1)
                suggested_prob[places] = beliefs[here, suggested[places]]
    return Judgement(
        quality,
        suggested,
        given_prob,
        suggested_prob,
        rates[0],
        float(wrong[0]),
        (float(wrong.min()), float(wrong.max())),
    )
