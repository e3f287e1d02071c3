"""Exports a run's training data under better labels, for a training anew.

    python launch/correct_labels.py RUN --action=relabel --output_dir=FOLDER
    python launch/correct_labels.py RUN --action=drop --output_dir=FOLDER
    python launch/correct_labels.py RUN --action=drop --output_dir=F --issue_rate=0.05
    python launch/correct_labels.py RUN --action=keep --output_dir=F --decisions=FILE

RUN is the folder of a complete run that found wrong labels (label_issues.csv). FOLDER
gets train.csv, and test.csv where there are test examples: manifests (docs/data.md)
that launch/train.py reads. Images that are files stay where they are; those of CIFAR
and the like become PNG files in FOLDER/images. The command for the new training is
printed at the end.

--action=relabel gives the label issues their suggested labels; --action=drop leaves
them out. The label issues are those that the run found, or with --num_issues or
--issue_rate the labels of the lowest quality.

--decisions=FILE[,FILE] applies what people decided: files that the review page of
launch/report.py saves, one a person. What they confirmed stays, what they named another
class for gets it, what they removed is left out, and what they disagree on stays as it
is. --action is then for the other label issues, and may be keep: nothing is done with
these. What an audit was given is in its table, and is applied as well; where these
files say something else, they count.

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
from sop_keras.data.images.encoded_images import EXACT, EncodedImages
from sop_keras.drawing.cells import shown_name
from sop_keras.label_issues.choice import check_choice, label_issues
from sop_keras.label_issues.corrected import (
    ACTIONS,
    CONFLICT,
    FORMATS,
    KEEP,
    Correction,
    Manifests,
    check_empty,
    correct_labels,
    write_manifests,
)
from sop_keras.label_issues.decisions import (
    KINDS,
    NO_LABEL,
    Decisions,
    check_there,
    decisions_in,
    is_settled,
    read_decisions,
)
from sop_keras.label_issues.precision import SeenPrecision, seen_precision
from sop_keras.settings import flag_of
from sop_keras.training.experiment import Experiment
from sop_keras.training.run_folder import LABEL_ISSUES
from sop_keras.training.saved_run import SavedRun, load_run

NUM_SHOWN = 10


def define_flags() -> flags.FlagValues:
    """New flags of this command."""
    values = command.new_flags()
    flags_of.define(values, DataFiles)
    own = command.own(values)
    flags.DEFINE_string("output_dir", None, "FOLDER, which must be empty.", **own)
    flags.DEFINE_enum(
        "action",
        None,
        ACTIONS,
        "What to do with the label issues; with --decisions, with those that nobody "
        "decided on.",
        **own,
    )
    flags.DEFINE_list(
        "decisions",
        [],
        "Files of what people decided, as the page of launch/report.py saves them.",
        **own,
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
    check_there(values.decisions)
    check_choice(values.num_issues, values.issue_rate)
    folder = Path(values.output_dir)
    check_empty(folder)
    files = files_of_run(values, folder_of_run)
    run = load_run(folder_of_run, files)
    issues = run.label_issues()
    if values.num_issues is not None or values.issue_rate is not None:
        issues["is_label_issue"] = label_issues(
            issues["label_quality"].to_numpy(),
            values.num_issues,
            values.issue_rate,
            is_settled(issues),
        )
    num_classes = run.data.dataset.num_classes
    earlier = decisions_in(issues)
    decisions = earlier if len(earlier) else None
    if values.decisions:
        decisions = read_decisions(values.decisions, num_classes).over(earlier)
    if values.action == KEEP and decisions is None:
        raise ValueError(
            "--action=keep is for the label issues that nobody decided on: give "
            "--decisions=FILE, or choose relabel or drop."
        )
    if decisions is None and not issues["is_label_issue"].any():
        raise ValueError(
            f"No label of {folder_of_run} is an issue: nothing would change. "
            + "".join(f"{doubt} " for doubt in run.doubts())
            + "Choose how many with --num_issues or --issue_rate."
        )
    correction = correct_labels(
        run.data.train, issues, values.action, num_classes, decisions
    )
    say(changes(run, correction, decisions))
    if len(earlier):
        say(
            f"decided before the audit: {len(earlier):,}, as {LABEL_ISSUES} has them"
            + ("; --decisions counts where it says otherwise" * bool(values.decisions))
        )
    if decisions is not None:
        say(seen(seen_precision(decisions, issues)))
    test = run.data.tests.get("test")
    written = write_manifests(
        folder, correction.after, test, run.class_names, values.format
    )
    say(next_step(run, written, files))


def changes(
    run: SavedRun, correction: Correction, decisions: Decisions | None = None
) -> str:
    """What was done, as text: how many examples, and which classes most.

    Args:
        run: whose labels were corrected.
        correction: of its training examples.
        decisions: what people decided. Defaults to `None`: nothing.
    """
    before, is_issue = correction.before, correction.is_issue
    data, num_issues = run.data, int(is_issue.sum())
    lines = ["", f"{data.dataset.name}: {len(data.train):,} training examples"]
    if len(data.validation):
        lines.append(
            f"({len(data.validation):,} for validation are not among them, and not "
            "exported)"
        )
    if left_out := len(data.train) - len(before):
        lines.append(f"left out: {left_out:,} whose images could not be read")
    if decisions is not None:
        lines += _decided(run, correction, decisions)
    verbs = {"relabel": "relabelled", "drop": "dropped", KEEP: "label issues kept"}
    share = 100 * num_issues / len(before)
    lines.append(f"{verbs[correction.action]}: {num_issues:,} ({share:.1f} %)")
    if correction.action != KEEP:
        lines += _most_frequent(run, correction, is_issue)
    if before.clean_labels is not None:
        rights = [
            100 * (part.labels == part.clean_labels).mean()
            for part in (before, correction.after)
        ]
        lines.append("right labels: {:.2f} % before, {:.2f} % now".format(*rights))
    return "\n".join(lines)


def _decided(run: SavedRun, correction: Correction, decisions: Decisions) -> list[str]:
    """What was done because people said so, and what they disagree on."""
    counts = {kind: int((correction.kinds == kind).sum()) for kind in KINDS}
    told = ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
    lines = [f"decided: {len(decisions):,} ({told})"]
    is_changed = (correction.labels != correction.before.labels) & ~(
        np.isin(correction.kinds, ["", CONFLICT]) | (correction.labels == NO_LABEL)
    )
    lines += _most_frequent(run, correction, is_changed)
    if conflicts := decisions.conflicts:
        lines.append(f"conflicts: {len(conflicts):,}, which stay as they are")
        lines += [f"{'':>10}  {one}" for one in conflicts[:NUM_SHOWN]]
        if (more := len(conflicts) - NUM_SHOWN) > 0:
            lines.append(f"{'':>10}  and {more:,} more")
    return lines


def _most_frequent(
    run: SavedRun, correction: Correction, chosen: np.ndarray
) -> list[str]:
    """From which class to which other, for the most frequent of some examples."""
    names = [shown_name(name) for name in run.class_names]
    given, new = correction.before.labels[chosen], correction.labels[chosen]
    pairs = [
        names[one] if other == NO_LABEL else f"{names[one]} -> {names[other]}"
        for one, other in zip(given, new, strict=True)
    ]
    found, counts = np.unique(pairs, return_counts=True)
    most = np.argsort(-counts, kind="stable")[:NUM_SHOWN]
    return [f"{counts[place]:>10,}  {found[place]}" for place in most]


def seen(precision: SeenPrecision) -> str:
    """How many of the decided labels were wrong, and what is left to look at."""
    decided, worth = precision.decided, precision.worth_looking_at
    if not decided.num_decided:
        return "wrong among the decided: none was decided"
    low, high = (100 * end for end in decided.interval())
    lines = [
        f"wrong among the decided: {decided.num_wrong:,} of {decided.num_decided:,} "
        f"({100 * decided.share:.1f} %; 95 % interval: {low:.1f} to {high:.1f} %)"
    ]
    lines += [
        f"{'':>10}  rank {one.first:,} to {one.last:,}: {one.num_wrong} of "
        f"{one.num_decided}"
        for one in precision.windows[-NUM_SHOWN:]
    ]
    text = f"worth a look: {worth.num_undecided:,} more, up to rank {worth.last_rank:,}"
    if precision.windows:  # of labels that were decided on the page of this table
        text += f", of which some {worth.num_wrong:.0f} are wrong"
    if not worth.is_end_seen:
        text += "; where wrong ones get few is not seen yet"
    return "\n".join([*lines, text])


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
    if run.is_audit:
        lines.append(
            "An audit has no settings of a training: choose the network, such as "
            "--backbone=resnet50 --pretrained=imagenet, and how it is trained."
        )
    command = launch_command("train.py", new_flags(run, written, files))
    return "\n".join([*lines, "", f"train:   {command}"])


def new_flags(run: SavedRun, written: Manifests, files: DataFiles) -> list[str]:
    """The flags of launch/train.py for the same run on the new data.

    Of an audit they are those of the data: its head's are no settings of a network.
    """
    values: dict[str, Any] = {"dataset": "manifest", "manifest": written.train}
    if written.test is not None:
        values["test_manifest"] = written.test
    values["noise"] = "none"
    if not written.has_names:
        values["num_classes"] = run.data.dataset.num_classes
    images = run.data.train.images
    if isinstance(images, EncodedImages):
        values |= {"resize": images.resize, "image_size": images.image_size}
        if images.decoding != EXACT:
            values["decode"] = images.decoding
    else:
        side = min(images.shape[1:3])  # as large as they are: nothing is resampled
        values |= {"resize": side, "image_size": side}
    if files.max_bad_fraction != DataFiles.max_bad_fraction:
        # Of the test images, bad ones are still listed.
        values["max_bad_fraction"] = files.max_bad_fraction
    if not run.is_audit:
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
