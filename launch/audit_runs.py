"""Audits that were asked for, and what is said of them."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scale_flags
from absl import flags
from data_flags import limits_of_run
from flagfiles import without
from printed_command import launch_command
from terminal import say

from sop_keras.auditing.audit_run import (
    Audited,
    check_folder,
    experiment_of,
    run_audit,
)
from sop_keras.auditing.features_run import AuditedFeatures, audit_features
from sop_keras.auditing.features_run import check_folder as check_folder_of_features
from sop_keras.auditing.findings import Findings, most_confused
from sop_keras.auditing.head_settings import HeadSettings
from sop_keras.auditing.similar import similar_examples
from sop_keras.data.datasets.by_name import DataFiles
from sop_keras.data.images.encoded_images import EncodedImages
from sop_keras.drawing.cells import shown_name
from sop_keras.features.own_features import read_features
from sop_keras.label_issues.decisions import Decisions, read_decisions
from sop_keras.label_issues.precision import wilson_interval
from sop_keras.training.run_folder import LABEL_ISSUES

if TYPE_CHECKING:
    import pandas as pd

_NUM_PAIRS, _NUM_WORST, _NUM_CONFLICTS = 5, 10, 10
_NUMBERED = re.compile(r"decisions([0-9]{0,9})\.csv")
_FEW_A_CLASS = 1_000  # docs/features.md


def audit_images(
    values: flags.FlagValues,
    folder: Path,
    settings: HeadSettings,
    of_data: dict[str, Any],
    files: DataFiles,
    words: Sequence[str],
) -> None:
    """Audit a data set, and write the report.

    Args:
        values: flags of launch/audit.py.
        folder: where the results go.
        settings: of the head.
        of_data: what the data are.
        files: where the data set is.
        words: the flags as they were given.
    """
    experiment = experiment_of(settings, values.backbone, values.pretrained, **of_data)
    check_folder(folder, experiment, files)
    decisions: list[Decisions] = []

    def read(num_classes: int) -> Decisions | None:
        if not values.decisions:
            return None
        decisions.append(read_decisions(values.decisions, num_classes))
        return decisions[0]

    audited = run_audit(
        experiment,
        folder,
        files,
        settings,
        values.backbone,
        image_size=experiment.image_size,
        scale=scale_flags.read(values),
        store=Path(values.store) if values.store else None,
        read=read,
        told=_progress("images", "images/s"),
        told_of_head=_progress("epochs of the head"),
        flags=shlex.join(words),
    )
    say(_of_features(audited))
    class_names = audited.data.dataset.class_names
    _say_found(audited, class_names, decisions, folder, _files_of(audited))
    from sop_keras.report.write import write_report

    page = write_report(
        folder,
        files,
        num_examples=values.num_examples,
        picture_folder=values.picture_folder or files.data_dir,
        similar=_similar(audited, values.num_examples),
        data=audited.data,
        decisions=_name_of_next(values.decisions),
        earlier=decisions[0] if decisions else None,
    )
    again = _again(words, values.decisions)
    limits = limits_of_run(files, experiment.dataset)
    decided = _to_correct(folder, values.decisions, limits)
    say(f"report:  {page}", "", _next(values.decisions, decided, again), sep="\n")


def audit_own_features(
    values: flags.FlagValues,
    folder: Path,
    settings: HeadSettings,
    words: Sequence[str],
) -> None:
    """Audit features that somebody has already, and write the report.

    Args:
        values: flags of launch/audit.py.
        folder: where the results go.
        settings: of the head.
        words: the flags as they were given.
    """
    check_folder_of_features(folder, values.features)
    own = read_features(values.features, values.labels)
    decisions = []
    if values.decisions:
        decisions.append(read_decisions(values.decisions, len(own.class_names)))
    audited = audit_features(
        own,
        folder,
        source=values.features,
        decisions=decisions[0] if decisions else None,
        settings=settings,
        told_of_head=_progress("epochs of the head"),
        flags=shlex.join(words),
    )
    _say_found(audited, own.class_names, decisions, folder, {})
    from sop_keras.report.of_features import write_features_report

    page = write_features_report(
        audited,
        folder / "report.html",
        values.features,
        num_examples=values.num_examples,
        similar=_similar(audited, values.num_examples),
        decisions=_name_of_next(values.decisions),
        earlier=decisions[0] if decisions else None,
    )
    again = _again(words, values.decisions)
    say(f"report:  {page}", "", _next(values.decisions, "", again), sep="\n")


def _say_found(
    audited: Audited | AuditedFeatures,
    class_names: Sequence[str],
    decisions: Sequence[Decisions],
    folder: Path,
    files: dict[int, str],
) -> None:
    say(summary(audited.findings, class_names, files))
    facts = audited.beside.facts(class_names)
    say(*(f"{what}: {text}" for what, text in facts.items()), sep="\n")
    say(_of_decisions(decisions, audited.table))
    say(f"labels:  {folder / LABEL_ISSUES}")


def _similar(
    audited: Audited | AuditedFeatures, num_examples: int
) -> dict[int, np.ndarray]:
    """By the ids of examples on the page, those that look most like them."""
    from sop_keras.report.sections import ids_on_page

    table = audited.table
    return similar_examples(
        audited.rows,
        table["id"].to_numpy(),
        table["duplicate_group"].to_numpy(),
        np.array(ids_on_page(table, audited.result, num_examples), np.int64),
    )


def summary(
    findings: Findings, class_names: Sequence[str], files: dict[int, str]
) -> str:
    """What is found, as text.

    Args:
        findings: of an audit.
        class_names: in label order.
        files: where the images are, by id; may be empty.
    """
    table, names = findings.table, [shown_name(name) for name in class_names]
    low, high = findings.num_wrong_interval
    count, num_issues = len(table), int(table["is_label_issue"].sum())
    lines = [
        "",
        f"{num_issues:,} of {count:,} labels look wrong "
        f"({100 * num_issues / count:.1f} %); estimated to be wrong: "
        f"{findings.num_wrong:,.0f}, between {low:,.0f} and {high:,.0f}.",
    ]
    if count < _FEW_A_CLASS * len(names):
        lines.append(
            f"With fewer than {_FEW_A_CLASS:,} examples a class these numbers come out "
            "too low: trust the order more than the count."
        )
    lines += [doubt.text for doubt in findings.doubts]
    pairs = most_confused(table, _NUM_PAIRS)
    if pairs:
        lines += ["", "most often:"]
    lines += [f"{n:>8,}  {names[one]} -> {names[other]}" for one, other, n in pairs]
    undecided = table[table["decision"] == ""]
    worst = undecided.sort_values("label_quality", kind="stable")[:_NUM_WORST]
    lines += ["", "worst:"]
    for row in worst.to_dict("records"):
        where = files.get(row["id"], f"id {row['id']}")
        one, other = names[row["given_label"]], names[row["suggested_label"]]
        lines.append(f"{row['label_quality']:>8.4f}  {one} -> {other}  {where}")
    return "\n".join([*lines, ""])


def _of_features(audited: Audited) -> str:
    counts, bad = audited.embedded.counts, int(audited.embedded.is_bad.sum())
    parts = {
        "embedded": counts.embedded,
        "reused": counts.reused,
        "of them changed": counts.changed,
        "no longer there": counts.gone,
        "left out, as they cannot be read": bad,
    }
    told = [f"{count:,} {what}" for what, count in parts.items() if count]
    return f"features: {', '.join(told)}"


def _files_of(audited: Audited) -> dict[int, str]:
    train = audited.data.train
    if not isinstance(train.images, EncodedImages):
        return {}
    worst = audited.table.sort_values("label_quality", kind="stable")["id"]
    wanted = {*worst[: _NUM_WORST + int((audited.table["decision"] != "").sum())]}
    places = np.flatnonzero(np.isin(train.ids, list(wanted)))
    return {int(train.ids[one]): train.images.name(one) for one in places.tolist()}


def _of_decisions(decisions: Sequence[Decisions], table: pd.DataFrame) -> str:
    """What the decisions so far say."""
    if not decisions:
        return ""
    count = len(decisions[0])
    num_wrong = int((~table["decision"].isin(["", "given"])).sum())
    lines = ["decided: nothing yet"]
    if count:
        low, high = wilson_interval(num_wrong, count)
        lines = [
            f"decided: {count:,}; wrong were {100 * num_wrong / count:.0f} % of them "
            f"(between {100 * low:.0f} and {100 * high:.0f} % of such ones)"
        ]
    left = table[table["is_label_issue"]]
    expected = (1 - left["label_quality"]).sum()
    lines.append(
        f"worth a look: {len(left):,} more, of which about {expected:,.0f} are wrong"
    )
    if conflicts := decisions[0].conflicts:
        lines.append(f"in conflict, and not taken: {len(conflicts):,}")
        lines += [f"{'':>10}  {one}" for one in conflicts[:_NUM_CONFLICTS]]
        if (more := len(conflicts) - _NUM_CONFLICTS) > 0:
            lines.append(f"{'':>10}  and {more:,} more")
    return "\n".join([*lines, ""])


def _name_of_next(before: Sequence[str]) -> str:
    """The page's file, which has what was decided before as well."""
    if not before:
        return "decisions.csv"
    found = (_NUMBERED.fullmatch(Path(one).name) for one in before)
    numbers = [int(one[1]) for one in found if one and one[1]]
    return f"decisions{max([1, *numbers]) + 1}.csv"


