"""What suggest_uv_rates proposes, against the recursion of u and v written out."""

import math

import pytest

from sop_keras import suggest_uv_rates


def near(values):
    """Proposals have three digits."""
    return pytest.approx(values, rel=5e-3)


def visits_until_given_up(rates, batch_size, num_classes):
    """How often u moves before its s is as large as the network's p_y = 1 / K.

    dL_CE/du = 2 u (1 / S - 1 / w_c) / B, with w_c = p_y + u^2 and S = 1 + u^2.
    """
    u, visits = rates.init_std, 0
    while u * u < 1 / num_classes:
        slope = 2 * u * (1 / (1 + u * u) - 1 / (1 / num_classes + u * u))
        u -= rates.u_learning_rate * slope / batch_size
        visits += 1
    return visits


# s = 1 / K is reached at most log_3.8(sqrt(K)) visits before u = 1 would be, that is
# 0.9 for K = 10 and 1.7 for K = 100, and the last visit is counted whole.
@pytest.mark.parametrize("num_classes", [10, 100])
@pytest.mark.parametrize("batch_size", [32, 64, 128])
@pytest.mark.parametrize(("epochs", "visits"), [(10, 7), (30, 7), (49, 7), (100, 10)])
def test_a_label_is_given_up_after_that_many_visits(
    epochs, visits, batch_size, num_classes
):
    rates = suggest_uv_rates(epochs, batch_size, num_classes)
    earlier = math.log(num_classes) / 2 / math.log(3.8)
    found = visits_until_given_up(rates, batch_size, num_classes)
    assert visits - earlier - 0.5 <= found <= visits + 1


def test_the_length_decides_where_u_and_v_start_and_then_the_rates():
    # c = 2 * 10 * 9 / 64 = 2.8125 to the power of -7 visits; of -10 for 100 epochs.
    assert suggest_uv_rates(30, 64, 10) == near((10, 10, 3.8125**-7))
    assert suggest_uv_rates(100, 64, 10) == near((10, 10, 3.8125**-10))
    # 0.7 of 5 visits are 3.5.
    assert suggest_uv_rates(5, 64, 10) == near((10, 10, 3.8125**-3.5))
    # 20 visits from 1e-8: c = 10^0.4 - 1.
    rate = (10**0.4 - 1) * 64 / 18
    assert suggest_uv_rates(400, 64, 10) == near((rate, rate, 1e-8))
    # Never so large that s shows in the loss at once.
    assert suggest_uv_rates(1, 64, 10) == near((10, 10, 1e-2))


def test_rates_grow_with_the_batch_and_that_of_u_shrinks_with_the_classes():
    # 2 alpha_u (K - 1) / B stays 2.8125.
    assert suggest_uv_rates(30, 128, 10)[:2] == near((20, 20))
    assert suggest_uv_rates(30, 128, 100)[:2] == near((20 / 11, 20))


def test_a_start_that_is_decided_has_rates_of_its_own():
    # From 1e-3 in 7 visits: 1 + c = 10^(3 / 7).
    c = 10 ** (3 / 7) - 1
    rates = suggest_uv_rates(30, 64, 10, init_std=1e-3)
    assert rates == near((c * 64 / 18, c * 64 / 18, 1e-3))
    # From 1e-8 they would have to be larger than is stable: it takes more visits.
    assert suggest_uv_rates(30, 64, 10, init_std=1e-8) == near((10, 10, 1e-8))


def test_a_start_that_is_given_comes_back_as_it_is():
    assert suggest_uv_rates(30, 64, 10, init_std=1.23456e-4).init_std == 1.23456e-4


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((0, 64, 10), r"`epochs` must be a finite number of at least 1.*epochs=0\."),
        ((math.inf, 64, 10), r"`epochs`.*epochs=inf"),
        ((math.nan, 64, 10), r"`epochs`.*epochs=nan"),
        (
            (10, 0, 10),
            r"`batch_size` must be an integer of at least 1\. Received: batch_size=0\.",
        ),
        (
            (10, 64, 1),
            r"`num_classes` must be an integer of at least 2\. .*_classes=1\.",
        ),
        ((10, 64, 10, 0.0), r"`init_std` must be between 0 and 1.*init_std=0\.0"),
        ((10, 64, 10, 1.0), r"`init_std` must be between 0 and 1.*init_std=1\.0"),
    ],
)
def test_bad_input(arguments, text):
    with pytest.raises(ValueError, match=text):
        suggest_uv_rates(*arguments)


def test_too_few_steps_for_any_rates_are_told_of():
    # 30 epochs of 3 batches: 90 steps. 10 epochs of 23: 230.
    with pytest.warns(UserWarning, match="are 90 steps, fewer than the 200"):
        few = suggest_uv_rates(30, 512, 10, num_examples=1437)
    assert few == suggest_uv_rates(30, 512, 10)
    suggest_uv_rates(10, 64, 10, num_examples=1437)
