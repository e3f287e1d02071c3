"""Section 3 of the paper, run: why small u and v find sparse label noise.

Needs the extra `theory` where a function says so. Figures: launch/theory.py.

    problem = random_problem(20, 40, rank=3, num_wrong=3, seed=0)
    gamma = math.exp(-8)
    alpha = equivalent_alpha(0.1, gamma)
    descent = gradient_descent([problem], np.array([alpha]), gamma)
    convex = solve_convex(problem, np.array([0.1]))
    descent.theta[0, 0], convex.theta[0]  # equal to 1e-4, both theta*
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
