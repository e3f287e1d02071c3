"""`reproduce.py --table=5`: hours by the paper, and epochs of all methods here."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import flagfiles
import train_flags
from paper import BASELINE, TABLES
from paper_claims import SMALL
from printed_command import launch_command
from terminal import say, show_table

from sop_keras import methods

if TYPE_CHECKING:
    from epoch_times import Times

NUMBER = 5


def reproduce(options: argparse.Namespace, overrides: Sequence[str]) -> bool:
    """Time an epoch of every method, and write Table 5; whether nothing failed."""
    table = TABLES[NUMBER]
    paper = f"{table.columns[0].flagfile}.flags"
    arguments = [f"--flagfile={SMALL if options.small else paper}", *overrides]
    chosen = options.methods or methods.names()
    if flagfiles.given(overrides, ["method"]):
        raise ValueError("--method is not for a table: choose by --methods=NAMES.")
    values = train_flags.parsed(arguments)
    execution = train_flags.execution(values)
    train_flags.check_one_device(execution)
    experiments = {method: train_flags.experiment(values, method) for method in chosen}
    train_flags.say_what_is_not_used(overrides, chosen)
    if options.dry_run:
        for method in chosen:
            say(launch_command("train.py", [*arguments, f"--method={method}"]))
        return True
    import epoch_times

    if values.deterministic:
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    published = train_flags.parsed([f"--flagfile={paper}"])
    changes = train_flags.changes_of(
        train_flags.experiment(published, BASELINE),
        train_flags.experiment(values, BASELINE),
    )
    notes = [
        f"{epoch_times.device()}; medians of {options.rounds} turns, each an epoch of "
        "every method, three quarters into its training, without evaluation.",
        f"A run is {values.epochs} of them, and those of a training that comes before.",
        *train_flags.said(changes),
    ]
    folder = Path(options.output_dir or f"runs/table{NUMBER}")
    title = f"Table {NUMBER}. {table.title}"

    def write(found: Mapping[str, Times]) -> None:
        epoch_times.write(folder, title, epoch_times.rows_of(table, found), notes)

    found = epoch_times.time_epochs(
        experiments,
        train_flags.files(values),
        execution,
        options.rounds,
        folder,
        write,
    )
    show_table(folder)
    return all(times.error is None for times in found.values())
