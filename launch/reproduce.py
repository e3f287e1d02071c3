"""The paper's tables, published beside reproduced.

    python launch/reproduce.py --table=1 --data_dir=DATA
    python launch/reproduce.py --table=1 --cells=cifar10_sym40 --methods=sop --seeds=3
    python launch/reproduce.py --table=4 --dry_run
    python launch/reproduce.py --table=1 --epochs=2 --max_train_examples=200 \
        --backbone=cnn --output_dir=runs/small --data_dir=DATA
    python launch/reproduce.py --figure=1 --data_dir=DATA

Runs, or resumes, the table's experiments one by one, each run in a folder of its own.
After each experiment it writes table.md, table.csv and table.png. Complete runs are not
run again: several processes may do some of the cells each, and a last one shows them
all. All other flags are those of launch/train.py (its --helpshort lists them) and win
over the flagfiles; the tables say so.
"""

from __future__ import annotations

import environment  # isort: skip  # noqa: F401

import argparse
import contextlib
import dataclasses
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import flagfiles
import keras
import tensorflow as tf
import train
from absl import flags
from absl.testing import flagsaver
from paper import TABLES, Cell, Table
from paper_tables import Ours, write

from sop_keras.training.preemption import Preempted
from sop_keras.training.run import Run

FLAGS = flags.FLAGS

# Flags that say where something is or how a run goes, and change no setting.
# Flags of launch/train.py that change no table's figure.
NO_SETTINGS = {
    *("data_dir", "human_labels", "imagenet_dir", "deterministic", "traceback"),
    *("table_device", "jit_compile", "steps_per_execution", "checkpoint_minutes"),
}
ERRORS = (ValueError, OSError, ImportError)


@dataclasses.dataclass(frozen=True)
class Job:
    """The runs of one experiment.

    Args:
        arguments: the flags that they have in common.
        runs: one a seed, from 0.
        changes: the flags that differ from the flagfile's, as they are written.
    """

    arguments: list[str]
    runs: list[Run]
    changes: list[str]

    def commands(self) -> list[list[str]]:
        """The flags of launch/train.py for each run."""
        return [
            [*self.arguments, f"--seed={seed}", f"--output_dir={run.folder}"]
            for seed, run in enumerate(self.runs)
        ]


def reproduce(options: argparse.Namespace, overrides: Sequence[str]) -> bool:
    """Run what is missing of a table and write it; whether nothing failed."""
    table = TABLES[options.table]
    folder = Path(options.output_dir or f"runs/table{table.number}")
    chosen = chosen_cells(table, options.cells, options.methods)
    names = list(dict.fromkeys(cell.run for cell in chosen))
    # All flags and folders are looked at before the first hour is spent. Cells that
    # were not asked for are shown too where they have been run.
    jobs = {
        cell.run: plan(cell, overrides, folder, options.seeds)
        for cell in table.cells
        if cell in chosen or any(folder.glob(f"{cell.run}-seed*"))
    }
    if options.dry_run:
        for command in (command for name in names for command in jobs[name].commands()):
            print(shlex.join(["python", "launch/train.py", *command]))
        return True
    changes = dict.fromkeys(change for job in jobs.values() for change in job.changes)
    notes = captions(table, options.best, list(changes))
    errors: dict[str, str | None] = {}
    for name in names:
        errors[name] = run(jobs[name])
        results = {
            (cell.row.name, cell.column.name): Ours(
                values(table, cell, jobs[cell.run], options.best), errors.get(cell.run)
            )
            for cell in table.cells
            if cell.run in jobs
        }
        write(folder, table, results, notes)
    print("", (folder / "table.md").read_text(), sep="\n")
    print(*(folder / f"table.{ending}" for ending in ("md", "csv", "png")), sep="\n")
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
    with parsed(cell.arguments):
        published = written_flags()
    arguments = [*cell.arguments, *overrides]
    with parsed(arguments):
        given = written_flags()
        experiment = train.experiment_from_flags(FLAGS, FLAGS.method[0])
        files = train.files_from_flags(FLAGS)
        execution = train.execution_from_flags(FLAGS)
    if execution.strategy != "none":
        raise ValueError(
            "A table is reproduced on one device. Received: --strategy="
            f"{execution.strategy}; run the commands that --dry_run shows with it."
        )
    changed = {name: text for name, text in given.items() if text != published[name]}
    for name, flag in (("method", "--methods=sop,ce"), ("seed", "--seeds=5")):
        if name in changed:
            raise ValueError(f"{changed[name]} is not for a table: choose by {flag}.")
    runs = [
        Run(
            dataclasses.replace(experiment, seed=seed),
            folder / f"{cell.run}-seed{seed}",
            files,
            execution,
        )
        for seed in range(num_seeds)
    ]
    changes = [text for name, text in changed.items() if name not in NO_SETTINGS]
    return Job(arguments, runs, changes)