def _to_correct(folder: Path, before: Sequence[str], limits: Sequence[str]) -> str:
    file = f"--decisions={_name_of_next(before)}"
    words = [folder, file, "--action=keep", "--output_dir=FOLDER", *limits]
    return launch_command("correct_labels.py", words)


def _again(words: Sequence[str], before: Sequence[str]) -> str:
    file = f"--decisions={_name_of_next(before)}"
    return launch_command("audit.py", [*without(words, ("decisions",)), file])


def _next(before: Sequence[str], correct: str, again: str) -> str:
    """The commands for what comes next.

    Args:
        before: decisions that the audit was given.
        correct: the command that applies them; "" where there is none.
        again: the audit's own, with them.
    """
    lines = [
        f"Open the report, decide with the keyboard, save {_name_of_next(before)}. Then"
    ]
    if correct:
        lines.append(f"correct: {correct}")
    return "\n".join([*lines, f"go on:   {again}"])


def _progress(what: str, rate: str = "") -> Callable[[int, int, float], None]:
    """Says now and then how far it is, how fast, and how long it takes still."""
    pause = 2.0 if sys.stderr.isatty() else 10.0
    last = 0.0

    def tell(done: int, total: int, seconds: float) -> None:
        nonlocal last
        if seconds - last < pause and done < total:
            return
        last = seconds
        speed = done / max(seconds, 1e-9)
        parts = [f"{done:,} of {total:,} {what}"]
        if rate:
            parts.append(f"{speed:,.0f} {rate}")
        if 0 < done < total:
            parts.append(f"about {(total - done) / speed:,.0f} s left")
        say(", ".join(parts), to=sys.stderr)

    return tell
