import math
import sys

import numpy as np
import pytest
import scipy.optimize

from sop_keras.theory import (
    LinearProblem,
    coherence,
    is_recovered,
    meets_condition,
    random_problem,
    recovery_interval,
    relative_errors,
    solve_convex,
)


def problem_of(jacobian, rank, true_theta, true_noise):
    jacobian, theta = np.array(jacobian, float), np.array(true_theta, float)
    noise = np.array(true_noise, float)
    return LinearProblem(jacobian, rank, theta, noise, jacobian @ theta + noise)


def groups_of_ones(num_examples, rank, num_wrong):
    """`rank` groups of examples of one size, each with a parameter of its own."""
    jacobian = np.kron(np.eye(rank), np.ones((num_examples // rank, 1)))
    noise = np.arange(num_examples) < num_wrong
    return problem_of(jacobian, rank, np.ones(rank), noise)


def test_coherence_by_hand():
    # U's columns are 1 / sqrt(N / r) in a group: r / N for every example, 1 in all.
    assert coherence(groups_of_ones(12, 1, 0)) == pytest.approx(1)
    assert coherence(groups_of_ones(12, 3, 0)) == pytest.approx(1)
    # The first example alone has the first parameter: ||U^T e_1|| = 1, N / r = 4 / 2.
    alone = problem_of([[1, 0], [0, 1], [0, 1], [0, 1]], 2, [1, 1], [0, 0, 0, 0])
    assert coherence(alone) == pytest.approx(2)
    # U = (3, 4, 0, 0) / 5: 4 * (16 / 25).
    uneven = problem_of([[3], [4], [0], [0]], 1, [1], [0, 0, 0, 0])
    assert coherence(uneven) == pytest.approx(2.56)


@pytest.mark.parametrize(
    ("rank", "num_wrong", "expected"),
    # N = 80 and mu = 1: k^2 r must be below 20.
    [
        (1, 0, True),
        (1, 4, True),
        (1, 5, False),
        (2, 3, True),
        (2, 4, False),
        (4, 2, True),
        (8, 2, False),
        (16, 1, True),
        (40, 1, False),
    ],
)
def test_condition_by_hand(rank, num_wrong, expected):
    assert meets_condition(groups_of_ones(80, rank, num_wrong)) is expected


def test_condition_depends_on_the_coherence():
    # N = 40. With equal rows mu = 1: 1 < 10. Where the first row is 19 times as long,
    # mu = 40 * 361 / (361 + 39) = 36.1: 1 < 40 / 144.4 is wrong.
    noise = np.arange(40) == 5
    rows = np.ones((40, 1))
    assert meets_condition(problem_of(rows, 1, [1], noise))
    rows[0] = 19
    longer = problem_of(rows, 1, [1], noise)
    assert coherence(longer) == pytest.approx(36.1)
    assert not meets_condition(longer)


def test_relative_errors_by_hand():
    # ||theta*|| = 5, ||s*|| = 2.
    problem = problem_of([[1, 0], [0, 1], [1, 1]], 2, [3, 4], [0, -2, 0])
    theta = np.array([[3, 4], [3.003, 4.004], [6, 8], [np.nan, np.nan], [3, 4]])
    noise = np.array(
        [[0, -2, 0], [0, -2, 0.001], [0, -2, 0], [np.nan] * 3, [0.003, -2, 0]]
    )
    of_theta, of_noise = relative_errors(problem, theta, noise)
    np.testing.assert_allclose(of_theta, [0, 0.001, 1, np.nan, 0], atol=1e-12)
    np.testing.assert_allclose(of_noise, [0, 0.0005, 0, np.nan, 0.0015], atol=1e-12)
    # Below 1e-3 in both: theta is off by 1, then s by 0.0015; NaN is not recovered.
    theta[1] = [3.0029, 4.0039]
    expected = [True, True, False, False, False]
    assert is_recovered(problem, theta, noise).tolist() == expected


def test_no_wrong_label_has_an_absolute_error():
    problem = problem_of([[1], [1]], 1, [2], [0, 0])
    of_theta, of_noise = relative_errors(problem, np.array([3.0]), np.array([0.3, 0.4]))
    assert (of_theta, of_noise) == (pytest.approx(0.5), pytest.approx(0.5))


@pytest.mark.parametrize(
    ("theta", "noise", "interval"),
    # J = (1, 2): nu_1 + 2 nu_2 = theta*, |nu_i| <= lambda.
    [
        # nu_2 = lambda: nu_1 = 1 - 2 lambda lies from -lambda to lambda.
        (1.0, [0, 3], (1 / 3, 1.0)),
        # nu_1 = -lambda: nu_2 = (2.5 + lambda) / 2, at most lambda.
        (2.5, [-1.5, 0], (2.5, math.inf)),
        # No label is wrong: 3 lambda is enough.
        (1.0, [0, 0], (1 / 3, math.inf)),
        # Both are: 3 lambda = 0.5, or -lambda + 2 lambda = 2.
        (0.5, [0.5, 4], (1 / 6, 1 / 6)),
        (2.0, [-1, 1], (2.0, 2.0)),
        # 3 lambda = -1.
        (-1.0, [2, 7], None),
    ],
)
def test_interval_by_hand(theta, noise, interval):
    found = recovery_interval(problem_of([[1], [2]], 1, [theta], noise))
    if interval is None:
        assert found is None
    else:
        assert found == pytest.approx(interval, rel=1e-6)


@pytest.mark.parametrize(
    ("sizes", "num_intervals", "num_finite"),
    [((20, 30, 3, 3), 10, 0), ((5, 3, 2, 2), 8, 3), ((12, 10, 2, 0), 10, 0)],
)
def test_interval_is_where_the_program_recovers(sizes, num_intervals, num_finite):
    intervals = finite = 0
    for seed in range(10):
        problem = random_problem(*sizes, seed=seed)
        interval = recovery_interval(problem)
        if interval is None:
            penalties, expected = np.geomspace(1e-2, 1e2, 9), [False] * 9
        else:
            lowest, highest = interval
            middle = min(2 * lowest, math.sqrt(lowest * highest))
            penalties = np.array([0.9 * lowest, 1.01 * lowest, middle])
            expected = [False, True, True]
            if highest < math.inf:
                # Wider than the margins.
                assert highest > 1.03 * lowest
                penalties = np.append(penalties, [0.99 * highest, 1.1 * highest])
                expected += [True, False]
                finite += 1
            else:
                penalties = np.append(penalties, 100 * lowest)
                expected.append(True)
            intervals += 1
        solution = solve_convex(problem, penalties)
        recovered = is_recovered(problem, solution.theta, solution.noise)
        assert recovered.tolist() == expected, seed
    assert (intervals, finite) == (num_intervals, num_finite)


def test_without_scipy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match=r"SciPy: pip install .sop-keras\[theory\]"):
        recovery_interval(groups_of_ones(4, 1, 0))


def test_a_solver_that_fails(monkeypatch):
    def failing(*args, **kwargs):
        return scipy.optimize.OptimizeResult(status=4, message="numerical trouble")

    monkeypatch.setattr(scipy.optimize, "linprog", failing)
    with pytest.raises(RuntimeError, match="recovery interval: numerical trouble"):
        recovery_interval(groups_of_ones(4, 1, 0))
