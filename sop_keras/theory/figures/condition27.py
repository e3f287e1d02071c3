"""Whether every problem is recovered that meets (27), k^2 r < N / (4 mu).

Problems are drawn until enough of them meet the condition; each of those is solved at
one lambda, and its lambda0 found by linear programs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sop_keras.theory.figures.findings import Finding, every_solution_found, largest
from sop_keras.theory.figures.trials import recovered, solve_problems
from sop_keras.theory.figures.units import Arrays, Unit
from sop_keras.theory.linear_problem import LinearProblem, random_problem
from sop_keras.theory.recovery import meets_condition

_FIRST_SEED = 27


@dataclass(frozen=True)
class Settings:
    """What is drawn, and how often.

    Args:
        sizes: (N, p, r, k) of the problems. Defaults to those with N = 100 and N = 400
            that meet (27) often enough to be found.
        blocks: units of work of each size. Defaults to `5`.
        problems: that meet (27), of each block. Defaults to `40`.
        max_draws: after so many draws a block ends with fewer. Defaults to `1000`.
        penalty: lambda. Defaults to `0.1`.
        least: how many must meet (27), of all sizes, for a finding. Defaults to `2000`.
    """

    sizes: tuple[tuple[int, int, int, int], ...] = (
        (100, 150, 1, 1),
        (100, 150, 2, 1),
        (100, 150, 3, 1),
        (100, 150, 4, 1),
        (400, 600, 4, 1),
        (400, 600, 1, 2),
        (400, 600, 2, 2),
        (400, 600, 3, 2),
        (400, 600, 4, 2),
        (400, 600, 1, 3),
        (400, 600, 2, 3),
    )
    blocks: int = 5
    problems: int = 40
    max_draws: int = 1000
    penalty: float = 0.1
    least: int = 2000

    @classmethod
    def quick(cls) -> Settings:
        """Few problems, in seconds."""
        sizes = ((100, 150, 1, 1), (100, 150, 4, 1), (400, 600, 2, 2))
        return cls(sizes=sizes, blocks=1, problems=20, max_draws=40, least=60)


def units(settings: Settings) -> list[Unit]:
    """A unit is one block of one size."""
    return [
        Unit(
            _name(size, block),
            solve_those_that_meet,
            (
                size,
                (_FIRST_SEED, *size, block),
                settings.problems,
                settings.max_draws,
                settings.penalty,
            ),
        )
        for size in settings.sizes
        for block in range(settings.blocks)
    ]


def solve_those_that_meet(
    sizes: tuple[int, int, int, int],
    seed: tuple[int, ...],
    wanted: int,
    max_draws: int,
    penalty: float,
) -> Arrays:
    """Draw problems until enough meet (27), and solve those.

    Args:
        sizes: (N, p, r, k), as `random_problem` has them.
        seed: of the draws; a number is appended for each.
        wanted: how many shall meet (27).
        max_draws: at most so many are drawn.
        penalty: lambda.

    Returns:
        `solve_problems`' arrays of those that meet it, and `drawn`, an integer.

    Raises:
        ValueError: for sizes that no problem has, and a lambda out of its range.
        ImportError: without cvxpy or SciPy.
    """
    met: list[LinearProblem] = []
    drawn = 0
    while drawn < max_draws and len(met) < wanted:
        problem = random_problem(*sizes, seed=(*seed, drawn))
        drawn += 1
        if meets_condition(problem):
            met.append(problem)
    return {"drawn": np.array(drawn)} | solve_problems(met, [penalty])


def assemble(settings: Settings, results: Mapping[str, Arrays]) -> Arrays:
    """The arrays of all problems in one row, `size` being an index of `sizes`."""
    parts = {
        (i, block): results[_name(size, block)]
        for i, size in enumerate(settings.sizes)
        for block in range(settings.blocks)
    }
    drawn = np.zeros(len(settings.sizes), dtype=np.int64)
    for (i, _), part in parts.items():
        drawn[i] += int(part["drawn"])
    of_problems = [{**part} for part in parts.values()]
    for part in of_problems:
        del part["drawn"]
    arrays = {
        name: np.concatenate([part[name] for part in of_problems])
        for name in of_problems[0]
    }
    for name in ("theta_error", "noise_error"):
        arrays[name] = arrays[name][:, 0]
    size = [np.full(len(part["lambda0"]), i) for (i, _), part in parts.items()]
    return {
        "sizes": np.array(settings.sizes),
        "drawn": drawn,
        "size": np.concatenate(size),
    } | arrays


def rows(settings: Settings, arrays: Arrays) -> list[dict[str, Any]]:
    """A row for each size."""
    found = recovered(arrays["theta_error"], arrays["noise_error"])
    table = []
    for i, (n, p, r, k) in enumerate(settings.sizes):
        of_size = arrays["size"] == i
        table.append(
            {
                "N": n,
                "p": p,
                "k": k,
                "r": r,
                "drawn": int(arrays["drawn"][i]),
                "met": int(of_size.sum()),
                "recovered": int(found[of_size].sum()),
                "without_solution": int(np.isnan(arrays["theta_error"][of_size]).sum()),
                "largest_lambda0": largest(arrays["lambda0"][of_size]),
                "largest_theta_error": largest(arrays["theta_error"][of_size]),
                "largest_noise_error": largest(arrays["noise_error"][of_size]),
            }
        )
    return table


def findings(settings: Settings, arrays: Arrays) -> list[Finding]:
    """The claims about (27), and what the arrays say."""
    found = recovered(arrays["theta_error"], arrays["noise_error"])
    lambda0, number = arrays["lambda0"], len(arrays["lambda0"])
    below = lambda0 < settings.penalty
    lost = int((below & ~found).sum())
    without = int((~np.isfinite(lambda0)).sum())
    ended = int((np.isfinite(lambda0) & np.isfinite(arrays["lambda_end"])).sum())
    pairs = {
        (k, r)
        for i, (_, _, r, k) in enumerate(settings.sizes)
        if (arrays["size"] == i).any()
    }
    missing = int(np.isnan(arrays["theta_error"]).sum())
    return [
        Finding(
            f"at least {settings.least:,} problems meet (27)",
            f"{number:,} of {int(arrays['drawn'].sum()):,} drawn, "
            f"of {len(pairs)} (k, r)",
            number >= settings.least,
        ),
        Finding(
            f"each of them with lambda0 < {settings.penalty:g} is recovered",
            f"{lost} of {int(below.sum()):,} are not",
            lost == 0 and bool(below.any()),
        ),
        Finding(
            "each of them has a lambda0, above which every lambda recovers",
            f"{without} have none, {ended} have an upper end; "
            f"the largest lambda0 is {largest(lambda0):.2g}",
            without == 0 and ended == 0 and number > 0,
        ),
        every_solution_found(missing, number, "convex program"),
    ]


def draw(settings: Settings, arrays: Arrays, path: str | os.PathLike[str]) -> None:
    """The lambda0 of all that meet (27), and the lambda that they are solved at."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(9.2, 4.2), layout="constrained")
    labels = []
    for i, (n, _, r, k) in enumerate(settings.sizes):
        lambda0 = arrays["lambda0"][arrays["size"] == i]
        # Side by side, by rank: a strip as wide as its points are many.
        beside = i + np.linspace(-0.35, 0.35, len(lambda0))
        axis.plot(beside, np.sort(lambda0), ".", markersize=3, color="tab:blue")
        labels.append(f"{len(lambda0)}\nof {arrays['drawn'][i]}\nN={n}\nk={k}\nr={r}")
    axis.axhline(settings.penalty, color="black", linestyle="--", linewidth=1)
    axis.text(
        0.005,
        settings.penalty,
        r"$\lambda$",
        va="bottom",
        transform=axis.get_yaxis_transform(),
    )
    axis.set_yscale("log")
    axis.set_xticks(range(len(labels)), labels)
    axis.set_ylabel(r"$\lambda_0$ of each problem, sorted")
    axis.grid(alpha=0.25, axis="y")
    axis.set_title("Problems that meet (27), of those drawn")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _name(size: tuple[int, int, int, int], block: int) -> str:
    n, p, r, k = size
    return f"N{n}-p{p}-r{r}-k{k}-{block}"
