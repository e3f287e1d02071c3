import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from sop_keras.theory import LinearProblem, flow_limit, gradient_flow, random_problem


def followed(problem, alpha, gamma, until):
    """theta, u and v on the way, by SciPy's solver of stiff equations (16)-(18)."""
    sizes = [problem.num_parameters, problem.num_parameters + problem.num_examples]

    def velocity(_, point):
        theta, u, v = np.split(point, sizes)
        residual = problem.jacobian @ theta + u * u - v * v - problem.labels
        return np.concatenate(
            [
                -problem.jacobian.T @ residual,
                -2 * alpha * u * residual,
                2 * alpha * v * residual,
            ]
        )

    start = np.full(sizes[1] + problem.num_examples, gamma)
    start[: sizes[0]] = 0
    way = solve_ivp(velocity, (0, until), start, "LSODA", rtol=1e-10, atol=1e-13)
    assert way.success
    # It has come to rest.
    assert np.abs(velocity(0, way.y[:, -1])).max() < 1e-9
    return np.split(way.y, sizes)


@pytest.mark.parametrize(
    ("sizes", "alpha", "gamma"),
    [
        ((4, 5, 2, 1), 2.0, math.exp(-2)),
        ((4, 5, 2, 1), 20.0, math.exp(-4)),
        ((5, 2, 1, 3), 0.5, 0.3),
        ((3, 3, 3, 2), 4.0, math.exp(-8)),
    ],
)
def test_where_the_flow_ends(sizes, alpha, gamma):
    problem = random_problem(*sizes, seed=0)
    theta, u, v = followed(problem, alpha, gamma, until=1e4)
    # The product is constant on the way: 2 alpha nu and -2 alpha nu in the exponents.
    np.testing.assert_allclose(u * v, gamma**2, rtol=1e-6)
    assert np.abs(u[:, -1] / v[:, -1] - 1).min() > 0.01  # It has gone somewhere.
    limit = flow_limit(problem, np.array([alpha]), gamma)
    assert limit.converged.tolist() == [True]
    np.testing.assert_allclose(limit.theta[0], theta[:, -1], atol=1e-7)
    noise = u[:, -1] ** 2 - v[:, -1] ** 2
    np.testing.assert_allclose(limit.noise[0], noise, atol=1e-7)
    nu = np.log(u[:, -1] / gamma) / (2 * alpha)
    np.testing.assert_allclose(limit.nu[0], nu, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.5, math.exp(-8), math.exp(-16)])
@pytest.mark.parametrize("label", [1.5, -0.03])
def test_one_example_and_one_parameter(gamma, label):
    # j^2 nu + 2 gamma^2 sinh(4 alpha nu) = y rises with nu: halve the interval.
    slope = 0.7
    problem = LinearProblem(
        np.array([[slope]]),
        1,
        np.array([label / slope]),
        np.zeros(1),
        np.array([label]),
    )
    alphas = np.array([1e-3, 4.0, 130.0, 4000.0])
    limit = flow_limit(problem, alphas, gamma)
    for i, alpha in enumerate(alphas):
        # sinh does not overflow: at x, 2 gamma^2 sinh(x) alone is more than |y|.
        low, high = 0.0, min(4 / slope**2, math.asinh(2 / gamma**2) / (4 * alpha))
        for _ in range(100):
            nu = (low + high) / 2
            value = slope**2 * nu + 2 * gamma**2 * math.sinh(4 * alpha * nu)
            low, high = (low, nu) if value > abs(label) else (nu, high)
        nu = math.copysign(low, label)
        assert limit.nu[i, 0] == pytest.approx(nu, rel=1e-8)
        assert limit.theta[i, 0] == pytest.approx(slope * nu, rel=1e-8)
        assert limit.noise[i, 0] == pytest.approx(label - slope**2 * nu, abs=1e-9)


@pytest.mark.parametrize("gamma", [math.exp(-8), math.exp(-16), 0.9])
def test_the_defining_equation(gamma):
    # phi is strictly convex: who solves the equation has found the only solution.
    problem = random_problem(20, 40, 3, 3, seed=5)
    alphas = np.geomspace(1e-2, 4000, 12)
    limit = flow_limit(problem, alphas, gamma)
    assert limit.converged.all()
    length = np.linalg.norm(problem.labels)
    for i, alpha in enumerate(alphas):
        nu = limit.nu[i]
        noise = [2 * gamma**2 * math.sinh(4 * alpha * one) for one in nu]
        np.testing.assert_allclose(limit.noise[i], noise, rtol=1e-10)
        theta = problem.jacobian.T @ nu
        np.testing.assert_allclose(limit.theta[i], theta, rtol=1e-10)
        rest = problem.jacobian @ theta + noise - problem.labels
        assert np.linalg.norm(rest) < 2e-10 * length


def test_alphas_do_not_know_of_one_another():
    problem = random_problem(8, 5, 2, 2, seed=6)
    alphas = np.array([4000.0, 0.1, 30.0])
    together = flow_limit(problem, alphas, 0.01)
    for i in range(3):
        alone = flow_limit(problem, alphas[i : i + 1], 0.01)
        np.testing.assert_allclose(together.theta[i], alone.theta[0], rtol=1e-9)
        np.testing.assert_allclose(together.noise[i], alone.noise[0], rtol=1e-9)


def test_what_does_not_converge_is_marked(monkeypatch):
    # 4 alpha nu goes at most 1 in a step. Where alpha is large, s makes up for a wrong
    # label of about 1 at 4 alpha nu = asinh(e^16 / 2) = 16, after 16 steps or more;
    # where it is tiny, J J^T nu = y - s is as good as linear: a step or two.
    monkeypatch.setattr(gradient_flow, "_MAX_STEPS", 12)
    problem = random_problem(6, 8, 6, 1, seed=7)
    limit = flow_limit(problem, np.array([4000.0, 1e-4]), math.exp(-8))
    assert limit.converged.tolist() == [False, True]
    for values in (limit.theta, limit.noise, limit.nu):
        assert np.isnan(values[0]).all()
        assert np.isfinite(values[1]).all()


@pytest.mark.parametrize("alphas", [[0.0], [1.0, -1.0], [np.nan], [np.inf]])
def test_alphas_out_of_range(alphas):
    with pytest.raises(ValueError, match=r"`alphas` must be positive\. Received"):
        flow_limit(random_problem(3, 3, 1, 1, seed=0), np.array(alphas), 0.1)


@pytest.mark.parametrize(("alphas", "shape"), [(1.0, r"\(\)"), ([], r"\(0,\)")])
def test_alphas_of_another_shape(alphas, shape):
    with pytest.raises(ValueError, match=f"one row of numbers.*{shape}"):
        flow_limit(random_problem(3, 3, 1, 1, seed=0), np.array(alphas), 0.1)


@pytest.mark.parametrize("gamma", [0.0, -0.1, 1.0, math.nan])
def test_gamma_out_of_range(gamma):
    with pytest.raises(ValueError, match=f"between 0 and 1.*gamma={gamma}"):
        flow_limit(random_problem(3, 3, 1, 1, seed=0), np.array([1.0]), gamma)
