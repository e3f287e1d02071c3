"""Figure 4: how often the convex program (25) recovers theta* and s*, over k and r.

At one lambda, for wrong labels from few to nearly all and for ranks of J from low to
nearly full. Beside it what linear programs say of the same problems.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sop_keras.theory.figures.findings import Finding, every_solution_found, smallest
from sop_keras.theory.figures.trials import recovered, solve_trials, verdicts
from sop_keras.theory.figures.units import Arrays, Unit
from sop_keras.theory.recovery import RECOVERED

_FIRST_SEED = 4
_SIZES = (1, *range(5, 100, 5))

# What counts as the two corners of the grid, as parts of N.
_SMALL, _LARGE = 0.1, 0.5
# Of 20 trials one may fail by its draw where larger k and r all succeed.
_NOISE = 0.05
# Where (theta*, s*) does not solve (25), a solution may be so near it that it counts as
# a success; but not nearer than this.
_NEAREST = 1e-4
# A lambda0 within this factor of lambda is too near to tell by a rounded solution.
_NEAR = 1.01


@dataclass(frozen=True)
class Settings:
    """Sizes and grids; lambda, N, p and the trials are the paper's by default.

    Args:
        num_examples: N. Defaults to `100`.
        num_parameters: p. Defaults to `150`.
        penalty: lambda. Defaults to `0.1`.
        wrong: k. Defaults to 1, 5, 10, ..., 95.
        ranks: r. Defaults to the same.
        trials: problems of each (k, r). Defaults to `20`.
    """

    num_examples: int = 100
    num_parameters: int = 150
    penalty: float = 0.1
    wrong: tuple[int, ...] = _SIZES
    ranks: tuple[int, ...] = _SIZES
    trials: int = 20

    def __post_init__(self) -> None:
        for name in ("wrong", "ranks"):
            if list(getattr(self, name)) != sorted(set(getattr(self, name))):
                raise ValueError(
                    f"`{name}` must increase. Received: {name}={getattr(self, name)}."
                )

    @classmethod
    def quick(cls) -> Settings:
        """A coarse grid, in seconds."""
        sizes = (1, 10, 25, 50, 75)
        return cls(wrong=sizes, ranks=sizes, trials=5)


def units(settings: Settings) -> list[Unit]:
    """A unit is all trials of one (k, r)."""
    return [
        Unit(
            f"k{k}-r{r}",
            solve_trials,
            (
                (settings.num_examples, settings.num_parameters, r, k),
                [(_FIRST_SEED, k, r, trial) for trial in range(settings.trials)],
                [settings.penalty],
            ),
        )
        for k in settings.wrong
        for r in settings.ranks
    ]


def assemble(settings: Settings, results: Mapping[str, Arrays]) -> Arrays:
    """`solve_trials`' arrays, `(num_wrong, num_ranks, num_trials)`, and the grid."""
    parts = [[results[f"k{k}-r{r}"] for r in settings.ranks] for k in settings.wrong]
    arrays = {
        name: np.array([[part[name] for part in line] for line in parts])
        for name in parts[0][0]
    }
    # There is but one lambda.
    for name in ("theta_error", "noise_error"):
        arrays[name] = arrays[name][..., 0]
    return {"k": np.array(settings.wrong), "r": np.array(settings.ranks)} | arrays


def success(arrays: Arrays) -> np.ndarray:
    """The part of the trials recovered, `(num_wrong, num_ranks)`.

    NaN where one trial has no solution.
    """
    found = recovered(arrays["theta_error"], arrays["noise_error"])
    missing = np.isnan(arrays["theta_error"]).any(axis=-1)
    return np.where(missing, np.nan, found.mean(axis=-1))


def success_by_linear_program(settings: Settings, arrays: Arrays) -> np.ndarray:
    """The part of the trials whose interval has lambda; NaN where SciPy failed."""
    inside, _ = _verdicts(settings, arrays)
    failed = np.isnan(arrays["lambda0"]).any(axis=-1)
    return np.where(failed, np.nan, inside.mean(axis=-1))


def rows(settings: Settings, arrays: Arrays) -> list[dict[str, Any]]:
    """A row for each (k, r)."""
    of_solver = success(arrays)
    of_programs = success_by_linear_program(settings, arrays)
    missing = np.isnan(arrays["theta_error"]).sum(axis=-1)
    return [
        {
            "k": int(k),
            "r": int(r),
            "success": float(of_solver[i, j]),
            "success_by_linear_program": float(of_programs[i, j]),
            "meet_condition_27": int(arrays["condition"][i, j].sum()),
            "without_solution": int(missing[i, j]),
        }
        for i, k in enumerate(arrays["k"])
        for j, r in enumerate(arrays["r"])
    ]


