import itertools
import re

import numpy as np
import pytest
from scipy.optimize import least_squares

from sop_keras.theory import LinearProblem, landscape, random_problem

SIZES = [(4, 3, 2, 2), (6, 9, 2, 2), (8, 3, 1, 4), (5, 5, 5, 1)]


def slow_objective(problem, point):
    """(14), number by number."""
    theta = point[: problem.num_parameters]
    u = point[problem.num_parameters :][: problem.num_examples]
    v = point[problem.num_parameters + problem.num_examples :]
    total = 0.0
    for i, label in enumerate(problem.labels):
        fit = sum(problem.jacobian[i, j] * theta[j] for j in range(len(theta)))
        total += (fit + u[i] ** 2 - v[i] ** 2 - label) ** 2 / 2
    return total


def critical_values(problem):
    """h at all critical points, from all sets of i with u_i = v_i = 0.

    The others have r_i = 0, so that J^T r = 0 is least squares on the set.
    """
    values = {0.0}
    for is_free in itertools.product([False, True], repeat=problem.num_examples):
        jacobian, labels = problem.jacobian[is_free, :], problem.labels[list(is_free)]
        fit = np.linalg.lstsq(jacobian, labels, rcond=1e-10)[0] if len(labels) else 0
        rest = jacobian @ fit - labels if len(labels) else np.zeros(1)
        values.add(float(rest @ rest / 2))
    return np.array(sorted(values))


def check_proposition(problem, point, rounding):
    """Whether a critical point is a saddle; fails if Proposition 3.2 does."""
    size = np.linalg.norm(problem.labels)
    is_minimum = slow_objective(problem, point) <= (rounding * size) ** 2
    escape = landscape.escape_direction(problem, point)
    assert (escape is None) == is_minimum
    if escape is None:
        return False
    direction, curvature = escape
    hessian = landscape.hessian(problem, point)
    assert np.count_nonzero(direction) == 1
    assert np.linalg.norm(direction) == 1
    assert curvature < 0
    assert direction @ hessian @ direction == pytest.approx(curvature, rel=1e-9)
    assert np.linalg.eigvalsh(hessian)[0] <= curvature * (1 - 1e-9)
    # No i with u_i = v_i = 0 curves down more.
    u, v = np.split(point[problem.num_parameters :], 2)
    steepest = np.abs(landscape.residuals(problem, point)[(u == 0) & (v == 0)]).max()
    assert curvature == pytest.approx(-2 * steepest, rel=1e-12)
    # Along it h is that of r_i - t^2 in place of r_i: h - |r_i| t^2 + t^4 / 2.
    for step in (0.1, -0.1):
        moved = slow_objective(problem, point + step * direction)
        change = curvature * step**2 / 2 + step**4 / 2
        assert moved - slow_objective(problem, point) == pytest.approx(change, abs=1e-9)
    return True


