import math

import numpy as np
import pytest

from sop_keras.theory import (
    LinearProblem,
    flow_limit,
    gradient_descent,
    random_problem,
)

FAR = 1e9
"""A tolerance that every end meets: descent ends at its first look, after 200 steps or
`max_steps` if that is less."""


def plain_descent(problem, alpha, gamma, steps, step_size=None, max_change=None):
    """(15), number by number; theta and u*u - v*v after so many steps."""
    jacobian = problem.jacobian.tolist()
    labels = problem.labels.tolist()
    examples, parameters = range(problem.num_examples), range(problem.num_parameters)
    # ||J||^2, the largest eigenvalue of J J^T.
    curvature = np.linalg.eigvalsh(problem.jacobian @ problem.jacobian.T)[-1]
    theta = [0.0 for _ in parameters]
    u, v = [gamma for _ in examples], [gamma for _ in examples]
    for _ in range(steps):
        r = [
            sum(jacobian[i][j] * theta[j] for j in parameters)
            + u[i] ** 2
            - v[i] ** 2
            - labels[i]
            for i in examples
        ]
        if step_size is not None:
            tau = step_size
        else:
            largest = max(u[i] ** 2 + v[i] ** 2 for i in examples)
            tau = min(
                1 / (curvature + 4 * alpha * largest),
                max_change / (2 * alpha * max(abs(one) for one in r)),
            )
        for j in parameters:
            theta[j] -= tau * sum(jacobian[i][j] * r[i] for i in examples)
        for i in examples:
            u[i] -= 2 * alpha * tau * u[i] * r[i]
            v[i] += 2 * alpha * tau * v[i] * r[i]
    return theta, [u[i] ** 2 - v[i] ** 2 for i in examples]


def relative_error(found, right):
    return np.linalg.norm(found - right, axis=-1) / np.linalg.norm(right, axis=-1)


@pytest.mark.parametrize("steps", [1, 2, 100])
@pytest.mark.parametrize("rule", [{"step_size": 0.003}, {"max_change": 0.02}])
def test_steps_against_a_plain_loop(steps, rule):
    problems = [random_problem(4, 3, 2, 2, seed) for seed in (0, 1)]
    alphas = np.array([0.2, 3.0, 50.0])
    ends = gradient_descent(
        problems, alphas, 0.1, **rule, tolerance=FAR, max_steps=steps
    )
    assert ends.steps.tolist() == [[steps] * 3] * 2
    assert ends.converged.all()
    for i, problem in enumerate(problems):
        for j, alpha in enumerate(alphas):
            theta, noise = plain_descent(problem, alpha, 0.1, steps, **rule)
            np.testing.assert_allclose(ends.theta[i, j], theta, rtol=1e-10, atol=1e-13)
            np.testing.assert_allclose(ends.noise[i, j], noise, rtol=1e-10, atol=1e-13)


def test_first_step_by_hand():
    # At theta = 0, u = v = gamma, r = -y: theta = tau J^T y, u = gamma (1 + 2 alpha tau
    # y), v = gamma (1 - 2 alpha tau y), so that s = 8 alpha tau gamma^2 y.
    problem = random_problem(5, 4, 2, 2, seed=2)
    end = gradient_descent(
        [problem], np.array([3.0]), 0.2, step_size=0.01, tolerance=FAR, max_steps=1
    )
    theta = 0.01 * problem.jacobian.T @ problem.labels
    np.testing.assert_allclose(end.theta[0, 0], theta, rtol=1e-12)
    noise = 8 * 3 * 0.01 * 0.04 * problem.labels
    np.testing.assert_allclose(end.noise[0, 0], noise, rtol=1e-12)


def test_where_it_stops():
    # At the first multiple of 200 steps where the residual is small enough.
    problem = random_problem(3, 2, 1, 1, seed=0)
    end = gradient_descent([problem], np.array([2.0]), 0.3, step_size=0.05)
    assert end.converged.all()
    steps = int(end.steps[0, 0])
    lengths = []
    for taken in (steps - 200, steps):
        theta, noise = plain_descent(problem, 2.0, 0.3, taken, step_size=0.05)
        rest = problem.jacobian @ theta + noise - problem.labels
        lengths.append(np.linalg.norm(rest) / np.linalg.norm(problem.labels))
    assert steps % 200 == 0
    assert lengths[0] > 1e-5 >= lengths[1]
    np.testing.assert_allclose(end.theta[0, 0], theta, rtol=1e-9)
    np.testing.assert_allclose(end.noise[0, 0], noise, rtol=1e-9)


def test_batches_are_as_many_descents():
    # They end after different numbers of steps, and those that have leave the arrays.
    problems = [random_problem(4, 5, 2, 1, seed) for seed in (0, 1, 2)]
    alphas = np.array([2.0, 20.0, 2000.0])
    settings = {"max_change": 0.02, "tolerance": 1e-6}
    together = gradient_descent(problems, alphas, math.exp(-4), **settings)
    assert together.converged.all()
    assert len(set(together.steps.ravel().tolist())) >= 4
    for i, problem in enumerate(problems):
        for j in range(len(alphas)):
            alone = gradient_descent(
                [problem], alphas[j : j + 1], math.exp(-4), **settings
            )
            assert together.steps[i, j] == alone.steps[0, 0]
            for name in ("theta", "noise"):
                np.testing.assert_allclose(
                    getattr(together, name)[i, j],
                    getattr(alone, name)[0, 0],
                    rtol=1e-8,
                    atol=1e-12,
                )


