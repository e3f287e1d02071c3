"""Gradient descent on (14), equation (15), for many problems and alphas at once.

With r = J theta + u*u - v*v - y, from theta = 0 and u = v = gamma,

    theta <- theta - tau J^T r
    u <- u - 2 alpha tau u*r
    v <- v + 2 alpha tau v*r.

The paper gives neither tau nor when to stop. Here tau is chosen anew for every step, as
large as two bounds allow:

- 1 / (||J||^2 + 4 alpha max_i(u_i^2 + v_i^2)): stable, as of the curvature where r = 0;
- `max_change` / (2 alpha max_i |r_i|): no u or v changes by a larger fraction in a
  step. The product u*v, constant in the flow, shrinks by that fraction squared, and
  with it the effective gamma: the end is off by at most about half of `max_change`,
  relative to theta.

A constant tau would have to be small enough for the first steps, where r is ||y||, and
take 10^8 of them at alpha = 4000. It stops where ||r|| <= `tolerance` ||y||.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sop_keras.theory.gradient_flow import check_alphas
from sop_keras.theory.implicit_bias import check_positive, check_start
from sop_keras.theory.linear_problem import LinearProblem

# Steps between looks at what has converged.
_STRETCH = 200


@dataclass(frozen=True, eq=False)
class Descent:
    """Ends of descent, for each problem and alpha; NaN where it has not converged.

    Args:
        theta: shape `(num_problems, num_alphas, num_parameters)`.
        noise: s = u*u - v*v, shape `(num_problems, num_alphas, num_examples)`.
        steps: how many were taken, integers `(num_problems, num_alphas)`.
        converged: bool, likewise.
    """

    theta: np.ndarray
    noise: np.ndarray
    steps: np.ndarray
    converged: np.ndarray


def gradient_descent(
    problems: Sequence[LinearProblem],
    alphas: np.ndarray,
    gamma: float,
    step_size: float | None = None,
    max_change: float = 1e-3,
    tolerance: float = 1e-5,
    max_steps: int = 3_000_000,
) -> Descent:
    """Descend on every problem with every alpha, all in the same arrays.

    Args:
        problems: one or more, of the same numbers of examples and parameters.
        alphas: positive, shape `(num_alphas,)`.
        gamma: the start of u and v, between 0 and 1.
        step_size: tau, for all steps. Defaults to `None`: chosen anew for each step,
            problem and alpha, as the module says.
        max_change: the largest relative change of a u or v in a step, less than 1;
            unused with a `step_size`. Defaults to `1e-3`.
        tolerance: of the residual's norm, relative to that of y. Defaults to `1e-5`.
        max_steps: what has not converged by then is marked. Defaults to 3 million.

    Raises:
        ValueError: for problems of different sizes, and numbers out of their range.
    """
    alphas = check_alphas(alphas)
    check_start(gamma)
    settings = {"max_change": max_change, "tolerance": tolerance}
    if step_size is not None:
        settings["step_size"] = step_size
    for name, value in settings.items():
        check_positive(name, value)
    if max_change >= 1 or max_steps < 1:
        raise ValueError(
            "`max_change` must be less than 1, else u and v change their signs, and "
            f"`max_steps` at least 1. Received: max_change={max_change!r}, "
            f"max_steps={max_steps!r}."
        )
    if len(shapes := {problem.jacobian.shape for problem in problems}) != 1:
        raise ValueError(
            "The problems must be of the same sizes, (num_examples, num_parameters). "
            f"Received: {sorted(shapes) or 'no problem'}."
        )
    state = _State(problems, alphas, gamma)
    shape = len(problems), len(alphas)
    theta = np.full((*shape, problems[0].num_parameters), np.nan)
    noise = np.full((*shape, problems[0].num_examples), np.nan)
    steps = np.zeros(shape, dtype=np.int64)
    converged = np.zeros(shape, dtype=bool)
    diverged = np.zeros(shape, dtype=bool)
    bound = tolerance * np.linalg.norm([one.labels for one in problems], axis=-1)
    taken = 0
    # Which alphas some problem still descends with; the arrays have no others.
    columns = np.arange(len(alphas))
    while taken < max_steps:
        stretch = min(_STRETCH, max_steps - taken)
        with np.errstate(over="ignore", invalid="ignore"):
            state.descend(stretch, step_size, max_change)
            length = np.linalg.norm(state.residual(), axis=-1)
        taken += stretch
        is_open = ~(converged | diverged)[:, columns]
        steps[:, columns] += stretch * is_open
        diverged[:, columns] |= is_open & ~np.isfinite(length)
        ended = is_open & (length <= bound[:, None])
        rows, local = np.nonzero(ended)
        theta[rows, columns[local]] = state.theta[rows, local]
        noise[rows, columns[local]] = state.noise()[rows, local]
        converged[rows, columns[local]] = True
        kept = np.any(~(converged | diverged)[:, columns], axis=0)
        if not kept.any():
            break
        if not kept.all():
            columns = columns[kept]
            state.keep(kept)
    return Descent(theta, noise, steps, converged)


class _State:
    """theta, u and v of all problems (the first axis) and alphas (the second)."""

    def __init__(
        self, problems: Sequence[LinearProblem], alphas: np.ndarray, gamma: float
    ) -> None:
        self._jacobian = np.stack([one.jacobian for one in problems])
        self._transposed = np.ascontiguousarray(self._jacobian.transpose(0, 2, 1))
        self._labels = np.stack([one.labels for one in problems])[:, None]
        largest = [one.svd.singular_values[0] for one in problems]
        self._curvature = np.square(largest)[:, None, None]
        self._rate = 2 * alphas[None, :, None]
        shape = len(problems), len(alphas)
        self.theta = np.zeros((*shape, self._jacobian.shape[2]))
        self._u = np.full((*shape, self._jacobian.shape[1]), gamma)
        self._v = self._u.copy()

    def noise(self) -> np.ndarray:
        """u*u - v*v."""
        return self._u * self._u - self._v * self._v

    def residual(self) -> np.ndarray:
        """J theta + u*u - v*v - y."""
        return self.theta @ self._transposed + self.noise() - self._labels

    def descend(self, steps: int, step_size: float | None, max_change: float) -> None:
        """Take steps of (15)."""
        rate = self._rate
        for _ in range(steps):
            residual = self.residual()
            if step_size is None:
                size = self._u * self._u + self._v * self._v
                curvature = self._curvature + 2 * rate * size.max(-1, keepdims=True)
                growth = rate * np.abs(residual).max(-1, keepdims=True)
                residual /= np.maximum(curvature, growth / max_change)
            else:
                residual *= step_size
            self.theta -= residual @ self._jacobian
            residual *= rate
            self._u -= residual * self._u
            self._v += residual * self._v

    def keep(self, columns: np.ndarray) -> None:
        """Go on with some of the alphas alone."""
        self._rate = self._rate[:, columns]
        self.theta = self.theta[:, columns]
        self._u, self._v = self._u[:, columns], self._v[:, columns]
