r"""The paper's tables, published beside reproduced.

    python launch/reproduce.py --table=1 --data_dir=DATA
    python launch/reproduce.py --table=1 --cells=cifar10_sym40 --methods=sop --seeds=3
    python launch/reproduce.py --table=4 --dry_run
    python launch/reproduce.py --table=5 --small --data_dir=DATA
    python launch/reproduce.py --table=ablations --seeds=2 --data_dir=DATA
    python launch/reproduce.py --table=1 --epochs=2 --max_train_examples=200 \
        --backbone=cnn --output_dir=runs/small --data_dir=DATA
    python launch/reproduce.py --figure=1 --data_dir=DATA

Runs, or resumes, the table's experiments one by one, each run in a folder of its own.
After each experiment it writes table.md, table.csv and table.png. Complete runs are not
run again: several processes may do some of the cells each, and a last one shows them
all. All other flags are those of launch/train.py (its --help lists them) and win over
the flagfiles; the tables say so.
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import command
import figure1
import flagfiles
import table5
import train_flags
from absl import flags
from installed import check_installed
from paper import FIGURE1, FIGURE1_METHODS, TABLES, Cell, Table
from planned_run import PlannedRun
from printed_command import as_started, launch_command
from terminal import say, show_table
from train_flags import changes_of, parsed

from sop_keras import methods

ERRORS = (ValueError, OSError, ImportError)
WITHOUT_A_TABLE = "ablations"

# What all that can be reproduced has in common beside these options.
_OF_RUNS = {"cells", "seeds", "methods", "best"}
_OPTIONS = {
    **{f"--table={number}": _OF_RUNS for number in TABLES},
    f"--table={table5.NUMBER}": {"methods", "small", "rounds"},
    f"--table={WITHOUT_A_TABLE}": {"cells", "seeds"},
    "--figure=1": {"seeds", "methods"},
}
"""What is reproduced, and which of the options that not all have are for it."""


@dataclasses.dataclass(frozen=True)
class Job:
    """The runs of one experiment.

    Args:
        arguments: the flags that they have in common.
        values: these, parsed.
        runs: one a seed, from 0.
        changes: the flags that differ from the flagfile's, as they are written.
    """

    arguments: list[str]
    values: flags.FlagValues
    runs: list[PlannedRun]
    changes: list[str]

    def commands(self) -> list[list[str]]:
        """The flags of launch/train.py for each run."""
        return [
            [*self.arguments, f"--seed={seed}", f"--output_dir={run.folder}"]
            for seed, run in enumerate(self.runs)
        ]


def reproduce(options: argparse.Namespace, overrides: Sequence[str]) -> bool:
    """Run what is missing of a table and write it; whether nothing failed."""
    table = TABLES[int(options.table)]
    folder = Path(options.output_dir or f"runs/table{table.number}")
    num_seeds = options.seeds or 5
    chosen = chosen_cells(table, options.cells, options.methods)
    names = list(dict.fromkeys(cell.run for cell in chosen))
    # All flags and folders are looked at before the first hour is spent. Cells that
    # were not asked for are shown too where they have been run.
    jobs = {
        cell.run: plan(cell, overrides, folder, num_seeds)
        for cell in table.cells
        if cell in chosen or any(folder.glob(f"{cell.run}-seed*"))
    }
    used_by = [str(cell.row.method) for cell in chosen]
    train_flags.say_what_is_not_used(overrides, used_by)
    if options.dry_run:
        for words in (words for name in names for words in jobs[name].commands()):
            say(launch_command("train.py", words))
        return True
    changes = dict.fromkeys(change for job in jobs.values() for change in job.changes)
    notes = captions(table, options.best, list(changes))
    import paper_tables

    errors: dict[str, str | None] = {}
    for name in names:
        errors[name] = run(jobs[name])
        results = {
            (cell.row.name, cell.column.name): paper_tables.Ours(
                values(cell, jobs[cell.run], options.best), errors.get(cell.run)
            )
            for cell in table.cells
            if cell.run in jobs
        }
        paper_tables.write(folder, table, results, notes)
    show_table(folder)
    return not any(errors.values())


def chosen_cells(
    table: Table, names: Sequence[str] | None, methods: Sequence[str] | None
) -> list[Cell]:
    """The cells in the columns and of the methods asked for; None: of all.

    Raises:
        ValueError: for a name that the table does not have, or no cell left.
    """
    cells = [
        cell
        for cell in table.cells
        if (names is None or cell.column.name in names)
        and (methods is None or cell.row.method in methods)
    ]
    columns = [column.name for column in table.columns]
    known = {str(cell.row.method) for cell in table.cells}
    wrong = {*(names or ())}.difference(columns) | {*(methods or ())} - known
    if wrong or not cells:
        raise ValueError(
            f"Table {table.number} has --cells={','.join(columns)} and "
            f"--methods={','.join(sorted(known))}, and no figure of "
            f"{', '.join(sorted(wrong)) or 'that method there'}."
        )
    return cells


def plan(cell: Cell, overrides: Sequence[str], folder: Path, num_seeds: int) -> Job:
    """The runs behind a cell.

    Args:
        cell: the figure to reproduce.
        overrides: flags of launch/train.py.
        folder: where the runs' folders go.
        num_seeds: how many runs.

    Raises:
        ValueError: for overrides that cannot be, or a folder of other settings.
    """
    published = parsed(cell.arguments)
    arguments = [*cell.arguments, *overrides]
    values = parsed(arguments)
    execution = train_flags.execution(values)
    train_flags.check_one_device(execution)
    for name, flag in (("method", "--methods=NAMES"), ("seed", "--seeds=5")):
        if values[name].value != published[name].value:
            raise ValueError(
                f"{values[name].serialize()} is not for a table: choose by {flag}."
            )
    experiment = train_flags.experiment(values, values.method[0])
    runs = [
        PlannedRun(
            dataclasses.replace(experiment, seed=seed),
            folder / f"{cell.run}-seed{seed}",
            train_flags.files(values),
            execution,
        )
        for seed in range(num_seeds)
    ]
    expected = train_flags.experiment(published, published.method[0])
    return Job(arguments, values, runs, changes_of(expected, experiment))


def run(job: Job) -> str | None:
    """Train what is not complete; what ended runs that failed, with their seeds."""
    import keras
    import tensorflow as tf

    if job.values.deterministic:
        tf.config.experimental.enable_op_determinism()
    seeds: dict[str, list[str]] = {}
    for seed, words in enumerate(job.commands()):
        one = job.runs[seed]
        say(f"\n{one.folder}")
        try:
            one.make().train(verbose=2, flags=shlex.join(words))
        except Exception as error:
            said = command.short_of_memory(error)
            if said is None and not isinstance(error, ERRORS):
                raise
            said = " ".join((said or str(error)).split())
            if job.values.traceback:
                traceback.print_exc()
            say(f"error: {said}")
            seeds.setdefault(said, []).append(str(seed))
        keras.utils.clear_session()  # or memory grows from run to run
    reasons = [f"seed {', '.join(some)}: {reason}" for reason, some in seeds.items()]
    return " ".join(reasons) or None


def values(cell: Cell, job: Job, best: bool) -> list[float]:
    """The accuracy of each complete run, in percent."""
    results = [result for one in job.runs if (result := one.result) is not None]
    key = f"{'best' if best else 'final'}_{cell.column.test}_accuracy"
    # With --imagenet_dir=none a run measures on one test set less.
    return [100 * result[key] for result in results if key in result]


def captions(table: Table, best: bool, changes: Sequence[str]) -> list[str]:
    """What must be known to read the table, a line each."""
    ours = "test accuracy in % after the last epoch"
    if best:
        ours = (
            "test accuracy in % after the epoch where it was best, which nobody can "
            "pick without the test set's labels"
        )
    lines = [f"Ours: {ours}; mean +- standard deviation over seeds."]
    return [*lines, *table.notes, *train_flags.said(changes)]


def reproduce_figure1(options: argparse.Namespace, overrides: Sequence[str]) -> None:
    """Figure 1, by its own launcher."""
    arguments = [
        f"--flagfile={FIGURE1}",
        f"--method={','.join(options.methods or FIGURE1_METHODS)}",
        f"--seeds={','.join(map(str, range(options.seeds or 5)))}",
        f"--output_dir={options.output_dir or 'runs/figure1'}",
        *overrides,
    ]
    if options.dry_run:
        say(launch_command("figure1.py", arguments))
        return
    line = command.parse(figure1.define_flags(), arguments)
    figure1.figure1(dataclasses.replace(line, flagfile="figure1"))


def options_and_overrides(
    arguments: Sequence[str] | None,
) -> tuple[argparse.Namespace, list[str]]:
    """What is for this launcher, and what is left for launch/train.py."""
    parser = argparse.ArgumentParser(
        description=as_started(__doc__ or ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # --method is not --methods
    )
    add = parser.add_argument
    tables = [*map(str, sorted(TABLES)), WITHOUT_A_TABLE]
    add("--table", choices=tables, help="of the paper")
    add("--figure", type=int, choices=[1], help="of the paper")
    add("--seeds", type=int, metavar="N", help="runs of a cell; 5, or 2, if unset")
    add("--small", action="store_true", help="Table 5 at a size for two CPU cores")
    add("--rounds", type=int, help="Table 5: turns of all methods; 3 if unset")
    add("--cells", type=_names, help="columns, by name; all if unset")
    add("--methods", type=_names, help=f"{', '.join(methods.names())}; all if unset")
    add("--output_dir", help="runs/tableN, runs/figure1 if unset")
    add("--best", action="store_true", help="of the best epoch, not of the last one")
    add("--dry_run", action="store_true", help="print the commands, run nothing")
    options, overrides = parser.parse_known_args(arguments)
    if options.table is None and options.figure is None:
        parser.error(
            "say what to reproduce: --table=1 (to 5), "
            f"--table={WITHOUT_A_TABLE} or --figure=1"
        )
    asked = [
        f"--{name}={value}"
        for name in ("table", "figure")
        if (value := getattr(options, name)) is not None
    ]
    for name in dict.fromkeys(one for some in _OPTIONS.values() for one in some):
        given = getattr(options, name) not in (None, False)
        if given and not any(name in _OPTIONS[one] for one in asked):
            parser.error(
                f"--{name} is not for {' and '.join(asked)}, but for "
                f"{', '.join(one for one in _OPTIONS if name in _OPTIONS[one])}"
            )
    for name in ("rounds", "seeds"):
        value = getattr(options, name)
        if value is not None and value < 1:
            parser.error(f"--{name} must be 1 or more. Received: {value}")
    options.rounds = options.rounds or 3
    return options, overrides


def _names(text: str) -> list[str]:
    return text.split(",")


def main(arguments: Sequence[str] | None = None) -> int:
    """Reproduce what is asked for; 0, or 1 where something of it failed."""
    options, overrides = options_and_overrides(arguments)
    command.show_messages()
    succeeded = True
    # Of the overrides, how errors are shown: some come before the others are parsed.
    values = command.new_flags()
    shown = [one for one in overrides if flagfiles.given([one], ["traceback"])]

    def reproduce_all() -> None:
        nonlocal succeeded
        values(["", *shown])
        check_installed()
        if options.table == str(table5.NUMBER):
            succeeded = table5.reproduce(options, overrides)
        elif options.table == WITHOUT_A_TABLE:
            import ablations

            succeeded = ablations.reproduce(options, overrides)
        elif options.table is not None:
            succeeded = reproduce(options, overrides)
        if options.figure is not None:
            reproduce_figure1(options, overrides)

    return command.exit_code(reproduce_all, values) or int(not succeeded)


if __name__ == "__main__":
    sys.exit(main())