@pytest.mark.parametrize("sizes", SIZES)
def test_objective_and_its_derivatives(sizes):
    problem = random_problem(*sizes, seed=0)
    num_numbers = problem.num_parameters + 2 * problem.num_examples
    point = np.random.default_rng(1).standard_normal(num_numbers)
    assert landscape.objective(problem, point) == pytest.approx(
        slow_objective(problem, point), rel=1e-12
    )
    # h is a polynomial of degree 4: central differences are off by the step squared.
    steps = 1e-5 * np.eye(num_numbers)
    gradient = [
        (slow_objective(problem, point + step) - slow_objective(problem, point - step))
        / 2e-5
        for step in steps
    ]
    found = landscape.gradient(problem, point)
    np.testing.assert_allclose(found, gradient, rtol=1e-6, atol=1e-6)
    hessian = [
        (
            landscape.gradient(problem, point + step)
            - landscape.gradient(problem, point - step)
        )
        / 2e-5
        for step in steps
    ]
    found = landscape.hessian(problem, point)
    np.testing.assert_allclose(found, hessian, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(found, found.T)


def test_by_hand():
    # J = (1, 1), y = (0, 2). With all u and v at 0, theta = 1 is least squares:
    # r = (1, -1), h = 1. r_0 > 0: down along v_0, by -2. At theta = 0, u_1^2 = 2 makes
    # h = 0. With y = (5, 2), theta = 3.5 and r = (-1.5, 1.5): down along u_0, by -3.
    problem = LinearProblem(
        np.ones((2, 1)), 1, np.zeros(1), np.array([0.0, 2.0]), np.array([0.0, 2.0])
    )
    saddle = np.array([1.0, 0, 0, 0, 0])
    assert landscape.objective(problem, saddle) == 1
    assert landscape.residuals(problem, saddle).tolist() == [1, -1]
    assert not landscape.gradient(problem, saddle).any()
    direction, curvature = landscape.escape_direction(problem, saddle)
    assert direction.tolist() == [0, 0, 0, 1, 0]
    assert curvature == -2
    minimum = np.array([0.0, 0, np.sqrt(2), 0, 0])
    assert landscape.objective(problem, minimum) == pytest.approx(0, abs=1e-30)
    assert landscape.escape_direction(problem, minimum) is None
    problem.labels[0] = 5.0
    saddle[0] = 3.5
    direction, curvature = landscape.escape_direction(problem, saddle)
    assert direction.tolist() == [0, 1, 0, 0, 0]
    assert curvature == -3


@pytest.mark.parametrize("sizes", SIZES)
def test_drawn_critical_points(sizes):
    saddles = points = 0
    for seed in range(5):
        problem = random_problem(*sizes, seed=seed)
        values = critical_values(problem)
        for num_free in range(problem.num_examples + 1):
            for draw in range(4):
                point = landscape.random_critical_point(problem, num_free, draw)
                u, v = np.split(point[problem.num_parameters :], 2)
                assert np.count_nonzero((u == 0) & (v == 0)) == num_free
                gradient = landscape.gradient(problem, point)
                assert np.abs(gradient).max() < 1e-9
                value = slow_objective(problem, point)
                assert np.abs(values - value).min() < 1e-12
                is_saddle = check_proposition(problem, point, 1e-9)
                # theta fits free labels that are no more than the rank, or all right.
                any_wrong = problem.true_noise[(u == 0) & (v == 0)].any()
                assert is_saddle == (num_free > problem.rank and any_wrong)
                saddles += is_saddle
                points += 1
    assert points == 20 * (sizes[0] + 1) >= 100
    # Of full rank, J fits all.
    assert saddles >= (0 if sizes[2] == sizes[0] else 30)


@pytest.mark.parametrize("sizes", [(3, 2, 1, 1), (4, 3, 2, 2), (5, 2, 1, 3)])
def test_critical_points_found_by_solving_for_them(sizes):
    # SciPy solves gradient = 0 from anywhere, and knows nothing of free labels.
    problem = random_problem(*sizes, seed=0)
    values = critical_values(problem)
    draws = np.random.default_rng(2)
    saddles = 0
    for _ in range(30):
        start = draws.standard_normal(problem.num_parameters + 2 * problem.num_examples)
        # Some u_i and v_i begin near 0, where the saddles are.
        is_small = draws.random(problem.num_examples) < 0.5
        start[problem.num_parameters :] *= np.where(np.tile(is_small, 2), 0.1, 1)
        found = least_squares(
            lambda point: landscape.gradient(problem, point),
            start,
            jac=lambda point: landscape.hessian(problem, point),
            xtol=1e-15,
            ftol=1e-15,
            gtol=1e-15,
        ).x
        assert np.linalg.norm(landscape.gradient(problem, found)) < 1e-8
        value = slow_objective(problem, found)
        assert np.abs(values - value).min() < 1e-8
        if value > 1e-6:
            # Both are 0, but for rounding, at any i with a residual.
            found[problem.num_parameters :][
                np.abs(found[problem.num_parameters :]) < 1e-6
            ] = 0
            assert check_proposition(problem, found, 1e-9)
            saddles += 1
    assert saddles >= 10


def test_drawn_points_depend_on_the_seed():
    problem = random_problem(6, 9, 2, 2, seed=0)
    first, again, other = (
        landscape.random_critical_point(problem, 3, seed) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("num_free", [-1, 5])
def test_num_free_out_of_range(num_free):
    problem = random_problem(4, 3, 2, 2, seed=0)
    with pytest.raises(ValueError, match=f"0 to 4, the number.*num_free={num_free}"):
        landscape.random_critical_point(problem, num_free, 0)


@pytest.mark.parametrize(
    "function",
    [
        landscape.objective,
        landscape.residuals,
        landscape.gradient,
        landscape.hessian,
        landscape.escape_direction,
    ],
)
@pytest.mark.parametrize("shape", [(10,), (12,), (11, 1)])
def test_points_of_another_shape(function, shape):
    # 3 parameters and 2 * 4 numbers: 11.
    problem = random_problem(4, 3, 2, 2, seed=0)
    message = re.escape(
        f"3 + 4 + 4 numbers in one row. Received: an array of shape {shape}"
    )
    with pytest.raises(ValueError, match=message):
        function(problem, np.zeros(shape))
