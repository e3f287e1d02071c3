r"""Trains an image classifier on wrongly labelled data.

    python launch/train.py                                   # digits, in a minute
    python launch/train.py --flagfile=cifar10_sym40.flags --data_dir=DATA
    python launch/train.py --flagfile=cifar10_sym40 --method=ce --epochs=60
    python launch/train.py --flagfile=cifar10_plus_sym50 --method=sop_plus,sop,ce
    python launch/train.py --flagfile=webvision.flags --data_dir=DATA
    python launch/train.py --dataset=image_folder --data_dir=PHOTOS --noise=none \
        --backbone=resnet50 --pretrained=imagenet --num_validation=500
    python launch/train.py --flagfile=webvision.flags --data_dir=D --strategy=mirrored

One flagfile is one experiment (launch/flags/); flags beside it win. Interrupted, the
same command resumes. Results: result.json, history.csv, model.keras, tensorboard/ in
--output_dir.

On several machines, the same command with --strategy=multi_worker runs on each of them,
with a TF_CONFIG of its own and a shared --output_dir; worker 0 shows the results.

Exit codes: 0, the end is reached; 75, stopped by SIGTERM, or by the loss of another
machine: the same command (on all machines) goes on from the last checkpoint; 1, an
error, in one line; 78, one on one of several machines.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import command
import flagfiles
import train_flags
from planned_run import PlannedRun


def train(line: command.CommandLine) -> None:
    """Run every method asked for and show what came out."""
    values = line.flags
    name = line.flagfile or re.sub(r"\W", "_", values.dataset)
    folder = Path(values.output_dir or f"runs/{name}-seed{values.seed}")
    # A folder each, unless one was asked for by name for one method alone.
    together = values.output_dir is None or len(values.method) > 1
    # All folders are looked at before the first hour is spent.
    planned = {
        method: PlannedRun(
            train_flags.experiment(values, method),
            folder / method if together else folder,
            train_flags.files(values),
            train_flags.execution(values),
        )
        for method in values.method
    }
    for one in planned.values():
        one.check_not_running()
    train_flags.say_what_is_not_used(line.words, values.method)
    import train_runs

    train_runs.train_all(planned, values, folder)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what the command line asks for."""
    values = train_flags.define()
    command.run(train, values, __doc__, arguments, flagfiles.DEFAULT)


if __name__ == "__main__":
    main()
