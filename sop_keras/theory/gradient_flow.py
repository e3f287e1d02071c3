"""Where gradient flow ends, equations (16)-(20): descent with steps that go to 0.

With nu the integral of minus the residual over time,

    theta = J^T nu,  u = gamma exp(2 alpha nu),  v = gamma exp(-2 alpha nu),

so that u*u - v*v = 2 gamma^2 sinh(4 alpha nu), and the flow of nu is that of the
strictly convex function

    phi(nu) = 1/2 ||J^T nu||^2 + gamma^2 / (2 alpha) sum_i cosh(4 alpha nu_i) - y . nu.

It ends in the one minimum: J J^T nu + 2 gamma^2 sinh(4 alpha nu) = y. Newton's method
finds it without following the flow, which makes it a check on descent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sop_keras.theory.implicit_bias import check_start
from sop_keras.theory.linear_problem import LinearProblem

_MAX_STEPS = 1000
# Of 4 alpha nu, whose exponential matters: within a step of 1 the curvature of phi
# changes by at most a factor e, so that Newton's steps, cut to that, always descend.
_LONGEST_STEP = 1.0
# Of the gradient, J J^T nu + s - y, relative to y. It bounds the error of theta:
# ||theta - limit||^2 <= ||nu - limit|| ||gradient||.
_CONVERGED = 1e-10
# Added to J J^T, relative to its trace: where s_i is tiny, rounding would else decide
# how far nu_i goes.
_RIDGE = 1e-14


@dataclass(frozen=True, eq=False)
class FlowLimit:
    """Ends of the flow, one for each alpha; NaN where none was found.

    Args:
        theta: shape `(num_alphas, num_parameters)`.
        noise: s = u*u - v*v, shape `(num_alphas, num_examples)`.
        nu: likewise.
        converged: bool, shape `(num_alphas,)`.
    """

    theta: np.ndarray
    noise: np.ndarray
    nu: np.ndarray
    converged: np.ndarray


def flow_limit(problem: LinearProblem, alphas: np.ndarray, gamma: float) -> FlowLimit:
    """The end of gradient flow from theta = 0, u = v = `gamma`.

    Args:
        problem: what is solved.
        alphas: positive, shape `(num_alphas,)`.
        gamma: the start of u and v, between 0 and 1. From 1e-13 (e^-30) down, rounding
            may leave some without a limit.

    Raises:
        ValueError: for an alpha or a gamma that is out of its range.
    """
    alphas = check_alphas(alphas)
    check_start(gamma)
    scale = 2 * gamma**2
    if scale < np.finfo(np.float64).tiny:
        raise ValueError(
            "The square of `gamma` is too small for a float64. Received: "
            f"gamma={gamma!r}; the figures take exp(-8) and exp(-16)."
        )
    gram = problem.jacobian @ problem.jacobian.T
    identity = np.eye(problem.num_examples)
    ridge = _RIDGE * float(np.trace(gram)) * identity
    bound = _CONVERGED * float(np.linalg.norm(problem.labels))
    rate = 4 * alphas[:, None]
    # x = 4 alpha nu, the number that s depends on.
    x = np.zeros((len(alphas), problem.num_examples))
    active = np.arange(len(alphas))
    for _ in range(_MAX_STEPS):
        own, rates = x[active], rate[active]
        gradient = own @ gram / rates + scale * np.sinh(own) - problem.labels
        # Not "above the bound": NaN is open, and never closes.
        is_open = ~(np.linalg.norm(gradient, axis=-1) <= bound)
        if not is_open.any():
            active = active[:0]
            break
        active, own, rates = active[is_open], own[is_open], rates[is_open]
        hessian = (gram + ridge) / rates[..., None]
        hessian = hessian + (scale * np.cosh(own))[..., None] * identity
        step = -np.linalg.solve(hessian, gradient[is_open, :, None])[..., 0]
        longest = np.abs(step).max(axis=-1, keepdims=True)
        x[active] += step * np.minimum(1, _LONGEST_STEP / longest)
    x[active] = np.nan
    nu = x / rate
    return FlowLimit(
        theta=nu @ problem.jacobian,
        noise=scale * np.sinh(x),
        nu=nu,
        converged=~np.isnan(x[:, 0]),
    )


def check_alphas(alphas: np.ndarray) -> np.ndarray:
    """The alphas as float64.

    Raises:
        ValueError: unless they are one or more positive numbers in one row.
    """
    alphas = np.asarray(alphas, dtype=np.float64)
    if alphas.ndim != 1 or not len(alphas):
        raise ValueError(
            "`alphas` must be one row of numbers. Received: an array of shape "
            f"{alphas.shape}."
        )
    if not (np.isfinite(alphas) & (alphas > 0)).all():
        raise ValueError(f"`alphas` must be positive. Received: alphas={alphas}.")
    return alphas
