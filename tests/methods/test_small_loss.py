"""Which examples have small losses: counts, ties, what is not finite; schedules."""

import golden
import numpy as np
import pytest
import tensorflow as tf

from sop_keras.methods.small_loss import forget_rate, num_kept, smallest
from sop_keras.methods.small_loss_scores import (
    SmallLossScan,
    noise_score_of,
    picked_share,
    quality_of,
)

SCHEDULES = golden.arrays("two_network_schedules")


@pytest.mark.parametrize(
    ("name", "exponent"), [("", 1.0), ("_exponent0.5", 0.5), ("_exponent2", 2.0)]
)
def test_the_papers_schedule(name, exponent):
    found = [forget_rate(epoch, 0.5, exponent, 10) for epoch in range(200)]
    expected = SCHEDULES[f"paper_forget_rate_tau0.5{name}"]
    np.testing.assert_allclose(found, expected, rtol=1e-14)


@pytest.mark.parametrize("tau", [0.2, 0.45, 0.5])
def test_the_authors_schedule_is_there_an_epoch_earlier(tau):
    # Theirs is linspace(0, tau, 10), which is at tau in epoch 9: the line of T_k = 9.
    found = [forget_rate(epoch, tau, 1.0, 9) for epoch in range(200)]
    expected = SCHEDULES[f"coteaching_forget_rate_tau{tau}"]
    np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_how_many_are_kept():
    file = golden.arrays("coteaching_k10")
    rates, sizes = file["grid_forget_rate"], file["grid_batch"]
    found = [[float(num_kept(np.float32(r), m)) for m in sizes] for r in rates]
    exact = (1 - rates[:, None]) * sizes
    np.testing.assert_array_equal(found, np.maximum(1, np.floor(exact + 1e-9)))
    # 0.2 of 10 are 2, where truncation has 1, and never none.
    assert found[rates.tolist().index(0.8)][sizes.tolist().index(10)] == 2
    assert min(map(min, found)) == 1


@pytest.mark.parametrize(
    ("rate", "candidates", "expected"),
    [
        (0.0, 0, 0),  # of none
        (0.0, 7, 7),
        (1.0, 7, 1),
        (0.36, 64, 40),  # 40.96
        (0.1, 1000, 900),  # 0.9 as a float32 is below 0.9
        (0.1, 999, 899),  # 899.1
        (0.7, 10, 3),
    ],
)
def test_how_many_by_hand(rate, candidates, expected):
    assert float(num_kept(np.float32(rate), candidates)) == expected


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize(
    ("losses", "candidates", "count", "expected"),
    [
        ([3.0, 1.0, 2.0], [1, 1, 1], 2, [0, 1, 1]),
        # Of equal losses the first, whatever surrounds them.
        ([1.0, 1.0, 1.0, 1.0], [1, 1, 1, 1], 2, [1, 1, 0, 0]),
        ([2.0, 1.0, 1.0, 1.0, 0.0], [1, 1, 1, 1, 1], 3, [0, 1, 1, 0, 1]),
        ([0.0] * 40, [1] * 40, 7, [1] * 7 + [0] * 33),
        # What is not finite comes after what is.
        ([np.nan, np.inf, 5.0, -np.inf, 1.0], [1] * 5, 2, [0, 0, 1, 0, 1]),
        ([np.nan, np.inf, 5.0], [1] * 3, 2, [1, 0, 1]),
        # And what may not be picked after that.
        ([0.0, np.nan, 0.0, np.nan], [0, 1, 0, 1], 2, [0, 1, 0, 1]),
        ([0.0, 1.0, 0.5], [0, 0, 0], 0, [0, 0, 0]),
    ],
)
def test_the_smallest(losses, candidates, count, expected, jit_compile):
    found = tf.function(smallest, jit_compile=jit_compile)(
        tf.constant(losses, tf.float32),
        tf.constant(candidates) > 0,
        tf.constant(count, tf.float32),
    )
    np.testing.assert_array_equal(found, np.array(expected) > 0)


# Losses of two networks at the last visit; visits, picks and the sum of probabilities.
ROWS = {
    "cross_entropy": np.log([[2.0, 4.0], [1.0, 10.0], [5.0, 5.0], [1.0, 1.0]]),
    "visits": np.array(
        [[4.0, 3.5, 3.6], [10.0, 0.0, 0.5], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    ),
}


def test_what_the_rows_say():
    # 3.6 / 4 and 0.5 / 10; of no visit that counts, 1/5 by both; untouched, 1.
    np.testing.assert_allclose(quality_of(ROWS), [0.9, 0.05, 0.2, 1.0])
    # (log 2 + log 4) / 2 = log sqrt 8.
    expected = np.log([8**0.5, 10**0.5, 5, 1])
    np.testing.assert_allclose(noise_score_of(ROWS), expected)
    np.testing.assert_allclose(picked_share(ROWS), [0.875, 0.0, np.nan, np.nan])


def test_those_who_watch_see_the_same():
    scan = SmallLossScan(np.array([0, 1, 1, 0]))
    for chunk in (slice(0, 1), slice(1, 4)):
        rows = {name: values[chunk] for name, values in ROWS.items()}
        predictions = np.array([2, 2, 2, -1])[chunk]  # the last was in no batch
        scan.add(chunk, rows, predictions, np.full(len(predictions), 0.3))
    np.testing.assert_allclose(scan.quality, [0.9, 0.05, 0.2, np.nan])
    expected = [*np.log([8**0.5, 10**0.5, 5]), np.nan]
    np.testing.assert_allclose(scan.noise_scores, expected)
    np.testing.assert_array_equal(scan.is_issue, [False, True, True, False])
    assert scan.figures() == {
        "noise/picked_share_of_issues": 0.0,
        "noise/picked_share_of_others": 0.875,
    }
