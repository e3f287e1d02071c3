"""Figure 3: from which lambda on the convex program (25) recovers theta* and s*.

Relative errors of its solutions against lambda, for more and more wrong labels k and
for higher and higher ranks r of J. Beside them the paper's lambda0 by linear programs
(sop_keras.theory.recovery), which know nothing of those solutions.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from sop_keras.theory.figures.findings import Finding, every_solution_found, largest
from sop_keras.theory.figures.trials import recovered, solve_trials, verdicts
from sop_keras.theory.figures.units import Arrays, Unit

_FIRST_SEED = 3


@dataclass(frozen=True)
class Settings:
    """Sizes and grids; the defaults are the paper's.

    Args:
        num_examples: N. Defaults to `100`.
        num_parameters: p. Defaults to `150`.
        ranks: r of panel (b). Defaults to `(10, 20, 40, 60, 80)`.
        wrong: k of panel (a). Defaults to the same.
        rank: r of panel (a). Defaults to `20`.
        num_wrong: k of panel (b). Defaults to `20`.
        penalties_per_decade: of lambda, from 1e-4 to 1. Defaults to `10`.
        trials: problems of each (k, r). Defaults to `10`.
    """

    num_examples: int = 100
    num_parameters: int = 150
    ranks: tuple[int, ...] = (10, 20, 40, 60, 80)
    wrong: tuple[int, ...] = (10, 20, 40, 60, 80)
    rank: int = 20
    num_wrong: int = 20
    penalties_per_decade: int = 10
    trials: int = 10

    @classmethod
    def quick(cls) -> Settings:
        """A coarse grid, in seconds."""
        sizes = (10, 20, 40)
        return cls(ranks=sizes, wrong=sizes, penalties_per_decade=4, trials=4)

    @property
    def penalties(self) -> np.ndarray:
        """Lambda, increasing."""
        return np.logspace(-4, 0, 4 * self.penalties_per_decade + 1)

    @property
    def panels(self) -> dict[str, list[tuple[int, int]]]:
        """(k, r) of each curve."""
        return {
            "a": [(k, self.rank) for k in self.wrong],
            "b": [(self.num_wrong, r) for r in self.ranks],
        }

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """(k, r) of both panels, each once."""
        return sorted({pair for pairs in self.panels.values() for pair in pairs})


def units(settings: Settings) -> list[Unit]:
    """A unit is all trials of one (k, r)."""
    penalties = settings.penalties.tolist()
    return [
        Unit(
            f"k{k}-r{r}",
            solve_trials,
            (
                (settings.num_examples, settings.num_parameters, r, k),
                [(_FIRST_SEED, k, r, trial) for trial in range(settings.trials)],
                penalties,
            ),
        )
        for k, r in settings.pairs
    ]


def assemble(settings: Settings, results: Mapping[str, Arrays]) -> Arrays:
    """`k` and `r` of each pair, lambda, and `solve_trials`' arrays of all pairs."""
    pairs = settings.pairs
    parts = [results[f"k{k}-r{r}"] for k, r in pairs]
    return {
        "k": np.array([k for k, _ in pairs]),
        "r": np.array([r for _, r in pairs]),
        "penalties": settings.penalties,
    } | {name: np.stack([part[name] for part in parts]) for name in parts[0]}


def rows(settings: Settings, arrays: Arrays) -> list[dict[str, Any]]:
    """Means over trials; NaN where a trial has no solution."""
    found = recovered(arrays["theta_error"], arrays["noise_error"])
    middle = np.median(arrays["lambda0"], axis=1)
    missing = np.isnan(arrays["theta_error"]).sum(axis=1)
    table = []
    for panel, pairs in settings.panels.items():
        for pair in pairs:
            i = settings.pairs.index(pair)
            for j, penalty in enumerate(arrays["penalties"]):
                table.append(
                    {
                        "panel": panel,
                        "k": pair[0],
                        "r": pair[1],
                        "lambda": float(penalty),
                        "theta_error": float(arrays["theta_error"][i, :, j].mean()),
                        "noise_error": float(arrays["noise_error"][i, :, j].mean()),
                        "recovered": int(found[i, :, j].sum()),
                        "without_solution": int(missing[i, j]),
                        "trials_with_lambda0": int(
                            np.isfinite(arrays["lambda0"][i]).sum()
                        ),
                        "median_lambda0": float(middle[i]),
                    }
                )
    return table