def findings(settings: Settings, arrays: Arrays) -> list[Finding]:
    """The claims about this figure, and what the arrays say."""
    of_solver = success(arrays)
    k, r = arrays["k"][:, None], arrays["r"][None]
    small, large = _SMALL * settings.num_examples, _LARGE * settings.num_examples
    near_corner = of_solver[(k <= small) & (r <= small)]
    far_corner = of_solver[(k >= large) & (r >= large)]
    always = of_solver == 1
    # The least success among all smaller k and r, the cell itself included.
    least = np.minimum.accumulate(np.minimum.accumulate(of_solver, axis=0), axis=1)
    below = int((least[always] < 1 - _NOISE).sum() + np.isnan(least[always]).sum())
    found = recovered(arrays["theta_error"], arrays["noise_error"])
    inside, is_told = _verdicts(settings, arrays)
    errors = np.maximum(arrays["theta_error"], arrays["noise_error"])
    above, elsewhere = inside & is_told, ~inside & is_told
    lost = int((above & ~found).sum())
    untold = int((~is_told).sum())
    condition = arrays["condition"] & inside
    missing = int(np.isnan(arrays["theta_error"]).sum())
    failed = np.isnan(arrays["lambda0"])
    return [
        Finding(
            f"all are recovered where k and r are at most {small:g}",
            f"{(near_corner == 1).sum()} of {near_corner.size} (k, r)",
            near_corner.size > 0 and bool((near_corner == 1).all()),
        ),
        Finding(
            f"none is where both are at least {large:g}",
            f"{(far_corner == 0).sum()} of {far_corner.size} (k, r)",
            far_corner.size > 0 and bool((far_corner == 0).all()),
        ),
        Finding(
            "where all are recovered, nearly all are for every smaller k and r",
            f"{always.sum()} (k, r) of {always.size} are always recovered; below "
            f"{below} of them is one with a success of less than {1 - _NOISE:g}",
            bool(always.any()) and below == 0,
        ),
        Finding(
            "all are recovered where linear programs say that (theta*, s*) solves (25)",
            f"{lost} of {int(above.sum()):,} are not; {untold} cannot be told",
            lost == 0 and bool(above.any()),
        ),
        Finding(
            f"elsewhere no error is below {_NEAREST:g}",
            f"the smallest of {int(elsewhere.sum()):,} is "
            f"{smallest(errors[elsewhere]):.1e}; {int((elsewhere & found).sum())} "
            f"are below {RECOVERED:g}, and successes",
            smallest(errors[elsewhere]) >= _NEAREST,
        ),
        Finding(
            "all that meet (27) with lambda0 < lambda are recovered",
            f"{int((condition & found).sum())} of {int(condition.sum())}",
            bool(condition.any()) and bool(found[condition].all()),
        ),
        every_solution_found(missing, found.size, "convex program"),
        every_solution_found(int(failed.sum()), failed.size, "search for lambda0"),
    ]


def draw(settings: Settings, arrays: Arrays, path: str | os.PathLike[str]) -> None:
    """Success over (k, r): white always, black never, red without a solution."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        1, 2, figsize=(9.6, 4.5), sharey=True, layout="constrained"
    )
    panels = [
        (axes[0], success(arrays), f"(25) at $\\lambda$ = {settings.penalty:g}"),
        (
            axes[1],
            success_by_linear_program(settings, arrays),
            "linear programs: $\\lambda_0 \\leq \\lambda$",
        ),
    ]
    ranks, wrong = arrays["r"], arrays["k"]
    for axis, values, title in panels:
        axis.set_facecolor("tab:red")
        mesh = axis.pcolormesh(
            np.arange(len(ranks) + 1),
            np.arange(len(wrong) + 1),
            np.ma.masked_invalid(values),
            cmap="gray",
            vmin=0,
            vmax=1,
        )
        met = arrays["condition"].any(axis=-1)
        for i, j in zip(*np.nonzero(met), strict=True):
            axis.plot(j + 0.5, i + 0.5, ".", color="tab:blue", markersize=7)
        every = slice(None, None, 2 if len(ranks) > 10 else 1)
        axis.set_xticks((np.arange(len(ranks)) + 0.5)[every], ranks[every])
        axis.set_yticks((np.arange(len(wrong)) + 0.5)[every], wrong[every])
        axis.set_aspect("equal")
        axis.set_title(title)
        axis.set_xlabel("rank r of J")
    axes[0].set_ylabel("wrong labels k")
    figure.colorbar(mesh, ax=axes, label=f"success, of {settings.trials} problems")
    figure.suptitle(
        f"N = {settings.num_examples}, p = {settings.num_parameters}. Blue: some "
        "problem meets (27). Red: a solution is missing.",
        fontsize=10,
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _verdicts(settings: Settings, arrays: Arrays) -> tuple[np.ndarray, np.ndarray]:
    inside, is_told = verdicts(
        arrays["lambda0"], arrays["lambda_end"], np.array([settings.penalty]), _NEAR
    )
    return inside[..., 0], is_told[..., 0]
