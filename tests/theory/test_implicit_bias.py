import math

import numpy as np
import pytest

from sop_keras.theory import (
    equivalent_alpha,
    equivalent_penalty,
    flow_limit,
    random_problem,
    solve_convex,
)


def test_by_hand():
    # lambda = -log(e^-8) / (2 alpha) = 4 / alpha, and the other way round.
    assert equivalent_penalty(4, math.exp(-8)) == pytest.approx(1)
    assert equivalent_penalty(4000, math.exp(-8)) == pytest.approx(1e-3)
    assert equivalent_alpha(0.1, math.exp(-8)) == pytest.approx(40)
    # Twice as many powers of e, twice the alpha for the same lambda.
    assert equivalent_alpha(0.1, math.exp(-16)) == pytest.approx(80)


@pytest.mark.parametrize("seed", [4, 6])
def test_the_flow_comes_to_the_convex_program(seed):
    # Where s_i is not 0, 4 alpha nu_i = asinh(s_i / (2 gamma^2)), about
    # -2 log(gamma) + log |s_i|, so that nu_i is lambda (1 + log|s_i| / (-2 log gamma))
    # but for its sign: as -log(gamma) doubles, the distance to (25) halves. (Not where
    # (25) finds theta* for an interval of lambda: there it goes faster.)
    penalty = 0.01
    problem = random_problem(12, 20, 3, 3, seed)
    convex = solve_convex(problem, np.array([penalty]))
    distances = []
    for power in (8, 16, 32):
        gamma = math.exp(-power)
        alpha = np.array([equivalent_alpha(penalty, gamma)])
        limit = flow_limit(problem, alpha, gamma)
        distances.append(np.linalg.norm(limit.theta - convex.theta))
    ratios = np.divide(distances[:-1], distances[1:])
    np.testing.assert_allclose(ratios, 2, atol=0.1)


@pytest.mark.parametrize("number", [0.0, -1.0, math.inf, math.nan])
def test_what_is_not_positive(number):
    with pytest.raises(ValueError, match=f"`alpha` must be positive.*alpha={number}"):
        equivalent_penalty(number, 0.1)
    with pytest.raises(ValueError, match=f"`penalty` must be.*penalty={number}"):
        equivalent_alpha(number, 0.1)


@pytest.mark.parametrize("gamma", [0.0, -0.1, 1.0, 2.0, math.nan])
def test_gamma_out_of_range(gamma):
    for function in (equivalent_penalty, equivalent_alpha):
        with pytest.raises(ValueError, match=f"between 0 and 1.*gamma={gamma}"):
            function(1.0, gamma)
