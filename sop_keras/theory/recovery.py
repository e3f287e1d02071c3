"""When (25) finds theta* and s*: coherence (26), condition (27), and which lambda.

(theta*, s*) solves (25) if and only if some nu has J^T nu = theta*,
nu_i = lambda sign(s*_i) where s*_i is not 0, and |nu_i| <= lambda elsewhere. For a
given problem the lambda for which there is one are an interval, found by two linear
programs: `recovery_interval`. Its lower end is the lambda0 of the paper.
"""

from __future__ import annotations

import numpy as np

from sop_keras.theory.linear_problem import LinearProblem

RECOVERED = 1e-3
"""Below this relative error of both theta and s, a solution counts as recovered."""

# Of SciPy. Its first choice, the simplex method, gives up on a few that have none.
_METHODS = ("highs", "highs-ipm")
_SOLVED, _INFEASIBLE, _UNBOUNDED = 0, 2, 3


def coherence(problem: LinearProblem) -> float:
    """mu(J) = N / r max_i ||U^T e_i||^2, equation (26), from 1 to N / r.

    U has the left singular vectors of J. It is 1 where every example weighs the same,
    and N / r where one alone spans a direction, so that its wrong label goes unnoticed.
    """
    weights = np.square(problem.svd.left).sum(axis=1)
    return problem.num_examples / problem.rank * float(weights.max())


def meets_condition(problem: LinearProblem) -> bool:
    """Whether k^2 r < N / (4 mu), condition (27).

    If so, (25) returns (theta*, s*) for every lambda above a lambda0 of the problem.
    """
    bound = problem.num_examples / (4 * coherence(problem))
    return problem.num_wrong**2 * problem.rank < bound


def relative_errors(
    problem: LinearProblem, theta: np.ndarray, noise: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """||theta - theta*|| / ||theta*|| and the same for s.

    Args:
        problem: has theta* and s*.
        theta: shape `(..., num_parameters)`.
        noise: shape `(..., num_examples)`.

    Returns:
        Two arrays of shape `(...)`; NaN where NaN is given. Where theta* or s* is 0,
        the norm of what is given.
    """
    # Where there is nothing to compare with, an absolute error.
    norms = [
        float(np.linalg.norm(true)) or 1.0
        for true in (problem.true_theta, problem.true_noise)
    ]
    return (
        np.linalg.norm(theta - problem.true_theta, axis=-1) / norms[0],
        np.linalg.norm(noise - problem.true_noise, axis=-1) / norms[1],
    )


def is_recovered(
    problem: LinearProblem, theta: np.ndarray, noise: np.ndarray
) -> np.ndarray:
    """Whether both relative errors are below `RECOVERED`; where NaN is given, not."""
    of_theta, of_noise = relative_errors(problem, theta, noise)
    return (of_theta < RECOVERED) & (of_noise < RECOVERED)


def recovery_interval(problem: LinearProblem) -> tuple[float, float] | None:
    """The lambda for which (theta*, s*) solves (25).

    Args:
        problem: has theta* and s*.

    Returns:
        The smallest (lambda0) and the largest of them, the latter infinite where all
        above lambda0 do; None where there is none.

    Raises:
        ImportError: without SciPy.
        RuntimeError: if SciPy's solvers fail.
    """
    try:
        from scipy import sparse
        from scipy.optimize import linprog
    except ImportError as error:
        raise ImportError(
            'The linear programs need SciPy: pip install "sop-keras[theory]".'
        ) from error

    signs = np.sign(problem.true_noise)
    is_right = signs == 0
    num_right = int(is_right.sum())
    left, singular_values, right = problem.svd
    # J^T nu = theta*, in J's row space: U^T nu = V theta* / S. The unknowns are the nu
    # of right labels, then lambda, which is nu of the wrong ones up to the sign.
    equal = np.hstack([left[is_right].T, (left.T @ signs)[:, None]])
    target = right @ problem.true_theta / singular_values
    identity, column = sparse.eye_array(num_right), -np.ones((num_right, 1))
    bounds = sparse.vstack(
        [sparse.hstack([identity, column]), sparse.hstack([-identity, column])]
    ).tocsr()
    ends = []
    for sign in (1, -1):
        for method in _METHODS:
            result = linprog(
                np.append(np.zeros(num_right), sign),
                A_ub=bounds,
                b_ub=np.zeros(2 * num_right),
                A_eq=equal,
                b_eq=target,
                bounds=[(None, None)] * num_right + [(0, None)],
                method=method,
            )
            if result.status in (_SOLVED, _INFEASIBLE, _UNBOUNDED):
                break
        else:
            raise RuntimeError(
                "SciPy could not solve the linear program of the recovery interval: "
                f"{result.message}"
            )
        if result.status == _INFEASIBLE:
            return None
        ends.append(np.inf if result.status == _UNBOUNDED else float(result.x[-1]))
    return ends[0], ends[1]
