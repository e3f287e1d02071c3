"""Writes the report of a run: which labels look wrong, on one page for a browser.

    python launch/report.py runs/digits-seed0/sop
    python launch/report.py RUN --output=wrong_labels.html --num_examples=500

RUN is the folder of a complete run that found wrong labels. It gets report.html, a page
that needs no network, and the plots in report/. They are curves of the training, the
label noise between classes, and the scores of the labels; a gallery has the labels that
look worst: sorted, filtered by class, id or file, with ids to copy. "Go through them"
shows one after another, to decide with a key which label is right; the page saves
decisions.csv, which launch/correct_labels.py --decisions=FILE applies.

The worst 200 are in the page; with a larger --num_examples the others are in files in
report/, which the page loads when it gets there: send the folder with it.

The data are looked for where they were in training. If they have moved, the flags of
launch/train.py say where: --data_dir, --human_labels, --imagenet_dir, --manifest,
--test_manifest; --expect_full_size, --max_bad_fraction, --max_image_bytes,
--max_manifest_bytes and --max_manifest_rows are here as well. --may_fetch allows a data
set that is fetched from the network.

A list of images can name any file of this machine, and the run may be somebody else's:
pictures are shown of files below the list's own folder, or --data_dir, alone. If you
trust the list, --picture_folder=FOLDER says where else they may be.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import command
import flags_of
import train_flags
from absl import flags
from data_flags import files_of_run
from terminal import say

from sop_keras.data.datasets.by_name import DataFiles
from sop_keras.training.saved_run import run_settings


def define_flags() -> flags.FlagValues:
    """New flags of this command."""
    values = command.new_flags()
    flags_of.define(values, DataFiles)
    flags.DEFINE_string(
        "output",
        None,
        "The page; report.html in the run if unset.",
        **command.own(values),
    )
    flags.DEFINE_integer(
        "num_examples",
        200,
        "How many labels the page shows.",
        lower_bound=1,
        **command.own(values),
    )
    flags.DEFINE_string(
        "picture_folder",
        None,
        "Of images that are files, those in this folder are shown; --data_dir if "
        "unset, or else the folder of the manifest, or of the data set.",
        **command.own(values),
    )
    return values


def report(line: command.CommandLine) -> None:
    """Write the report of the run in a folder, and say where it is."""
    (run,) = line.arguments
    run_settings(Path(run))  # no folder of a run: said before the rest is imported
    from sop_keras.report.write import write_report

    path = write_report(
        run,
        files_of_run(line.flags, run),
        output=line.flags.output,
        num_examples=line.flags.num_examples,
        picture_folder=line.flags.picture_folder or line.flags.data_dir,
    )
    say(f"report: {path}\nplots:  {path.with_suffix('')}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the report of the run that the command names."""
    command.run(
        report,
        define_flags(),
        __doc__,
        arguments,
        ignored=train_flags.names(),
        argument="RUN",
    )


if __name__ == "__main__":
    main()