@contextlib.contextmanager
def parsed(arguments: Sequence[str]) -> Iterator[None]:
    """FLAGS as these arguments say, and as before afterwards."""
    with flagsaver.flagsaver():
        FLAGS.unparse_flags()
        rest = FLAGS(flagfiles.resolve(["train.py", *arguments])[0])
        if len(rest) > 1:
            raise ValueError(f"arguments that are no flags: {' '.join(rest[1:])}")
        yield


def written_flags() -> dict[str, str]:
    """The flags of launch/train.py as they are now, each as it is written."""
    return {
        flag.name: flag.serialize() or f"--{flag.name} unset"
        for flag in FLAGS.get_key_flags_for_module(train)
    }


def run(job: Job) -> str | None:
    """Train what is not complete; the error that ended it, if any."""
    with parsed(job.arguments):
        if FLAGS.deterministic:
            tf.config.experimental.enable_op_determinism()
        try:
            for one, command in zip(job.runs, job.commands(), strict=True):
                print(f"\n{one.folder}", flush=True)
                one.train(verbose=2, flags=shlex.join(command))
                keras.utils.clear_session()  # or memory grows from run to run
        except ERRORS as error:
            if FLAGS.traceback:
                raise
            print(f"error: {error}", flush=True)
            return " ".join(str(error).split())
    return None


def values(table: Table, cell: Cell, job: Job, best: bool) -> list[float]:
    """The figure of each complete run, in the table's unit."""
    results = [result for one in job.runs if (result := one.result) is not None]
    if table.unit == "hours":
        return [result["seconds"] / 3600 for result in results]
    key = f"{'best' if best else 'final'}_{cell.column.test}_accuracy"
    # With --imagenet_dir=none a run measures on one test set less.
    return [100 * result[key] for result in results if key in result]


def captions(table: Table, best: bool, changes: Sequence[str]) -> list[str]:
    """What must be known to read the table, a line each."""
    ours = "test accuracy in % after the last epoch"
    if table.unit == "hours":
        ours = "hours of training and evaluation, interruptions left out"
    elif best:
        ours = (
            "test accuracy in % after the epoch where it was best, which nobody can "
            "pick without the test set's labels"
        )
    lines = [f"Ours: {ours}; mean +- standard deviation over seeds."]
    if changes:
        lines.append(f"Not the paper's setting: {' '.join(changes)}")
    return lines


def reproduce_figure1(options: argparse.Namespace, overrides: Sequence[str]) -> None:
    """Figure 1, by its own launcher."""
    arguments = [
        "--flagfile=fig1_40_sop.flags",
        f"--method={','.join(options.methods or ('sop', 'ce'))}",
        f"--seeds={','.join(map(str, range(options.seeds)))}",
        f"--output_dir={options.output_dir or 'runs/figure1'}",
        *overrides,
    ]
    if options.dry_run:
        print(shlex.join(["python", "launch/figure1.py", *arguments]))
        return
    import figure1  # not before: its flags are none of the tables'

    with parsed(arguments):
        figure1.figure1("figure1")


def options_and_overrides(
    arguments: Sequence[str] | None,
) -> tuple[argparse.Namespace, list[str]]:
    """What is for this launcher, and what is left for launch/train.py."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # --method is not --methods
    )
    add = parser.add_argument
    add("--table", type=int, choices=sorted(TABLES), help="of the paper")
    add("--figure", type=int, choices=[1], help="of the paper")
    add("--seeds", type=int, default=5, metavar="N", help="runs of a cell; 5 if unset")
    add("--cells", type=_names, help="columns, by name; all if unset")
    add("--methods", type=_names, help="sop, sop_plus, ce; all there are if unset")
    add("--output_dir", help="runs/tableN, runs/figure1 if unset")
    add("--best", action="store_true", help="of the best epoch, not of the last one")
    add("--dry_run", action="store_true", help="print the commands, run nothing")
    options, overrides = parser.parse_known_args(arguments)
    if options.table is None and options.figure is None:
        parser.error("say what to reproduce: --table=1 (to 5) or --figure=1")
    if options.cells and options.table is None:
        parser.error("--cells are those of a --table")
    if options.seeds < 1:
        parser.error(f"--seeds must be 1 or more. Received: {options.seeds}")
    return options, overrides


def _names(text: str) -> list[str]:
    return text.split(",")


def main(arguments: Sequence[str] | None = None) -> int:
    """Reproduce what is asked for; 0, or 1 where something of it failed."""
    options, overrides = options_and_overrides(arguments)
    train.show_messages()
    succeeded = True
    try:
        if options.table is not None:
            succeeded = reproduce(options, overrides)
        if options.figure is not None:
            reproduce_figure1(options, overrides)
    except Preempted as stopped:
        print(stopped, file=sys.stderr)
        return train.CONTINUE
    except (*ERRORS, flags.Error) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0 if succeeded else 1


if __name__ == "__main__":
    sys.exit(main())