@pytest.mark.parametrize("alpha", [0.5, 20.0])
def test_error_shrinks_linearly_in_tau(alpha):
    problem = random_problem(3, 2, 1, 1, seed=0)
    alphas = np.array([alpha])
    limit = flow_limit(problem, alphas, 0.3)
    # u and v grow by at most 2 alpha tau max |r|, which is where it begins: |y|.
    longest = 0.1 / (2 * alpha * np.abs(problem.labels).max())
    errors = []
    for halvings in range(4):
        end = gradient_descent(
            [problem],
            alphas,
            0.3,
            step_size=longest / 2**halvings,
            tolerance=1e-9,
        )
        errors.append(
            [
                relative_error(end.theta[0], limit.theta)[0],
                relative_error(end.noise[0], limit.noise)[0],
            ]
        )
    ratios = np.divide(errors[:-1], errors[1:])
    np.testing.assert_allclose(ratios, 2, atol=0.1)


def test_error_shrinks_linearly_in_max_change():
    problem = random_problem(4, 5, 2, 1, seed=1)
    alphas = np.array([2.0, 20.0])
    limit = flow_limit(problem, alphas, 0.1)
    errors = []
    for max_change in (0.04, 0.02, 0.01, 0.005):
        end = gradient_descent(
            [problem], alphas, 0.1, max_change=max_change, tolerance=1e-10
        )
        errors.append(relative_error(end.theta[0], limit.theta))
    ratios = np.divide(errors[:-1], errors[1:])
    np.testing.assert_allclose(ratios, 2, atol=0.1)


@pytest.mark.parametrize("power", [8, 16])
def test_ends_at_the_limit_of_the_flow(power):
    # The sizes of Figure 2; at the settings by default, theta to within `max_change`.
    problems = [random_problem(20, 40, 3, 3, seed) for seed in (0, 1)]
    alphas = np.array([40.0, 400.0, 4000.0])
    ends = gradient_descent(problems, alphas, math.exp(-power))
    assert ends.converged.all()
    for i, problem in enumerate(problems):
        limit = flow_limit(problem, alphas, math.exp(-power))
        assert relative_error(ends.theta[i], limit.theta).max() < 1e-3
        assert relative_error(ends.noise[i], limit.noise).max() < 1e-2


@pytest.mark.parametrize("max_steps", [1, 200, 250])
def test_what_does_not_converge_is_marked(max_steps):
    problem = random_problem(6, 8, 2, 2, seed=0)
    end = gradient_descent([problem], np.array([1.0]), 0.01, max_steps=max_steps)
    assert end.steps.tolist() == [[max_steps]]
    assert end.converged.tolist() == [[False]]
    assert np.isnan(end.theta).all()
    assert np.isnan(end.noise).all()


def test_what_converges_beside_what_does_not():
    # J = 1, y = 1. With alpha = 4000, u that starts at e^-8 needs to grow to 1, by a
    # thousandth a step: 8,000 steps. With a tiny alpha, theta's first step ends it.
    problem = LinearProblem(np.eye(1), 1, np.ones(1), np.zeros(1), np.ones(1))
    end = gradient_descent(
        [problem], np.array([4000.0, 1e-4]), math.exp(-8), max_steps=6000
    )
    assert end.converged.tolist() == [[False, True]]
    assert end.steps.tolist() == [[6000, 200]]
    assert np.isnan(end.theta[0, 0]).all()
    assert np.isnan(end.noise[0, 0]).all()
    assert end.theta[0, 1, 0] == pytest.approx(1, abs=1e-5)
    assert end.noise[0, 1, 0] == pytest.approx(0, abs=1e-5)


def test_divergence_is_marked_and_ends():
    # tau = 1 is stable where ||J||^2 + 8 alpha |s| is less than 2; alpha = 1000 is not.
    problem = random_problem(3, 2, 1, 1, seed=0)
    assert np.linalg.norm(problem.jacobian, 2) ** 2 < 0.2
    alphas = np.array([1000.0, 0.1])
    end = gradient_descent([problem], alphas, 0.3, step_size=1.0)
    assert end.converged.tolist() == [[False, True]]
    assert end.steps[0, 0] == 200
    assert np.isnan(end.theta[0, 0]).all()
    assert np.isnan(end.noise[0, 0]).all()
    alone = gradient_descent([problem], alphas[1:], 0.3, step_size=1.0)
    np.testing.assert_allclose(end.theta[0, 1], alone.theta[0, 0], rtol=1e-9)


@pytest.mark.parametrize("name", ["step_size", "max_change", "tolerance"])
@pytest.mark.parametrize("number", [0.0, -1.0, math.inf, math.nan])
def test_settings_that_are_not_positive(name, number):
    problem = random_problem(3, 2, 1, 1, seed=0)
    with pytest.raises(ValueError, match=f"`{name}` must be positive.*{name}={number}"):
        gradient_descent([problem], np.array([1.0]), 0.1, **{name: number})


def test_alphas_and_gamma_out_of_range():
    problem = random_problem(3, 2, 1, 1, seed=0)
    with pytest.raises(ValueError, match="`alphas` must be positive"):
        gradient_descent([problem], np.array([1.0, 0.0]), 0.1)
    with pytest.raises(ValueError, match=r"between 0 and 1, 0 excluded.*gamma=0\.0"):
        gradient_descent([problem], np.array([1.0]), 0.0)


def test_problems_of_different_sizes_or_none():
    problems = [random_problem(3, p, 1, 1, seed=0) for p in (2, 4)]
    with pytest.raises(ValueError, match=r"same sizes.*\[\(3, 2\), \(3, 4\)\]"):
        gradient_descent(problems, np.array([1.0]), 0.1)
    with pytest.raises(ValueError, match="Received: no problem"):
        gradient_descent([], np.array([1.0]), 0.1)
