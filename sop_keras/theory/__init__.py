"""Section 3 of the paper, run: why small u and v find sparse label noise.

Needs the extra `theory` where a function says so. Figures: launch/theory.py.
"""

from sop_keras.theory.convex_program import ConvexSolution, solve_convex
from sop_keras.theory.gradient_descent import Descent, gradient_descent
from sop_keras.theory.gradient_flow import FlowLimit, flow_limit
from sop_keras.theory.implicit_bias import equivalent_alpha, equivalent_penalty
from sop_keras.theory.linear_problem import LinearProblem, random_problem
from sop_keras.theory.recovery import (
    coherence,
    is_recovered,
    meets_condition,
    recovery_interval,
    relative_errors,
)

__all__ = [
    "ConvexSolution",
    "Descent",
    "FlowLimit",
    "LinearProblem",
    "coherence",
    "equivalent_alpha",
    "equivalent_penalty",
    "flow_limit",
    "gradient_descent",
    "is_recovered",
    "meets_condition",
    "random_problem",
    "recovery_interval",
    "relative_errors",
    "solve_convex",
]
