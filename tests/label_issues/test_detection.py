import numpy as np
import pytest

from sop_keras.label_issues.detection import auroc, detection_figures


def test_auroc_by_hand():
    # Wrong ones score 3 and 1, right ones 2 and 1: of the 4 pairs, 3 > 2 and 3 > 1 are
    # won, 1 > 2 is lost, 1 = 1 is half: 2.5 / 4.
    scores = np.array([3.0, 1.0, 2.0, 1.0])
    assert auroc(scores, np.array([True, True, False, False])) == 0.625


@pytest.mark.parametrize("value", [True, False])
def test_auroc_needs_both_kinds(value):
    assert auroc(np.arange(3.0), np.full(3, value)) is None


def test_auroc_of_scores_that_are_not_finite_is_none():
    assert auroc(np.array([np.nan, 1.0]), np.array([True, False])) is None


def test_detection_figures_by_hand():
    # By quality, lowest first: wrong, right, wrong, right. Of the 4 pairs the first
    # wrong one wins both, the second one of two: AUROC 3/4. Precision where recall
    # rises: 1/1 and 2/3, each for half of the wrong ones: average (1 + 2/3) / 2. Of the
    # 2 lowest, 1 is wrong. Of the 3 chosen ones, 2 are; both wrong ones are chosen.
    quality = np.array([0.9, 0.3, 0.1, 0.2])
    is_wrong = np.array([False, True, True, False])
    figures = detection_figures(quality, np.array([False, True, True, True]), is_wrong)
    assert figures == {
        "auroc": 0.75,
        "average_precision": pytest.approx((1 + 2 / 3) / 2),
        "precision_at_k": 0.5,
        "precision": pytest.approx(2 / 3),
        "recall": 1.0,
    }


def test_detection_figures_that_would_be_0_by_0_are_none():
    none = np.zeros(3, bool)
    figures = detection_figures(np.array([0.1, 0.2, 0.3]), none, none)
    assert set(figures.values()) == {None}
