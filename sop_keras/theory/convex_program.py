"""The convex program (25), what descent turns out to solve.

    min over theta, s of  1/2 ||theta||^2 + lambda ||s||_1   with  y = J theta + s

cvxpy (extra `theory`) gives it to ECOS, and to Clarabel where ECOS fails or is missing.
With J = U S V the compact singular value decomposition, the solution has
theta = V^T z, since any part outside of J's row space only adds to its norm: the
solvers are given U S z and ||z||, rank numbers in place of num_parameters, which is
exactly the same program, in a fraction of the time (benchmarks/theory.py).

The solvers' own tolerances are kept. ECOS and Clarabel then agree to 1e-3 in s and 1e-4
in theta below lambda0, where the optimum is flat, and to 1e-7 above it.
"""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from sop_keras.theory.linear_problem import LinearProblem

SOLVERS = ("ECOS", "CLARABEL")
"""In the order in which they are asked, by the names that cvxpy has for them."""


@dataclass(frozen=True, eq=False)
class ConvexSolution:
    """Solutions of (25), one for each lambda; NaN where no solver found one.

    Args:
        theta: shape `(num_penalties, num_parameters)`.
        noise: s, shape `(num_penalties, num_examples)`.
        solvers: which of `SOLVERS` found it, `""` for none, strings `(num_penalties,)`.
    """

    theta: np.ndarray
    noise: np.ndarray
    solvers: np.ndarray

    @property
    def converged(self) -> np.ndarray:
        """Whether a solution was found, bool `(num_penalties,)`."""
        return self.solvers != ""


def solve_convex(
    problem: LinearProblem,
    penalties: np.ndarray,
    solvers: tuple[str, ...] = SOLVERS,
) -> ConvexSolution:
    """Solve (25) for each lambda.

    Args:
        problem: y and J.
        penalties: lambda, positive, shape `(num_penalties,)`.
        solvers: cvxpy's names of those to ask, one after another until one calls its
            solution optimal. Defaults to `SOLVERS`.

    Raises:
        ValueError: for a lambda that is not positive.
        ImportError: without cvxpy, or with none of the solvers.
    """
    penalties = np.asarray(penalties, dtype=np.float64)
    if penalties.ndim != 1 or not (np.isfinite(penalties) & (penalties > 0)).all():
        raise ValueError(
            "`penalties` must be one row of positive numbers. Received: "
            f"penalties={penalties}."
        )
    available = _available(solvers)
    program = _Program.of(problem.num_examples, problem.rank)
    left, singular_values, right = problem.svd
    theta = np.full((len(penalties), problem.num_parameters), np.nan)
    noise = np.full((len(penalties), problem.num_examples), np.nan)
    found = np.full(len(penalties), "", dtype="U16")
    for i, penalty in enumerate(penalties):
        for solver in available:
            solution = program.solve(
                left * singular_values, problem.labels, penalty, solver
            )
            if solution is not None:
                theta[i] = solution[0] @ right
                noise[i] = solution[1]
                found[i] = solver
                break
    return ConvexSolution(theta, noise, found)


class _Program:
    """(25) in z and s, built once for all problems of a size."""

    def __init__(self, num_examples: int, rank: int) -> None:
        cvxpy = _cvxpy()
        self._z = cvxpy.Variable(rank)
        self._noise = cvxpy.Variable(num_examples)
        self._factor = cvxpy.Parameter((num_examples, rank))
        self._labels = cvxpy.Parameter(num_examples)
        self._penalty = cvxpy.Parameter(nonneg=True)
        self._problem = cvxpy.Problem(
            cvxpy.Minimize(
                0.5 * cvxpy.sum_squares(self._z)
                + self._penalty * cvxpy.norm1(self._noise)
            ),
            [self._factor @ self._z + self._noise == self._labels],
        )

    @classmethod
    @functools.lru_cache(maxsize=16)
    def of(cls, num_examples: int, rank: int) -> _Program:
        return cls(num_examples, rank)

    def solve(
        self, factor: np.ndarray, labels: np.ndarray, penalty: float, solver: str
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """(z, s), or None where the solver does not call its answer optimal."""
        cvxpy = _cvxpy()
        self._factor.value = factor
        self._labels.value = labels
        self._penalty.value = penalty
        try:
            with warnings.catch_warnings():
                # That a solution may be inaccurate is in its status.
                warnings.simplefilter("ignore", UserWarning)
                self._problem.solve(solver=solver)
        except cvxpy.SolverError:
            return None
        if self._problem.status != cvxpy.OPTIMAL:
            return None
        return self._z.value, self._noise.value


def _available(solvers: tuple[str, ...]) -> list[str]:
    installed = _cvxpy().installed_solvers()
    available = [solver for solver in solvers if solver in installed]
    if not available:
        raise ImportError(
            f"None of the solvers {', '.join(solvers)} is installed. "
            'pip install "sop-keras[theory]" brings ECOS and Clarabel.'
        )
    return available


def _cvxpy() -> Any:
    try:
        import cvxpy
    except ImportError as error:
        raise ImportError(
            'The convex program (25) needs cvxpy: pip install "sop-keras[theory]".'
        ) from error
    return cvxpy
