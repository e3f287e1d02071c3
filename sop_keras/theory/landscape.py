"""The objective (14), its derivatives and its critical points, Proposition 3.2.

    h(theta, u, v) = 1/2 ||J theta + u*u - v*v - y||^2

Every critical point is a global minimum, h = 0, or a strict saddle: some i has
u_i = v_i = 0 and a residual r_i that is not 0, and h has the curvature -2 |r_i| along
the unit vector e_i of v (if r_i > 0) or of u (if r_i < 0).

A point is one vector (theta, u, v) of num_parameters + 2 num_examples numbers.
"""

from __future__ import annotations

import numpy as np

from sop_keras.theory.linear_problem import LinearProblem

# A residual that counts as 0, relative to ||y||.
_ROUNDING = 1e-10


def objective(problem: LinearProblem, point: np.ndarray) -> float:
    """h, equation (14).

    Args:
        problem: y and J.
        point: (theta, u, v), shape `(num_parameters + 2 * num_examples,)`.

    Raises:
        ValueError: if `point` has another shape.
    """
    residual = residuals(problem, point)
    return float(residual @ residual / 2)


def residuals(problem: LinearProblem, point: np.ndarray) -> np.ndarray:
    """The residuals r = J theta + u*u - v*v - y, shape `(num_examples,)`.

    Raises:
        ValueError: if `point` has another shape than (theta, u, v).
    """
    theta, u, v = _parts(problem, point)
    return problem.jacobian @ theta + u * u - v * v - problem.labels


def gradient(problem: LinearProblem, point: np.ndarray) -> np.ndarray:
    """(J^T r, 2 u*r, -2 v*r), of the point's shape.

    Raises:
        ValueError: if `point` has another shape than (theta, u, v).
    """
    _, u, v = _parts(problem, point)
    residual = residuals(problem, point)
    return np.concatenate(
        [problem.jacobian.T @ residual, 2 * u * residual, -2 * v * residual]
    )


def hessian(problem: LinearProblem, point: np.ndarray) -> np.ndarray:
    """D^T D + diag(0, 2 r, -2 r), D = (J, 2 diag(u), -2 diag(v)).

    Returns:
        Symmetric, a row and a column for each number of the point.

    Raises:
        ValueError: if `point` has another shape than (theta, u, v).
    """
    _, u, v = _parts(problem, point)
    residual = residuals(problem, point)
    derivative = np.hstack([problem.jacobian, np.diag(2 * u), np.diag(-2 * v)])
    zeros = np.zeros(problem.num_parameters)
    return derivative.T @ derivative + np.diag(
        np.concatenate([zeros, 2 * residual, -2 * residual])
    )


def escape_direction(
    problem: LinearProblem, point: np.ndarray
) -> tuple[np.ndarray, float] | None:
    """The direction of Proposition 3.2 in which h curves down the most.

    Args:
        problem: y and J.
        point: (theta, u, v), a critical point, in which what is 0 of u and v is
            exactly 0.

    Returns:
        A unit vector of the point's shape and the curvature of h along it, -2 |r_i|;
        None at a global minimum, where all residuals are 0 up to rounding.

    Raises:
        ValueError: if `point` has another shape than (theta, u, v), or is neither a
            global minimum nor has such an i.
    """
    _, u, v = _parts(problem, point)
    residual = np.where((u == 0) & (v == 0), residuals(problem, point), 0)
    i = int(np.abs(residual).argmax())
    rounding = _ROUNDING * np.linalg.norm(problem.labels)
    if abs(residual[i]) <= rounding:
        if np.linalg.norm(residuals(problem, point)) > rounding * len(residual):
            raise ValueError(
                "Some residual is not 0, yet where it is u_i or v_i is not 0 either: "
                "no critical point, or one whose zeros are rounded. Set them to 0."
            )
        return None
    direction = np.zeros_like(point)
    first = problem.num_parameters + (problem.num_examples if residual[i] > 0 else 0)
    direction[first + i] = 1
    return direction, -2 * abs(float(residual[i]))


def random_critical_point(
    problem: LinearProblem, num_free: int, seed: int
) -> np.ndarray:
    """A point where the gradient of h is 0, drawn from all there are.

    Where u_i or v_i is not 0, r_i = 0; where both are 0 ("free"), r_i may be anything
    that J's transpose sends to 0. So theta fits the free labels by least squares, and
    u, v of the others take what is left of theirs.

    Args:
        problem: y and J.
        num_free: how many i have u_i = v_i = 0. Up to the rank of J, theta fits their
            labels (in general), and the point is a global minimum.
        seed: of the draw.

    Raises:
        ValueError: unless `num_free` is from 0 to the number of examples.
    """
    if not 0 <= num_free <= problem.num_examples:
        raise ValueError(
            f"`num_free` must be from 0 to {problem.num_examples}, the number of "
            f"examples. Received: num_free={num_free}."
        )
    draws = np.random.default_rng(seed)
    is_free = np.zeros(problem.num_examples, dtype=bool)
    is_free[draws.choice(problem.num_examples, num_free, replace=False)] = True
    theta = draws.standard_normal(problem.num_parameters)
    theta += np.linalg.pinv(problem.jacobian[is_free], rcond=1e-10) @ (
        problem.labels[is_free] - problem.jacobian[is_free] @ theta
    )
    noise = problem.labels - problem.jacobian @ theta
    # u*u - v*v = s has a curve of solutions: one of them, of either sign.
    smaller = np.square(draws.standard_normal(problem.num_examples))
    signs = draws.choice([-1.0, 1.0], (2, problem.num_examples))
    u = signs[0] * np.sqrt(smaller + np.maximum(noise, 0))
    v = signs[1] * np.sqrt(smaller + np.maximum(-noise, 0))
    return np.concatenate([theta, np.where(is_free, 0, u), np.where(is_free, 0, v)])


def _parts(
    problem: LinearProblem, point: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    sizes = problem.num_parameters, problem.num_examples
    if point.shape != (sizes[0] + 2 * sizes[1],):
        raise ValueError(
            f"A point is (theta, u, v) of {sizes[0]} + {sizes[1]} + {sizes[1]} numbers "
            f"in one row. Received: an array of shape {point.shape}."
        )
    theta, u, v = np.split(point, [sizes[0], sizes[0] + sizes[1]])
    return theta, u, v
