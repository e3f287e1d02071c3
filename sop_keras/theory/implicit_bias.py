"""Equation (22): the learning rate alpha acts as the penalty lambda of (25).

Started at u = v = gamma, descent with the rates alpha for u and v ends, as gamma goes
to 0, in the solution of the convex program (25) whose lambda is

    lambda = -log(gamma) / (2 alpha).

s appears where the residual, summed over time, reaches lambda: until then
u = gamma exp(2 alpha nu) is still small. A larger alpha, or a larger gamma, gives s
more and the network less.
"""

from __future__ import annotations

import math


def equivalent_penalty(alpha: float, gamma: float) -> float:
    """The lambda of (25) that descent from `gamma` with the rate `alpha` minimises.

    Args:
        alpha: the ratio of the step sizes of u, v and theta, positive.
        gamma: the start of u and v, between 0 and 1.

    Raises:
        ValueError: for other numbers.
    """
    check_positive("alpha", alpha)
    check_start(gamma)
    return -math.log(gamma) / (2 * alpha)


def equivalent_alpha(penalty: float, gamma: float) -> float:
    """The alpha with which descent from `gamma` minimises (25) under `penalty`.

    Args:
        penalty: lambda, positive.
        gamma: the start of u and v, between 0 and 1.

    Raises:
        ValueError: for other numbers.
    """
    check_positive("penalty", penalty)
    check_start(gamma)
    return -math.log(gamma) / (2 * penalty)


def check_start(gamma: float) -> None:
    """Refuse a start of u and v that the theory has no word on.

    Raises:
        ValueError: unless `gamma` is between 0 and 1.
    """
    if not 0 < gamma < 1:
        raise ValueError(
            "u and v start at a number between 0 and 1, 0 excluded: from 0 they never "
            f"move. Received: gamma={gamma!r}; the figures take exp(-8)."
        )


def check_positive(name: str, value: float) -> None:
    """Refuse what is not above 0, or not finite.

    Raises:
        ValueError: unless `value`, given for the argument `name`, is such a number.
    """
    if not 0 < value < math.inf:
        raise ValueError(f"`{name}` must be positive. Received: {name}={value!r}.")
