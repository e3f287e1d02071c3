"""Makes a figure: its parts, then arrays, a table, a picture and findings."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from pathlib import Path
from types import ModuleType
from typing import Any

from sop_keras.files.atomic import replacing
from sop_keras.files.folders import make_folder
from sop_keras.theory.figures import condition27, figure2, figure3, figure4
from sop_keras.theory.figures.findings import Finding, write_rows
from sop_keras.theory.figures.units import run_units, write_arrays

FIGURES: dict[str, ModuleType] = {
    "figure2": figure2,
    "figure3": figure3,
    "figure4": figure4,
    "condition27": condition27,
}
"""Each module has `Settings`, `units`, `assemble`, `rows`, `findings` and `draw`."""


def check_installed() -> None:
    """Check for what a figure needs, before any of it is computed.

    Raises:
        ImportError: if something is missing.
    """
    needed = ("cvxpy", "scipy", "matplotlib", "tqdm")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if not any(importlib.util.find_spec(name) for name in ("ecos", "clarabel")):
        missing.append("ecos")
    if missing:
        raise ImportError(
            f'The figures need {", ".join(missing)}: pip install "sop-keras[theory]".'
        )


def make_figure(
    name: str, settings: Any, folder: str | os.PathLike[str], workers: int = 1
) -> list[Finding]:
    """Compute what is missing of a figure, write its files and judge its claims.

    Args:
        name: a key of `FIGURES`.
        settings: of that module's class `Settings`.
        folder: gets NAME.npz, NAME.csv and NAME.png, and the units of work in
            parts/NAME, from which an interrupted call goes on.
        workers: how many processes. Defaults to `1`: this one.

    Raises:
        ValueError: for sizes that no problem has, and a folder whose parts were made
            with other settings.
        ChildProcessError: if a process was killed.
        ImportError: without cvxpy, a solver, SciPy, matplotlib or tqdm.
        OutputError: if something cannot be written.
        KeyboardInterrupt: on Ctrl-C; the same call goes on.
    """
    check_installed()
    module = FIGURES[name]
    folder = Path(folder)
    parts = folder / "parts" / name
    make_folder(parts, inside=folder)
    results = run_units(
        module.units(settings), parts, dataclasses.asdict(settings), workers
    )
    arrays = module.assemble(settings, results)
    write_arrays(folder / f"{name}.npz", arrays)
    with replacing(folder / f"{name}.csv") as partial:
        write_rows(partial, module.rows(settings, arrays))
    with replacing(folder / f"{name}.png") as partial:
        module.draw(settings, arrays, partial)
    return list(module.findings(settings, arrays))
