import math
from dataclasses import replace

import numpy as np
import pytest

from sop_keras.label_issues.doubts import (
    Evidence,
    few_visits,
    found,
    general_doubts,
    high_loss,
    largest_of,
    whole_classes,
)

NOTHING = Evidence(largest_score=0.0)


def with_issues(counts, issues):
    """Labels, so many of each class, of which the first so many are issues."""
    labels = np.repeat(np.arange(len(counts)), counts)
    quality = np.concatenate(
        [
            np.where(np.arange(n) < k, 0.1, 0.9)
            for n, k in zip(counts, issues, strict=True)
        ]
    )
    return replace(NOTHING, labels=labels, quality=quality)


def test_what_is_not_known_is_no_reason():
    assert general_doubts(NOTHING) == ()


def test_the_largest_of_scores():
    assert largest_of(np.array([-3.0, np.nan, -1.0])) == -1.0
    assert largest_of(np.array([np.nan])) == -np.inf


def test_a_loss_far_above_chance():
    # Ten times log 10 is 23.03.
    assert high_loss(replace(NOTHING, num_classes=10, start_loss=23.0)) is None
    doubt = high_loss(replace(NOTHING, num_classes=10, start_loss=23.1))
    assert "was 23.1, where knowing nothing of 10 classes is 2.30" in doubt.text
    assert "The inputs may be unscaled, or the learning rate too high: " in doubt.text


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        ((0.0, 255.0), r"The inputs are in [0, 255], which looks unscaled: scale"),
        ((-1.5, 2.0), r"The inputs are in [-1.5, 2]: scale them"),
    ],
)
def test_the_inputs_of_such_a_loss(limits, text):
    evidence = replace(NOTHING, num_classes=2, start_loss=9.0, input_range=limits)
    assert text in high_loss(evidence).text


def test_few_visits():
    assert few_visits(replace(NOTHING, visits=3.0)) is None
    assert "gets 2.5 of the 3 visits" in few_visits(replace(NOTHING, visits=2.5)).text


def test_a_rare_class_that_is_all_issues_is_named():
    doubt = whole_classes(with_issues([500, 480, 15], [25, 10, 15]))
    # 50 of 995 are 5.03%.
    assert "Nearly all labels of class 2 (15 of 15) count as issues" in doubt.text
    assert "against 5% of all labels" in doubt.text
    assert "class_weight" in doubt.text


def test_the_rarest_of_many_classes_come_first():
    doubt = whole_classes(with_issues([900, 50, 40, 30, 20], [0, 50, 40, 29, 20]))
    assert "class 4 (20 of 20), class 3 (29 of 30), class 2 (40 of 40) and 1 more" in (
        doubt.text
    )


@pytest.mark.parametrize(
    ("counts", "issues"),
    [
        ([500, 500, 4], [0, 0, 4]),  # too few to say
        ([500, 500, 100], [25, 10, 94]),  # not nearly all
        ([140] * 10, [112] * 10),  # noise of 80%
        # Of 5 labels where 4 in 10 are issues, all are by chance: 0.41^5 = 0.012.
        ([500, 500, 5], [200, 210, 5]),
        ([20, 20], [20, 20]),  # an experiment with a few examples
    ],
)
def test_classes_that_are_no_reason(counts, issues):
    assert whole_classes(with_issues(counts, issues)) is None


def test_how_sure_it_must_be():
    # The others' share is 101 / 202 = 1/2, so that n issues of n have 2^-n, to be
    # below 0.001 / 3: n >= 12.
    assert whole_classes(with_issues([100, 100, 11], [50, 50, 11])) is None
    assert whole_classes(with_issues([100, 100, 12], [50, 50, 12])) is not None
    assert math.log2(3 / 0.001) == pytest.approx(11.55, abs=0.01)


def test_when_nearly_all_labels_are_issues():
    assert whole_classes(with_issues([100, 100], [95, 94])) is None
    doubt = whole_classes(with_issues([100, 100], [95, 95]))
    assert "95% of all labels count as issues" in doubt.text


def test_classes_are_looked_at_when_the_training_is_over():
    evidence = replace(with_issues([100, 100], [100, 100]), is_over=False)
    assert whole_classes(evidence) is None


def test_all_reasons_in_their_order():
    evidence = replace(
        with_issues([100, 100], [100, 100]), num_classes=2, start_loss=9.0, visits=1.0
    )
    names = [doubt.name for doubt in general_doubts(evidence)]
    assert names == ["high_loss", "few_visits", "whole_classes"]
    assert found(None, *general_doubts(evidence), None) == general_doubts(evidence)
