"""`reproduce.py --table=ablations`: claims of the paper, judged by small runs."""

from __future__ import annotations

import argparse
import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cells
import flagfiles
import matplotlib as mpl
import train_flags
from cells import Base, Cell, Setting
from compare import INSTEAD
from compare_table import (
    Row,
    accuracies,
    mean,
    mean_and_std,
    rows_of,
    split_notes,
    split_of,
    std,
)
from paper import BASELINE
from paper_claims import ABLATIONS, SMALL, Ablation, Arm
from paper_tables import FAILED, OURS
from printed_command import launch_command
from terminal import say, show_table
from train_cells import train_cells

from sop_keras.files.atomic import replacing, write_atomically

NAME = "ablations"

TOLERANCE = 1.0
"""Points of accuracy that are no difference, however many runs say them."""

AS_SAID, NOT_AS_SAID = "as the paper says", "not as the paper says"
UNTOLD = "cannot be told"


@dataclass(frozen=True)
class Finding:
    """What came out of an arm.

    Args:
        arm: the setting.
        row: its figures.
        difference: of accuracy after the last epoch from the first arm's, in points:
            the mean over seeds. None where there is none to compare.
        error: its standard error; None of fewer than two seeds.
    """

    arm: Arm
    row: Row
    difference: float | None = None
    error: float | None = None

    @property
    def verdict(self) -> str:
        """Whether it is as the paper says; nothing where the paper does not say."""
        if self.arm.expected is None or self.difference is None:
            return ""
        tolerance = max(TOLERANCE, 2 * (self.error or 0.0))
        if self.arm.expected == "equal":
            if abs(self.difference) > tolerance:
                return NOT_AS_SAID
            # Within errors so large, a difference would not have been seen either.
            return AS_SAID if tolerance == TOLERANCE else UNTOLD
        found = self.difference * (1 if self.arm.expected == "above" else -1)
        if abs(found) <= tolerance:
            return UNTOLD
        return AS_SAID if found > 0 else NOT_AS_SAID


Planned = dict[str, list[list[Cell]]]
"""By the ablation's name, the cells of each arm, seed by seed."""


def reproduce(options: argparse.Namespace, overrides: Sequence[str]) -> bool:
    """What the paper says without a table; whether nothing failed."""
    known = {one.name: one for one in ABLATIONS}
    if wrong := {*(options.cells or ())}.difference(known):
        raise ValueError(
            f"--table={NAME} has --cells={','.join(known)}, and no "
            f"{', '.join(sorted(wrong))}."
        )
    chosen = [known[name] for name in options.cells or known]
    folder = Path(options.output_dir or f"runs/{NAME}")
    planned = plan(chosen, overrides, folder, options.seeds or 2)
    every = all_cells(planned)
    train_flags.say_what_is_not_used(overrides, [one.setting.method for one in every])
    if options.dry_run:
        for cell in every:
            say(launch_command("train.py", cell.words))
        return True
    expected = train_flags.experiment(
        train_flags.parsed([f"--flagfile={SMALL}"]), BASELINE
    )
    asked = train_flags.experiment(
        train_flags.parsed([f"--flagfile={SMALL}", *overrides]), BASELINE
    )
    notes = [
        "A difference is that from the first setting, seed by seed, in points, with "
        f"its standard error; what is within {TOLERANCE:g} point, or two "
        "standard errors, counts as none. The size is one for two CPU cores.",
        *(
            f"Not as in {SMALL}: {' '.join(changes)}"
            for changes in [train_flags.changes_of(expected, asked)]
            if changes
        ),
    ]
    errors = train_cells(
        every, lambda errors: write(folder, chosen, planned, errors, notes)
    )
    show_table(folder)
    return not errors


def plan(
    ablations: Sequence[Ablation], words: Sequence[str], folder: Path, num_seeds: int
) -> Planned:
    """The cells of all arms; what arms have in common is one run.

    Args:
        ablations: what is to be shown.
        words: flags of launch/train.py beside `SMALL`.
        folder: where the runs' folders go.
        num_seeds: how many runs of each.

    Raises:
        ValueError: for flags that cannot be, that the ablations differ in or have of
            their own; for a folder of other settings.
    """
    for name in flagfiles.given(words, INSTEAD):
        raise ValueError(
            f"--{name} is not for --table={NAME}: each ablation has its own method, "
            "noise and seeds. Choose by --cells and --seeds."
        )
    base = Base((f"--flagfile={SMALL}", *words), folder)
    values = train_flags.parsed(base.words)
    if train_flags.execution(values).strategy == "multi_worker":
        raise ValueError(
            "Ablations are run on one machine. Received: --strategy=multi_worker; give "
            "the same command on one of them without it."
        )
    return {
        one.name: [
            [
                base.cell(_setting(one, arm), cells.read_noise(one.noise), seed)
                for seed in range(num_seeds)
            ]
            for arm in one.arms
        ]
        for one in ablations
    }


def _setting(ablation: Ablation, arm: Arm) -> Setting:
    texts = tuple(word.removeprefix("--") for word in arm.words)
    return Setting(ablation.method, texts)


def all_cells(planned: Planned) -> list[Cell]:
    """Each cell once."""
    every = (cell for arms in planned.values() for arm in arms for cell in arm)
    return list({cell.name: cell for cell in every}.values())


