"""Figure 2: gradient descent (15) against the convex program (25).

For every alpha of descent and every lambda of (25), how different their theta and s
are. The paper says (22) that they meet on the curve alpha = -log(gamma) / (2 lambda),
and the better the smaller gamma is: here for two gammas. What descent finds is also
held against the closed form of the flow, which takes no steps.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sop_keras.theory.convex_program import solve_convex
from sop_keras.theory.figures.findings import Finding, every_solution_found, largest
from sop_keras.theory.figures.trials import interval
from sop_keras.theory.figures.units import Arrays, Unit
from sop_keras.theory.gradient_descent import gradient_descent
from sop_keras.theory.gradient_flow import flow_limit
from sop_keras.theory.implicit_bias import equivalent_alpha
from sop_keras.theory.linear_problem import LinearProblem, random_problem
from sop_keras.theory.recovery import is_recovered

_FIRST_SEED = 2

# What the curve is held to.
_ON_CURVE, _WHERE_RECOVERED, _TO_FLOW = 0.2, 0.01, 1e-3


@dataclass(frozen=True)
class Settings:
    """Sizes and grids; the defaults are the paper's, for 8 problems.

    Args:
        num_examples: N. Defaults to `20`.
        num_parameters: p. Defaults to `40`.
        rank: r. Defaults to `3`.
        num_wrong: k. Defaults to `3`.
        problems: how many. Defaults to `8`.
        problems_per_unit: descended with at once. Defaults to `4`.
        log_gammas: of the start of u and v, the larger first. Defaults to `(-8, -16)`.
        penalties_per_decade: of lambda, from 1e-4 to 1. Defaults to `10`. The alphas
            are those of the curve for lambda from 1e-3 on: 4 to 4000 for exp(-8).
        max_change: of descent. Defaults to `2e-4`.
        tolerance: of descent. Defaults to `1e-6`.
        max_steps: of descent. Defaults to 20 million.
    """

    num_examples: int = 20
    num_parameters: int = 40
    rank: int = 3
    num_wrong: int = 3
    problems: int = 8
    problems_per_unit: int = 4
    log_gammas: tuple[float, float] = (-8.0, -16.0)
    penalties_per_decade: int = 10
    max_change: float = 2e-4
    tolerance: float = 1e-6
    max_steps: int = 20_000_000

    def __post_init__(self) -> None:
        if len(self.log_gammas) != 2 or self.log_gammas[1] >= self.log_gammas[0]:
            raise ValueError(
                "`log_gammas` must be two numbers, the larger first. Received: "
                f"log_gammas={self.log_gammas}."
            )

    @classmethod
    def quick(cls) -> Settings:
        """A coarse grid and coarse steps, in seconds."""
        return cls(
            problems=2,
            problems_per_unit=2,
            penalties_per_decade=3,
            max_change=5e-3,
            tolerance=3e-5,
        )

    @property
    def penalties(self) -> np.ndarray:
        """Lambda, increasing."""
        return np.logspace(-4, 0, 4 * self.penalties_per_decade + 1)

    @property
    def on_curve(self) -> np.ndarray:
        """The indices of the lambdas whose alphas are taken, those from 1e-3 on."""
        return np.arange(self.penalties_per_decade, len(self.penalties))

    def alphas(self, log_gamma: float) -> np.ndarray:
        """The alpha of each lambda of `on_curve`, decreasing."""
        gamma = float(np.exp(log_gamma))
        penalties = self.penalties[self.on_curve].tolist()
        return np.array([equivalent_alpha(penalty, gamma) for penalty in penalties])

    def problem(self, i: int) -> LinearProblem:
        """The i-th problem."""
        return random_problem(
            self.num_examples,
            self.num_parameters,
            self.rank,
            self.num_wrong,
            seed=(_FIRST_SEED, i),
        )


def units(settings: Settings) -> list[Unit]:
    """Descent on several problems from one gamma; (25) on all of them."""
    descents = [
        Unit(f"descent{i}-{first}", descend, (settings, log_gamma, first))
        for i, log_gamma in enumerate(settings.log_gammas)
        for first in range(0, settings.problems, settings.problems_per_unit)
    ]
    return [*descents, Unit("convex", solve, (settings,))]


def descend(settings: Settings, log_gamma: float, first: int) -> Arrays:
    """Ends of descent and of the flow, for every alpha.

    Args:
        settings: of the figure.
        log_gamma: of the start of u and v.
        first: the first problem of the unit.

    Returns:
        `theta` and `noise`, `(problems, alphas, ...)`, NaN where descent has not
        converged; `flow_theta` and `flow_noise`, likewise; and `steps`.

    Raises:
        ValueError: for sizes that no problem has, and numbers out of their range.
    """
    last = min(first + settings.problems_per_unit, settings.problems)
    problems = [settings.problem(i) for i in range(first, last)]
    gamma = float(np.exp(log_gamma))
    alphas = settings.alphas(log_gamma)
    ends = gradient_descent(
        problems,
        alphas,
        gamma,
        max_change=settings.max_change,
        tolerance=settings.tolerance,
        max_steps=settings.max_steps,
    )
    flows = [flow_limit(problem, alphas, gamma) for problem in problems]
    return {
        "theta": ends.theta,
        "noise": ends.noise,
        "steps": ends.steps,
        "flow_theta": np.stack([flow.theta for flow in flows]),
        "flow_noise": np.stack([flow.noise for flow in flows]),
    }


def solve(settings: Settings) -> Arrays:
    """Solutions of (25) for every problem and lambda.

    Returns:
        `theta` and `noise`, `(problems, lambdas, ...)`, NaN where no solver found one;
        `recovered`, bool `(problems, lambdas)`; `lambda0`, infinite where no lambda
        recovers.
    """
    problems = [settings.problem(i) for i in range(settings.problems)]
    solutions = [solve_convex(problem, settings.penalties) for problem in problems]
    both = list(zip(problems, solutions, strict=True))
    return {
        "theta": np.stack([one.theta for one in solutions]),
        "noise": np.stack([one.noise for one in solutions]),
        "recovered": np.stack(
            [is_recovered(problem, one.theta, one.noise) for problem, one in both]
        ),
        "lambda0": np.array([interval(problem)[0] for problem in problems]),
    }


def assemble(settings: Settings, results: Mapping[str, Arrays]) -> Arrays:
    """Differences of theta and s, `(gammas, problems, alphas, lambdas)`, and the grid.

    `theta_to_flow` and `noise_to_flow` are `(gammas, problems, alphas)`.
    """
    convex = results["convex"]
    arrays: Arrays = {
        "penalties": settings.penalties,
        "log_gammas": np.array(settings.log_gammas),
        "alphas": np.stack([settings.alphas(one) for one in settings.log_gammas]),
        "recovered": convex["recovered"],
        "lambda0": convex["lambda0"],
        "without_solution": np.isnan(convex["theta"][..., 0]),
    }
    firsts = range(0, settings.problems, settings.problems_per_unit)
    parts = [
        [results[f"descent{i}-{first}"] for first in firsts]
        for i in range(len(settings.log_gammas))
    ]
    ends = {
        name: np.stack(
            [np.concatenate([part[name] for part in line]) for line in parts]
        )
        for name in parts[0][0]
    }
    arrays["steps"] = ends["steps"]
    for name in ("theta", "noise"):
        of_convex = convex[name][None, :, None]
        arrays[f"{name}_difference"] = difference(ends[name][..., None, :], of_convex)
        arrays[f"{name}_to_flow"] = difference(ends[name], ends[f"flow_{name}"])
    return arrays


def difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """||a - b|| / max(||a||, ||b||) over the last axis, 0 where both are 0."""
    norms = np.maximum(np.linalg.norm(one, axis=-1), np.linalg.norm(other, axis=-1))
    # NaN is not equal to 0: it stays.
    return np.linalg.norm(one - other, axis=-1) / np.where(norms == 0, 1, norms)


def rows(settings: Settings, arrays: Arrays) -> list[dict[str, Any]]:
    """Means over the problems; NaN where one of them has no solution."""
    means = {
        name: arrays[f"{name}_difference"].mean(axis=1) for name in ("theta", "noise")
    }
    return [
        {
            "log_gamma": float(log_gamma),
            "alpha": float(arrays["alphas"][g, i]),
            "lambda": float(penalty),
            "theta_difference": float(means["theta"][g, i, j]),
            "noise_difference": float(means["noise"][g, i, j]),
        }
        for g, log_gamma in enumerate(arrays["log_gammas"])
        for i in range(arrays["alphas"].shape[1])
        for j, penalty in enumerate(arrays["penalties"])
    ]


def findings(settings: Settings, arrays: Arrays) -> list[Finding]:
    """The claims about this figure, and what the arrays say."""
    on_curve = settings.on_curve
    recovered = arrays["recovered"][:, on_curve]
    # Near lambda0 the two thresholds may differ: in the flow, |nu_i| of a wrong label
    # is lambda (1 - log|s_i| / (2 log gamma)), not yet lambda.
    step = 10 ** (1 / settings.penalties_per_decade)
    lambda0 = arrays["lambda0"][:, None]
    clearly = recovered & (settings.penalties[on_curve] >= step * lambda0)
    # Alpha i belongs to lambda on_curve[i]: (gammas, problems, lambdas of the curve).
    theta, noise = (
        np.stack(
            [arrays[f"{name}_difference"][:, :, i, j] for i, j in enumerate(on_curve)],
            axis=-1,
        )
        for name in ("theta", "noise")
    )
    to_flow = {name: largest(arrays[f"{name}_to_flow"]) for name in ("theta", "noise")}
    table = [
        Finding(
            f"on the curve theta differs by at most {_ON_CURVE:g}",
            f"the largest of {theta[0].size} is {largest(theta[0]):.3f}",
            largest(theta[0]) <= _ON_CURVE,
        ),
        Finding(
            f"and by less than {_WHERE_RECOVERED:g} where (25) recovers theta*",
            f"{int((theta[0][recovered] >= _WHERE_RECOVERED).sum())} of "
            f"{int(recovered.sum())} do not; the largest is "
            f"{largest(theta[0][recovered]):.4f}",
            largest(theta[0][recovered]) < _WHERE_RECOVERED,
        ),
        Finding(
            "the same from a grid step above lambda0 on",
            f"the largest of {int(clearly.sum())} is {largest(theta[0][clearly]):.4f}",
            largest(theta[0][clearly]) < _WHERE_RECOVERED,
        ),
        Finding(
            f"descent ends where the flow does, to {_TO_FLOW:g}",
            f"theta: {to_flow['theta']:.1e}, s: {to_flow['noise']:.1e} at most",
            largest(np.array(list(to_flow.values()))) <= _TO_FLOW,
        ),
        _minimum_on_curve(settings, arrays),
        Finding(
            "with the smaller gamma they are closer on the curve",
            f"means of theta's difference: {theta[0].mean():.4f} and "
            f"{theta[1].mean():.4f}; the largest: {largest(theta[0]):.4f} and "
            f"{largest(theta[1]):.4f}",
            bool(theta[1].mean() < theta[0].mean())
            and largest(theta[1]) < largest(theta[0]),
        ),
        Finding(
            "and so is s",
            f"means of s's difference: {noise[0].mean():.4f} and "
            f"{noise[1].mean():.4f}; the largest: {largest(noise[0]):.4f} and "
            f"{largest(noise[1]):.4f}; {int((noise[0] > _ON_CURVE).sum())} and "
            f"{int((noise[1] > _ON_CURVE).sum())} of {noise[0].size} are above "
            f"{_ON_CURVE:g}",
            bool(noise[1].mean() < noise[0].mean())
            and largest(noise[1]) < largest(noise[0]),
        ),
    ]
    unfinished = int(np.isnan(arrays["theta_to_flow"]).sum())
    missing = int(arrays["without_solution"].sum())
    return [
        *table,
        every_solution_found(
            unfinished, arrays["theta_to_flow"].size, "descent and flow"
        ),
        every_solution_found(
            missing, arrays["without_solution"].size, "convex program"
        ),
    ]


def _minimum_on_curve(settings: Settings, arrays: Arrays) -> Finding:
    """For each problem and lambda of the curve, which alpha is nearest.

    Where (25) recovers theta*, so does descent with every smaller alpha: the column is
    flat, and its minimum says nothing.
    """
    # The larger gamma: (problems, alphas, lambdas of the curve).
    columns = arrays["theta_difference"][0][:, :, settings.on_curve]
    is_flat = arrays["recovered"][:, settings.on_curve]
    indices = np.arange(len(settings.on_curve))
    # A NaN counts as the minimum, wherever it is.
    away = np.abs(columns.argmin(axis=1) - indices) > 1
    away |= np.isnan(columns).any(axis=1)
    lost = int((away & ~is_flat).sum())
    excess = columns[:, indices, indices] - columns.min(axis=1)
    return Finding(
        "for each lambda that does not recover theta*, the nearest alpha is within a "
        "grid step of the curve's",
        f"{lost} of {int((~is_flat).sum())} are not; elsewhere, where many alphas are "
        f"near, {int((excess < _WHERE_RECOVERED)[is_flat].sum())} of "
        f"{int(is_flat.sum())} of the curve's are within {_WHERE_RECOVERED:g} of the "
        "nearest",
        lost == 0 and not is_flat.all(),
    )


def draw(settings: Settings, arrays: Arrays, path: str | os.PathLike[str]) -> None:
    """A line for each gamma, theta on the left and s on the right; red: no solution."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt
    from matplotlib.colors import LogNorm

    count = len(settings.log_gammas)
    figure, axes = plt.subplots(
        count, 2, figsize=(9.2, 3.9 * count), squeeze=False, layout="constrained"
    )
    names = {"theta": r"\theta", "noise": "s"}
    for g, log_gamma in enumerate(settings.log_gammas):
        for axis, (name, symbol) in zip(axes[g], names.items(), strict=True):
            axis.set_facecolor("tab:red")
            mesh = axis.pcolormesh(
                arrays["penalties"],
                arrays["alphas"][g],
                np.ma.masked_invalid(arrays[f"{name}_difference"][g].mean(axis=0)),
                cmap="viridis",
                norm=LogNorm(1e-3, 1),
                shading="nearest",
            )
            curve = settings.penalties[settings.on_curve]
            axis.plot(curve, arrays["alphas"][g], "--", color="white", linewidth=1.5)
            axis.set_xscale("log")
            axis.set_yscale("log")
            axis.set_title(rf"${symbol}$, $\gamma = e^{{{log_gamma:g}}}$")
            axis.set_xlabel(r"$\lambda$ of (25)")
            axis.set_ylabel(r"$\alpha$ of descent (15)")
    figure.colorbar(mesh, ax=axes, label="||a - b|| / max(||a||, ||b||)", extend="min")
    figure.suptitle(
        f"Means of {settings.problems} problems, N = {settings.num_examples}, "
        f"p = {settings.num_parameters}, r = {settings.rank}, k = "
        f"{settings.num_wrong}. Dashed: $\\alpha = -\\log \\gamma / (2 \\lambda)$",
        fontsize=10,
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)
