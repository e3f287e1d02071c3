"""Random problems solved by (25), and what the linear programs say of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sop_keras.theory.convex_program import solve_convex
from sop_keras.theory.figures.units import Arrays
from sop_keras.theory.linear_problem import LinearProblem, random_problem
from sop_keras.theory.recovery import (
    RECOVERED,
    meets_condition,
    recovery_interval,
    relative_errors,
)


def solve_trials(
    sizes: tuple[int, int, int, int],
    seeds: Sequence[Sequence[int]],
    penalties: Sequence[float],
) -> Arrays:
    """Draw a problem for each seed, and solve (25) for every lambda.

    Args:
        sizes: (N, p, r, k), as `random_problem` has them.
        seeds: one for each trial.
        penalties: lambda, positive.

    Returns:
        `theta_error` and `noise_error`, relative, `(num_trials, num_penalties)`, NaN
        where no solver found a solution; `condition`, whether (27) holds, bool
        `(num_trials,)`; and, likewise, `lambda0` and `lambda_end`, the ends of the
        interval of the lambdas that recover: both infinite where none does, NaN where
        SciPy could not tell.

    Raises:
        ValueError: for sizes that no problem has, and lambdas out of their range.
        ImportError: without cvxpy or SciPy.
    """
    problems = [random_problem(*sizes, seed=seed) for seed in seeds]
    return solve_problems(problems, penalties)


def solve_problems(
    problems: Sequence[LinearProblem], penalties: Sequence[float]
) -> Arrays:
    """The same for problems that were drawn already."""
    errors, ends, conditions = [], [], []
    for problem in problems:
        solution = solve_convex(problem, np.asarray(penalties))
        errors.append(relative_errors(problem, solution.theta, solution.noise))
        ends.append(interval(problem))
        conditions.append(meets_condition(problem))
    shape = (len(problems), 2, len(penalties))
    of_both = np.array(errors, dtype=np.float64).reshape(shape)
    of_ends = np.array(ends, dtype=np.float64).reshape(len(problems), 2)
    return {
        "theta_error": of_both[:, 0],
        "noise_error": of_both[:, 1],
        "lambda0": of_ends[:, 0],
        "lambda_end": of_ends[:, 1],
        "condition": np.array(conditions, dtype=bool),
    }


def interval(problem: LinearProblem) -> tuple[float, float]:
    """`recovery_interval` in numbers: infinite without one, NaN if SciPy fails."""
    try:
        return recovery_interval(problem) or (np.inf, np.inf)
    except RuntimeError:
        return np.nan, np.nan


def recovered(theta_error: np.ndarray, noise_error: np.ndarray) -> np.ndarray:
    """Whether both relative errors are below `RECOVERED`; where one is NaN, not."""
    return (theta_error < RECOVERED) & (noise_error < RECOVERED)


def verdicts(
    lambda0: np.ndarray, lambda_end: np.ndarray, penalties: np.ndarray, near: float
) -> tuple[np.ndarray, np.ndarray]:
    """What the linear programs say for each lambda.

    Args:
        lambda0: shape `(...)`, as `solve_trials` has it.
        lambda_end: likewise.
        penalties: lambda, shape `(num_penalties,)`.
        near: a factor above 1. A lambda within it of an end is too near for a solver's
            rounded solution to say on which side it is.

    Returns:
        Whether lambda recovers, and whether it can be told: bools of shape
        `(..., num_penalties)`. Where SciPy failed, neither.
    """
    low, high = lambda0[..., None], lambda_end[..., None]
    inside = (low <= penalties) & (penalties <= high) & np.isfinite(low)
    is_near = ((low / near < penalties) & (penalties < low * near)) | (
        (high / near < penalties) & (penalties < high * near)
    )
    return inside, ~is_near & ~np.isnan(low)
