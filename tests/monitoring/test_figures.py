import numpy as np
import pytest
from tiny import IDS, LABELS, NORMS, set_by_hand, tiny_model

from sop_keras.core.table_scan import scan_tables
from sop_keras.monitoring.figures import figures_by_clean_labels, noise_figures


@pytest.fixture(scope="module")
def scan():
    return scan_tables(set_by_hand(tiny_model()), LABELS, IDS)


def test_what_is_known_without_clean_labels(scan):
    figures = noise_figures(scan)
    # Of 4 sorted numbers, linear quantiles lie at 3 q: the middle of the second and
    # third; 0.7 and 0.97 of the way from the third to the fourth.
    third, fourth = 0.1325, 0.29
    assert figures == {
        "noise/mean_s1": pytest.approx(sum(NORMS) / 4),
        "noise/s1_q50": pytest.approx((2.1e-5 + third) / 2),
        "noise/s1_q90": pytest.approx(third + 0.7 * (fourth - third)),
        "noise/s1_q99": pytest.approx(third + 0.97 * (fourth - third)),
        "noise/sparsity": pytest.approx(8 / 12),
        "noise/rows_moved": 0.5,
        "noise/estimated_rate": pytest.approx(1 / 3),  # of those trained on
    }


def test_what_clean_labels_add(scan):
    # Given 0, 1, 2; predicted 1, 1, 2; the first and the third are wrong. The first one
    # has the lowest quality, the third the highest: of the two pairs with the right
    # one, one is won; precision where recall rises is 1/1 and 2/3.
    clean = np.array([1, 1, 0, 0])
    assert figures_by_clean_labels(scan, clean) == {
        "detection/precision": 1.0,
        "detection/recall": 0.5,
        "detection/auroc": 0.5,
        "detection/average_precision": pytest.approx((1 + 2 / 3) / 2),
        "memorization/right_labels_fitted": 1.0,
        "memorization/wrong_labels_fitted": 0.5,
        "memorization/wrong_labels_corrected": 0.5,
    }


def test_what_would_be_0_by_0_is_left_out(scan):
    figures = figures_by_clean_labels(scan, LABELS)
    assert figures == {
        "detection/precision": 0.0,
        # Of the three that were trained on, two are predicted as given.
        "memorization/right_labels_fitted": pytest.approx(2 / 3),
    }


def test_before_the_first_batch():
    scan = scan_tables(tiny_model(), LABELS, IDS)
    assert "noise/estimated_rate" not in noise_figures(scan)
    assert figures_by_clean_labels(scan, LABELS) == {}
