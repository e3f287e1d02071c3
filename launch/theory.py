"""Figures 2, 3 and 4 of the paper's Section 3, and a check of its condition (27).

    python launch/theory.py
    python launch/theory.py --figure=2 --output_dir=FOLDER --workers=4
    python launch/theory.py --quick

Needs the extra `theory`: pip install "sop-keras[theory]". FOLDER gets, for each figure,
NAME.npz (all arrays), NAME.csv, NAME.png, and findings.csv: what is claimed, what was
found, and whether they agree. Interrupted, the same command goes on: the parts that are
done are in FOLDER/parts. Expected: the files in docs/theory, but for rounding. All
figures take 20 minutes of one core's time; --quick takes half a minute, with grids and
steps that are too coarse for some of the claims.
"""

from __future__ import annotations

import csv
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import command
from absl import flags
from terminal import say

from sop_keras.files.atomic import replacing
from sop_keras.files.untrusted import opened_text

if TYPE_CHECKING:
    from sop_keras.theory.figures import Finding

NAMES = {"2": "figure2", "3": "figure3", "4": "figure4", "condition27": "condition27"}

# What a shell expects of a process that Ctrl-C ended.
INTERRUPTED = 130


def define_flags() -> flags.FlagValues:
    """New flags of this command."""
    values = command.new_flags()
    own = command.own(values)
    flags.DEFINE_enum("figure", "all", [*NAMES, "all"], "What to make.", **own)
    flags.DEFINE_string(
        "output_dir",
        None,
        "runs/theory if unset, with --quick runs/theory-quick.",
        **own,
    )
    flags.DEFINE_bool("quick", False, "Coarse grids.", **own)
    flags.DEFINE_integer(
        "workers", os.cpu_count() or 1, "How many processes.", lower_bound=1, **own
    )
    return values


def theory(line: command.CommandLine) -> None:
    """Make the figures that the flags name, and show what was found."""
    try:
        _theory(line.flags)
    except KeyboardInterrupt:
        say("\nInterrupted. The same command goes on.", to=sys.stderr)
        sys.exit(INTERRUPTED)


def _theory(values: flags.FlagValues) -> None:
    folder = Path(
        values.output_dir or ("runs/theory-quick" if values.quick else "runs/theory")
    )
    names = list(NAMES.values()) if values.figure == "all" else [NAMES[values.figure]]
    check_folder(folder)
    from sop_keras.theory.figures import FIGURES, make_figure

    table: list[tuple[str, Finding]] = []
    for name in names:
        kind = FIGURES[name].Settings
        start = time.monotonic()
        found = make_figure(
            name, kind.quick() if values.quick else kind(), folder, values.workers
        )
        say(f"{name}: {time.monotonic() - start:.0f} s")
        table += [(name, one) for one in found]
        write_findings(folder / "findings.csv", table)
    if values.quick:
        say("\nCoarse grids and steps: some claims may not hold (NO) that do in full.")
    say(f"\n{findings_table(table)}\n\nIn {folder}: findings.csv and")
    say(", ".join(f"{name}.{{png,csv,npz}}" for name in names))


def check_folder(folder: Path) -> None:
    """Check that the findings can be written, before hours are spent on them.

    Raises:
        OSError: if the folder cannot be made or written to.
        ValueError: if its findings.csv is another file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{folder} cannot be written to. Choose another folder.")
    path = folder / "findings.csv"
    if path.exists():
        with opened_text(path) as file:
            rows = list(csv.DictReader(file))
        if any(row.get("figure") not in NAMES.values() for row in rows):
            raise ValueError(
                f"{path} was not written by this command. Choose another folder, or "
                "delete it."
            )


def write_findings(path: Path, table: list[tuple[str, Finding]]) -> None:
    """Write what was found; what the file has of other figures stays."""
    from sop_keras.theory.figures import write_rows

    rows: list[dict[str, Any]] = [
        {"figure": name, **found._asdict()} for name, found in table
    ]
    made = {name for name, _ in table}
    if path.exists():
        with opened_text(path) as file:
            rows += [row for row in csv.DictReader(file) if row["figure"] not in made]
    order = list(NAMES.values())
    with replacing(path) as partial:
        write_rows(partial, sorted(rows, key=lambda row: order.index(row["figure"])))


def findings_table(table: list[tuple[str, Finding]]) -> str:
    """Markdown, a line for each claim."""
    lines = ["| | claim | found | holds |", "| --- | --- | --- | --- |"]
    for name, (claim, found, holds) in table:
        lines.append(f"| {name} | {claim} | {found} | {'yes' if holds else 'NO'} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make figures; progress is shown apart from the results, on stderr."""
    command.run(
        theory,
        define_flags(),
        __doc__,
        arguments,
        needs_launch=False,
        messages=sys.stderr,
    )


if __name__ == "__main__":
    main()
