import sys

import cvxpy
import numpy as np
import pytest
from scipy.optimize import lsq_linear

from sop_keras.theory import LinearProblem, random_problem, solve_convex

SIZES = [(12, 20, 3, 3), (6, 4, 4, 2), (5, 5, 5, 5), (8, 2, 1, 0)]
PENALTIES = np.geomspace(1e-3, 3, 6)


def two_labels():
    """J = (1, 2), y = (1, 5): theta* = 1, the second label 3 too large."""
    return LinearProblem(
        np.array([[1.0], [2.0]]),
        1,
        np.ones(1),
        np.array([0.0, 3.0]),
        np.array([1.0, 5.0]),
    )


def full_size(problem, penalty):
    """(25) as it is written, in theta and s, by Clarabel."""
    theta = cvxpy.Variable(problem.num_parameters)
    noise = cvxpy.Variable(problem.num_examples)
    goal = cvxpy.sum_squares(theta) / 2 + penalty * cvxpy.norm1(noise)
    fits = problem.labels == problem.jacobian @ theta + noise
    cvxpy.Problem(cvxpy.Minimize(goal), [fits]).solve(solver="CLARABEL")
    return theta.value, noise.value


def test_on_paper():
    # 1/2 theta^2 + lambda (|1 - theta| + |5 - 2 theta|) falls where theta is less than
    # lambda times 3 (theta < 1), 1 (1 < theta < 2.5) or -3. So theta = 3 lambda up to
    # lambda = 1/3, then 1, from lambda = 1 on lambda, and from 2.5 on 2.5.
    penalties = np.array([0.1, 0.3, 0.4, 0.9, 1.5, 2.4, 3.0, 100.0])
    theta = np.array([0.3, 0.9, 1.0, 1.0, 1.5, 2.4, 2.5, 2.5])
    solution = solve_convex(two_labels(), penalties)
    assert solution.converged.all()
    assert solution.solvers.tolist() == ["ECOS"] * 8
    np.testing.assert_allclose(solution.theta[:, 0], theta, atol=1e-4)
    noise = np.array([1.0, 5.0]) - theta[:, None] * [1.0, 2.0]
    np.testing.assert_allclose(solution.noise, noise, atol=1e-4)


def test_a_huge_penalty_gives_a_weighted_median():
    # The l1 norm alone decides: sum_i |J_i| |y_i / J_i - theta| is least at the median
    # of y_i / J_i with the weights |J_i|. Here 3, 0, 2, 7 with 1, 2, 4, 2: 2.
    jacobian = np.array([[1.0], [-2.0], [4.0], [2.0]])
    labels = np.array([3.0, 0.0, 8.0, 14.0])
    problem = LinearProblem(jacobian, 1, np.array([2.0]), np.zeros(4), labels)
    solution = solve_convex(problem, np.array([1e3]))
    np.testing.assert_allclose(solution.theta, [[2.0]], atol=1e-5)
    np.testing.assert_allclose(solution.noise, [[1.0, 4.0, 0.0, 10.0]], atol=1e-4)


@pytest.mark.parametrize("sizes", SIZES)
def test_against_the_program_as_it_is_written(sizes):
    problem = random_problem(*sizes, seed=0)
    # Solvers stop where the goal is within 1e-8 of the least; it is curved by 1 in
    # theta, which so is within sqrt(2e-8) = 1.4e-4.
    for solvers in (("ECOS",), ("CLARABEL",)):
        solution = solve_convex(problem, PENALTIES, solvers)
        assert solution.solvers.tolist() == list(solvers) * len(PENALTIES)
        for i, penalty in enumerate(PENALTIES):
            theta, noise = full_size(problem, penalty)
            np.testing.assert_allclose(solution.theta[i], theta, atol=3e-4)
            np.testing.assert_allclose(solution.noise[i], noise, atol=3e-3)


@pytest.mark.parametrize("sizes", SIZES)
def test_conditions_of_the_optimum(sizes):
    # (25) is solved where y = J theta + s and theta = J^T nu for a nu between -lambda
    # and lambda that is lambda sign(s_i) where s_i is not 0. SciPy seeks such a nu.
    problem = random_problem(*sizes, seed=1)
    solution = solve_convex(problem, PENALTIES)
    for penalty, theta, noise in zip(
        PENALTIES, solution.theta, solution.noise, strict=True
    ):
        rest = problem.jacobian @ theta + noise - problem.labels
        np.testing.assert_allclose(rest, 0, atol=1e-7)
        is_noisy = np.abs(noise) > 3e-3
        nu = np.where(is_noisy, penalty * np.sign(noise), 0)
        missing = theta - problem.jacobian.T @ nu
        if not is_noisy.all():
            free = lsq_linear(
                problem.jacobian[~is_noisy].T, missing, (-penalty, penalty), "bvls"
            )
            missing = missing - problem.jacobian[~is_noisy].T @ free.x
        np.testing.assert_allclose(missing, 0, atol=5e-4)