def findings_of(
    ablation: Ablation, arms: Sequence[Sequence[Cell]], errors: Mapping[str, str]
) -> list[Finding]:
    """What came out of each arm.

    Args:
        ablation: what was to be shown.
        arms: its cells.
        errors: what ended those that failed, by their names.
    """
    first = {cell.seed: end for cell in arms[0] if (end := _last(cell)) is not None}
    findings = []
    for number, (arm, some) in enumerate(zip(ablation.arms, arms, strict=True)):
        (row,) = rows_of(some, errors)
        differences = [
            end - first[cell.seed]
            for cell in some
            if (end := _last(cell)) is not None and cell.seed in first and number
        ]
        spread = std(differences)
        error = None if spread is None else spread / math.sqrt(len(differences))
        findings.append(Finding(arm, row, mean(differences), error))
    return findings


def _last(cell: Cell) -> float | None:
    """Accuracy of a complete run after the last epoch, in percent, as the row's."""
    known = [] if cell.run.result is None else accuracies(cell.run.history())
    return known[-1] if known else None


def write(
    folder: Path,
    ablations: Sequence[Ablation],
    planned: Planned,
    errors: Mapping[str, str],
    notes: Sequence[str],
) -> None:
    """Write table.md, table.csv and table.png."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {one: findings_of(one, planned[one.name], errors) for one in ablations}
    write_atomically(folder / "table.md", markdown(found, notes))
    write_atomically(folder / "table.csv", csv_text(found))
    with replacing(folder / "table.png") as partial:
        draw(found, partial)


def markdown(found: Mapping[Ablation, list[Finding]], notes: Sequence[str]) -> str:
    """A table for each ablation."""
    parts = ["# What the paper says without a table"]
    head = ["setting", "runs", "last epoch, %", "best epoch, %", "AUROC"]
    head += ["difference", "the paper", "found"]
    for ablation, findings in found.items():
        parts += [f"## {ablation.name}", f"{ablation.says} ({ablation.noise})"]
        lines = [head, ["---"] * len(head)]
        for one in findings:
            row = one.row
            lines.append(
                [
                    one.arm.title,
                    "failed" if row.error else str(row.seeds),
                    mean_and_std(row.last),
                    mean_and_std(row.best),
                    mean_and_std(row.auroc, ".3f"),
                    _difference(one),
                    one.arm.expected or "",
                    one.verdict,
                ]
            )
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
        parts += [
            f"Failed: {one.arm.title}: {one.row.error}"
            for one in findings
            if one.row.error
        ]
    rows = [one.row for findings in found.values() for one in findings]
    return "\n\n".join([*parts, *notes, *split_notes(rows)]) + "\n"


def _difference(finding: Finding) -> str:
    if finding.difference is None:
        return ""
    error = "" if finding.error is None else f" ({finding.error:.2f})"
    return f"{finding.difference:+.2f}{error}"


def csv_text(found: Mapping[Ablation, list[Finding]]) -> str:
    """A line an arm."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [
            *("ablation", "method", "noise", "setting", "flags", "seeds"),
            *("last_mean", "last_std", "auroc_mean", "difference", "standard_error"),
            *("expected", "verdict", "error"),
        ]
    )
    for ablation, findings in found.items():
        for one in findings:
            row, arm = one.row, one.arm
            line = [ablation.name, ablation.method, ablation.noise, arm.title]
            line += [" ".join(arm.words), row.seeds, mean(row.last), std(row.last)]
            line += [mean(row.auroc), one.difference, one.error, arm.expected]
            writer.writerow([*line, one.verdict, row.error])
    return text.getvalue()


def draw(found: Mapping[Ablation, list[Finding]], path: Path) -> None:
    """A panel for each ablation, a line an arm; the first arm's mean as a grey line."""
    mpl.use("agg")
    import matplotlib.pyplot as plt

    sizes = [len(findings) for findings in found.values()]
    figure, axes = plt.subplots(
        len(found),
        1,
        figsize=(6.8, 1.0 + 0.75 * len(found) + 0.27 * sum(sizes)),
        gridspec_kw={"height_ratios": [size + 0.6 for size in sizes]},
        squeeze=False,
        layout="constrained",
    )
    for axis, (ablation, findings) in zip(axes[:, 0], found.items(), strict=True):
        if (middle := mean(findings[0].row.last)) is not None:
            axis.axvline(middle, color="#bbbbbb", linewidth=1, zorder=0)
        for line, one in enumerate(findings):
            where = {"transform": axis.get_yaxis_transform(), "fontsize": 8}
            if one.row.last:
                last = one.row.last
                axis.errorbar(mean(last), line, xerr=std(last), **OURS)
                axis.text(1.02, line, one.verdict, va="center", **where)
            if one.row.error:
                axis.text(0.02, line, "failed", color=FAILED, va="center", **where)
        titles = [one.arm.title for one in findings]
        axis.set_yticks(range(len(titles)), titles, fontsize=9)
        axis.set_ylim(len(titles) - 0.4, -0.6)
        axis.set_title(
            f"{ablation.name.replace('_', ' ')}, {ablation.noise}",
            fontsize=9,
            loc="left",
        )
        axis.margins(x=0.15)
        axis.grid(axis="x", alpha=0.3)
    split = split_of([one.row for some in found.values() for one in some])
    axes[-1, 0].set_xlabel(f"{split} accuracy after the last epoch, %")
    figure.savefig(path, dpi=110)
    plt.close(figure)
