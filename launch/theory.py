"""Figures 2, 3 and 4 of the paper's Section 3, and a check of its condition (27).

    python launch/theory.py
    python launch/theory.py --figure=2 --output_dir=FOLDER --workers=4
    python launch/theory.py --quick

Needs the extra `theory`: pip install ".[cpu,theory]". FOLDER gets, for each figure,
NAME.npz (all arrays), NAME.csv, NAME.png, and findings.csv: what is claimed, what was
found, and whether they agree. Interrupted, the same command goes on: the parts that are
done are in FOLDER/parts. Expected: the files in docs/theory, but for rounding. All
figures take 20 minutes of one core's time; --quick takes half a minute, with grids and
steps that are too coarse for some of the claims.
"""

from __future__ import annotations

import environment  # isort: skip  # noqa: F401

import csv
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from absl import app, flags

from sop_keras.theory.figures import FIGURES, Finding, make_figure, write_rows

FLAGS = flags.FLAGS

NAMES = {"2": "figure2", "3": "figure3", "4": "figure4", "condition27": "condition27"}

flags.DEFINE_enum("figure", "all", [*NAMES, "all"], "What to make.")
flags.DEFINE_string(
    "output_dir", None, "runs/theory if unset, with --quick runs/theory-quick."
)
flags.DEFINE_bool("quick", False, "Coarse grids.")
flags.DEFINE_integer(
    "workers", os.cpu_count() or 1, "How many processes.", lower_bound=1
)


def theory() -> None:
    """Make the figures that the flags name, and show what was found."""
    folder = Path(
        FLAGS.output_dir or ("runs/theory-quick" if FLAGS.quick else "runs/theory")
    )
    names = list(NAMES.values()) if FLAGS.figure == "all" else [NAMES[FLAGS.figure]]
    check_folder(folder)
    table: list[tuple[str, Finding]] = []
    for name in names:
        kind = FIGURES[name].Settings
        start = time.monotonic()
        found = make_figure(
            name, kind.quick() if FLAGS.quick else kind(), folder, FLAGS.workers
        )
        print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)
        table += [(name, one) for one in found]
        write_findings(folder / "findings.csv", table)
    if FLAGS.quick:
        print(
            "\nCoarse grids and steps: some claims may not hold (NO) that do in full."
        )
    print(f"\n{findings_table(table)}\n\nIn {folder}: findings.csv and")
    print(", ".join(f"{name}.{{png,csv,npz}}" for name in names))


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
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        if any(row.get("figure") not in FIGURES for row in rows):
            raise ValueError(
                f"{path} was not written by this command. Choose another folder, or "
                "delete it."
            )


def write_findings(path: Path, table: list[tuple[str, Finding]]) -> None:
    """Write what was found; what the file has of other figures stays."""
    rows: list[dict[str, Any]] = [
        {"figure": name, **found._asdict()} for name, found in table
    ]
    made = {name for name, _ in table}
    if path.exists():
        with path.open(newline="") as file:
            rows += [row for row in csv.DictReader(file) if row["figure"] not in made]
    order = list(FIGURES)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    write_rows(temporary, sorted(rows, key=lambda row: order.index(row["figure"])))
    os.replace(temporary, path)


def findings_table(table: list[tuple[str, Finding]]) -> str:
    """Markdown, a line for each claim."""
    lines = ["| | claim | found | holds |", "| --- | --- | --- | --- |"]
    for name, (claim, found, holds) in table:
        lines.append(f"| {name} | {claim} | {found} | {'yes' if holds else 'NO'} |")
    return "\n".join(lines)


def main() -> None:
    """Make figures; one line for what a user can mend, and for Ctrl-C."""
    logging.getLogger("sop_keras").addHandler(logging.StreamHandler(sys.stderr))
    logging.getLogger("sop_keras").setLevel(logging.INFO)
    logging.getLogger("sop_keras").propagate = False

    def run(rest: list[str]) -> None:
        try:
            if len(rest) > 1:
                raise ValueError(f"arguments that are no flags: {' '.join(rest[1:])}")
            theory()
        except (ValueError, OSError, ImportError) as error:
            sys.exit(f"error: {error}")
        except KeyboardInterrupt:
            print("\nInterrupted. The same command goes on.", file=sys.stderr)
            sys.exit(130)

    app.run(run)


if __name__ == "__main__":
    main()