def test_problems_of_one_size_do_not_leak():
    first, second = (random_problem(6, 5, 2, 2, seed) for seed in (0, 1))
    penalties = np.array([0.01, 0.5])
    before = solve_convex(first, penalties)
    between = solve_convex(second, penalties)
    after = solve_convex(first, penalties[::-1])
    np.testing.assert_allclose(after.theta, before.theta[::-1], atol=1e-9)
    np.testing.assert_allclose(after.noise, before.noise[::-1], atol=1e-9)
    for i, penalty in enumerate(penalties):
        theta, _ = full_size(second, penalty)
        np.testing.assert_allclose(between.theta[i], theta, atol=3e-4)
        assert np.abs(before.theta[i] - theta).max() > 0.01


def fail_with(monkeypatch, settings):
    """ECOS and Clarabel are given these settings, or raise cvxpy's error for `None`."""
    solve = cvxpy.Problem.solve

    def failing(self, solver):
        if settings.get(solver, {}) is None:
            raise cvxpy.SolverError("It failed.")
        return solve(self, solver=solver, **settings.get(solver, {}))

    monkeypatch.setattr(cvxpy.Problem, "solve", failing)


@pytest.mark.parametrize(
    # An error; "user_limit"; "optimal_inaccurate".
    "ecos",
    [None, {"max_iters": 3}, {"abstol": 1e-30, "reltol": 1e-30, "feastol": 1e-30}],
)
def test_clarabel_where_ecos_fails(monkeypatch, ecos):
    problem = random_problem(20, 40, 3, 3, seed=0)
    penalties = np.array([0.1, 0.4])
    right = solve_convex(problem, penalties, ("CLARABEL",))
    fail_with(monkeypatch, {"ECOS": ecos})
    solution = solve_convex(problem, penalties)
    assert solution.solvers.tolist() == ["CLARABEL"] * 2
    assert solution.converged.all()
    np.testing.assert_allclose(solution.theta, right.theta, atol=1e-9)


def test_both_fail(monkeypatch):
    fail_with(monkeypatch, {"ECOS": None, "CLARABEL": {"max_iter": 2}})
    solution = solve_convex(two_labels(), np.array([0.4, 0.9]))
    assert solution.solvers.tolist() == ["", ""]
    assert not solution.converged.any()
    assert np.isnan(solution.theta).all()
    assert np.isnan(solution.noise).all()


def test_one_lambda_fails(monkeypatch):
    solve, calls = cvxpy.Problem.solve, []

    def failing(self, solver):
        calls.append(solver)
        if len(calls) in (2, 3):
            raise cvxpy.SolverError("It failed.")
        return solve(self, solver=solver)

    monkeypatch.setattr(cvxpy.Problem, "solve", failing)
    solution = solve_convex(two_labels(), np.array([0.1, 0.4, 1.5]))
    assert calls == ["ECOS", "ECOS", "CLARABEL", "ECOS"]
    assert solution.converged.tolist() == [True, False, True]
    np.testing.assert_allclose(solution.theta, [[0.3], [np.nan], [1.5]], atol=1e-4)
    assert np.isnan(solution.noise[1]).all()


def test_without_cvxpy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cvxpy", None)
    with pytest.raises(ImportError, match=r"cvxpy: pip install .sop-keras\[theory\]"):
        solve_convex(two_labels(), np.ones(1))


def test_without_ecos(monkeypatch):
    monkeypatch.setattr(cvxpy, "installed_solvers", lambda: ["CLARABEL", "OSQP"])
    assert solve_convex(two_labels(), np.ones(1)).solvers.tolist() == ["CLARABEL"]


def test_without_solvers(monkeypatch):
    monkeypatch.setattr(cvxpy, "installed_solvers", lambda: ["OSQP"])
    with pytest.raises(ImportError, match=r"ECOS, CLARABEL is inst.*keras\[theory\]"):
        solve_convex(two_labels(), np.ones(1))


@pytest.mark.parametrize("penalties", [[0.0], [1.0, -1.0], [np.nan], [np.inf], 1.0])
def test_penalties_out_of_range(penalties):
    with pytest.raises(ValueError, match="`penalties` must be one row of positive"):
        solve_convex(two_labels(), np.array(penalties))