def findings(settings: Settings, arrays: Arrays) -> list[Finding]:
    """The claims about this figure, and what the arrays say."""
    step = 10 ** (1 / settings.penalties_per_decade)
    inside, is_told = verdicts(
        arrays["lambda0"], arrays["lambda_end"], arrays["penalties"], step
    )
    found = recovered(arrays["theta_error"], arrays["noise_error"])
    above, elsewhere = inside & is_told, ~inside & is_told
    lost, surprising = int((above & ~found).sum()), int((elsewhere & found).sum())
    # NaN where a solution is missing.
    errors = np.maximum(arrays["theta_error"], arrays["noise_error"])[above]
    near = ~is_told
    table = [
        Finding(
            "errors are below 1e-3 above lambda0, where recovery is possible",
            f"{lost} of {int(above.sum()):,} are not; the largest is "
            f"{largest(errors):.1e}",
            lost == 0 and bool(above.any()),
        ),
        Finding(
            "elsewhere they are not",
            f"{surprising} of {int(elsewhere.sum()):,} are; within a grid step of "
            f"lambda0, {int((near & (found != inside)).sum())} of {int(near.sum())} "
            "are on the other side of 1e-3",
            surprising == 0 and bool(elsewhere.any()),
        ),
    ]
    middle = np.median(arrays["lambda0"], axis=1)
    for panel, pairs in settings.panels.items():
        name, i = ("k", 0) if panel == "a" else ("r", 1)
        ordered = sorted(pairs)
        values = np.array([middle[settings.pairs.index(pair)] for pair in ordered])
        table.append(
            Finding(
                f"lambda0, the median of the trials, grows with {name}",
                ", ".join(
                    f"{name}={pair[i]}: "
                    + (f"{value:.2g}" if value < np.inf else "none")
                    for pair, value in zip(ordered, values, strict=True)
                ),
                # From where there is none, there is none for all larger ones.
                bool(np.isfinite(values[0]))
                and all(
                    one < other or (one == other == np.inf)
                    for one, other in pairwise(values)
                ),
            )
        )
    missing = int(np.isnan(arrays["theta_error"]).sum())
    table.append(
        every_solution_found(missing, arrays["theta_error"].size, "convex program")
    )
    failed = np.isnan(arrays["lambda0"])
    table.append(
        every_solution_found(int(failed.sum()), failed.size, "search for lambda0")
    )
    return table


def draw(settings: Settings, arrays: Arrays, path: str | os.PathLike[str]) -> None:
    """Panels (a) and (b) above each other, theta on the left and s on the right."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        2, 2, figsize=(9.2, 6.8), sharex=True, sharey=True, layout="constrained"
    )
    middle = np.median(arrays["lambda0"], axis=1)
    counts = np.isfinite(arrays["lambda0"]).sum(axis=1)
    symbols = {"theta_error": r"\theta", "noise_error": "s"}
    for (panel, pairs), line in zip(settings.panels.items(), axes, strict=True):
        name, i = ("k", 0) if panel == "a" else ("r", 1)
        fixed = f"r = {settings.rank}" if panel == "a" else f"k = {settings.num_wrong}"
        colors = plt.get_cmap("viridis")(np.linspace(0, 0.9, len(pairs)))
        for axis, (key, symbol) in zip(line, symbols.items(), strict=True):
            for pair, color in zip(sorted(pairs), colors, strict=True):
                at = settings.pairs.index(pair)
                axis.loglog(
                    arrays["penalties"],
                    arrays[key][at].mean(axis=0),
                    color=color,
                    label=f"{name} = {pair[i]}: {counts[at]} of {settings.trials}",
                )
                if np.isfinite(middle[at]):
                    axis.axvline(middle[at], color=color, linestyle=":", linewidth=1.2)
            axis.axhline(1e-3, color="gray", linestyle="--", linewidth=0.8)
            axis.grid(alpha=0.25)
            axis.set_title(f"({panel}) {fixed}")
            axis.set_ylabel(
                rf"$\Vert {symbol} - {symbol}_*\Vert\, /\, \Vert {symbol}_*\Vert$"
            )
        line[1].legend(
            loc="center left",
            bbox_to_anchor=(1.01, 0.5),
            frameon=False,
            title=r"have a $\lambda_0$",
        )
    for axis in axes[1]:
        axis.set_xlabel(r"$\lambda$")
    figure.suptitle(
        f"Means of {settings.trials} problems, N = {settings.num_examples}, "
        f"p = {settings.num_parameters}. Dotted: the median $\\lambda_0$, "
        "by linear programs.",
        fontsize=10,
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)
