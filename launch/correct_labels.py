"""Exports a run's training data under better labels, for a training anew.

    python launch/correct_labels.py RUN --action=relabel --output_dir=FOLDER
    python launch/correct_labels.py RUN --action=drop --output_dir=FOLDER
    python launch/correct_labels.py RUN --action=drop --output_dir=F --issue_rate=0.05

RUN is the folder of a complete run that found wrong labels (label_issues.csv). FOLDER
gets train.csv, and test.csv where there are test examples: manifests (docs/data.md)
that launch/train.py reads. Images that are files stay where they are; those of CIFAR
and the like become PNG files in FOLDER/images. The command for the new training is
printed at the end.

--action=relabel gives the label issues their suggested labels; --action=drop leaves
them out. The label issues are those that the run found, or with --num_issues or
--issue_rate the labels of the lowest quality.

The data are looked for where they were when the run was trained. The flags of
launch/train.py say that they are elsewhere: --data_dir, --manifest, --test_manifest,
--human_labels, --imagenet_dir, --expect_full_size, --max_bad_fraction,
--max_image_bytes, --max_manifest_bytes, --max_manifest_rows. --may_fetch allows a data
set that is fetched from the network.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import command
import flags_of
import numpy as np
import train_flags
from absl import flags
from data_flags import files_of_run, limits_given
from printed_command import launch_command
from terminal import say

from sop_keras import methods
from sop_keras.data.datasets.by_name import DataFiles
from sop_keras.data.images.encoded_images import EncodedImages
from sop_keras.drawing.cells import shown_name
from sop_keras.label_issues.choice import check_choice, label_issues
from sop_keras.label_issues.corrected import (
    ACTIONS,
    FORMATS,
    Correction,
    Manifests,
    check_empty,
    correct_labels,
    write_manifests,
)
from sop_keras.settings import flag_of
from sop_keras.training.experiment import Experiment
from sop_keras.training.saved_run import SavedRun, load_run

NUM_SHOWN = 10


def define_flags() -> flags.FlagValues:
    """New flags of this command."""
    values = command.new_flags()
    flags_of.define(values, DataFiles)
    own = command.own(values)
    flags.DEFINE_string("output_dir", None, "FOLDER, which must be empty.", **own)
    flags.DEFINE_enum(
        "action", None, ACTIONS, "What to do with the label issues.", **own
    )
    flags.DEFINE_integer(
        "num_issues",
        None,
        "Take this many labels, those of the lowest quality, for issues.",
        lower_bound=0,
        **own,
    )
    flags.DEFINE_float(
        "issue_rate",
        None,
        "Take this share of the labels, those of the lowest quality, for issues.",
        lower_bound=0,
        upper_bound=1,
        **own,
    )
    flags.DEFINE_enum("format", "csv", FORMATS, "Of the manifests.", **own)
    return values


def correct(line: command.CommandLine) -> None:
    """Export the data of a run as the flags say, and show what was changed."""
    values, (folder_of_run,) = line.flags, line.arguments
    if None in (values.action, values.output_dir):
        raise ValueError(
            "Say what to do and where to: --action=relabel (or drop) "
            "--output_dir=FOLDER."
        )
    check_choice(values.num_issues, values.issue_rate)
    folder = Path(values.output_dir)
    check_empty(folder)
    files = files_of_run(values, folder_of_run)
    run = load_run(folder_of_run, files)
    issues = run.label_issues()
    if values.num_issues is not None or values.issue_rate is not None:
        issues["is_label_issue"] = label_issues(
            issues["label_quality"].to_numpy(), values.num_issues, values.issue_rate
        )
    if not issues["is_label_issue"].any():
        raise ValueError(
            f"No label of {folder_of_run} is an issue: nothing would change. "
            + "".join(f"{doubt} " for doubt in run.doubts())
            + "Choose how many with --num_issues or --issue_rate."
        )
    num_classes = run.data.dataset.num_classes
    correction = correct_labels(run.data.train, issues, values.action, num_classes)
    say(changes(run, correction))
    test = run.data.tests.get("test")
    written = write_manifests(
        folder, correction.after, test, run.class_names, values.format
    )
    say(next_step(run, written, files))


def changes(run: SavedRun, correction: Correction) -> str:
    """What was done, as text: how many examples, and which classes most."""
    before, is_issue = correction.before, correction.is_issue
    names = [shown_name(name) for name in run.class_names]
    data, num_issues = run.data, int(is_issue.sum())
    lines = ["", f"{data.dataset.name}: {len(data.train):,} training examples"]
    if len(data.validation):
        lines.append(
            f"({len(data.validation):,} for validation are not among them, and not "
            "exported)"
        )
    if left_out := len(data.train) - len(before):
        lines.append(f"left out: {left_out:,} whose images could not be read")
    given = before.labels[is_issue]
    pairs = [names[label] for label in given]
    verb = "dropped"
    if correction.action == "relabel":
        verb = "relabelled"
        suggested = correction.after.labels[is_issue]
        pairs = [
            f"{one} -> {names[new]}" for one, new in zip(pairs, suggested, strict=True)
        ]
    share = 100 * num_issues / len(before)
    lines.append(f"{verb}: {num_issues:,} ({share:.1f} %)")
    found, counts = np.unique(pairs, return_counts=True)
    most = np.argsort(-counts, kind="stable")[:NUM_SHOWN]
    lines += [f"{counts[place]:>10,}  {found[place]}" for place in most]
    if before.clean_labels is not None:
        rights = [
            100 * (part.labels == part.clean_labels).mean()
            for part in (before, correction.after)
        ]
        lines.append("right labels: {:.2f} % before, {:.2f} % now".format(*rights))
    return "\n".join(lines)


def next_step(run: SavedRun, written: Manifests, files: DataFiles) -> str:
    """What was written, and the command that trains on it.

    Args:
        run: whose labels were corrected.
        written: the manifests.
        files: where the run's data set is, and what of it may be bad.
    """
    lines = ["", f"written: {written.train}"]
    if written.test is not None:
        lines.append(f"written: {written.test}")
    dataset, images = run.data.dataset, run.data.train.images
    if not written.has_names:
        lines.append(
            "Labels are the classes' numbers, as their names would not be read back "
            "as they are (numbers, missing classes, or signs that spreadsheets run)."
        )
    if not isinstance(images, EncodedImages):
        height, width, channels = images.shape[1:]
        notes = [f"with ImageNet's mean and deviation, not those of {dataset.name}"]
        if channels == 1:
            notes.append("as RGB, not grey")
        if height != width:
            notes.append("cut to squares")
        lines.append(f"Images of a manifest are trained on {', '.join(notes)}.")
    command = launch_command("train.py", new_flags(run, written, files))
    return "\n".join([*lines, "", f"train:   {command}"])


def new_flags(run: SavedRun, written: Manifests, files: DataFiles) -> list[str]:
    """The flags of launch/train.py for the same run on the new data."""
    values: dict[str, Any] = {"dataset": "manifest", "manifest": written.train}
    if written.test is not None:
        values["test_manifest"] = written.test
    values["noise"] = "none"
    if not written.has_names:
        values["num_classes"] = run.data.dataset.num_classes
    images = run.data.train.images
    if isinstance(images, EncodedImages):
        values |= {"resize": images.resize, "image_size": images.image_size}
    else:
        side = min(images.shape[1:3])  # as large as they are: nothing is resampled
        values |= {"resize": side, "image_size": side}
    if files.max_bad_fraction != DataFiles.max_bad_fraction:
        # Of the test images, bad ones are still listed.
        values["max_bad_fraction"] = files.max_bad_fraction
    values |= training_flags(run.experiment)
    values["output_dir"] = written.train.parent / "run"  # no other run's
    given = [f"--{flag}={value}" for flag, value in values.items()]
    return [*given, *limits_given(dataclasses.replace(files, may_fetch=None))]


def training_flags(experiment: Experiment) -> dict[str, str]:
    """What the new run takes over, by flag: all that is not as it is by default.

    What is about the data is left out: they are a manifest now, without noise that is
    drawn, and without examples for validation.
    """
    given = {}
    if experiment.record.name != methods.DEFAULT:
        given["method"] = experiment.record.name
    for settings in (experiment.method, experiment):
        for field in flags_of.fields_of(settings):
            value = getattr(settings, field.name)
            if not field.metadata["of_data"] and value != field.default:
                given[flag_of(field)] = flags_of.text_of(value)
    return given


def main(arguments: Sequence[str] | None = None) -> None:
    """Export the corrected labels of a run."""
    command.run(
        correct,
        define_flags(),
        __doc__,
        arguments,
        ignored=train_flags.names(),
        argument="RUN",
    )


if __name__ == "__main__":
    main()
