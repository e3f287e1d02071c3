"""The settings and the statistics at the head of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from sop_keras.report.run_labels import RunLabels
from sop_keras.training.result_types import shortened
from sop_keras.training.run_folder import RunFolderError
from sop_keras.training.saved_run import SavedRun

_NUM_LOWEST = 3  # classes named beside a figure of all


@dataclass(frozen=True)
class Statistic:
    """A number at the head of the page.

    Args:
        name: what it is.
        value: as text, with its unit.
        note: what is to be said beside it; may be empty.
    """

    name: str
    value: str
    note: str = ""


def check_figures(run: SavedRun) -> None:
    """Check that a run's `result.json` has the figures that are shown.

    Raises:
        RunFolderError: if it lacks one.
    """
    result = run.result
    needed = ["seconds", "train_accuracy_given_labels"]
    if result.get("final_test_accuracy") is not None:
        needed += ["best_test_accuracy", "best_epoch"]
    missing = [name for name in needed if result.get(name) is None]
    for name, values in (result.get("class_figures") or {}).items():
        if len(values) != len(run.class_names):
            missing.append(f"{name} of each class")
    if missing:
        raise RunFolderError(
            f"{run.folder / 'result.json'} is damaged: it has no "
            f"{shortened(', '.join(missing))}. Put a good copy there."
        )


def settings_of(run: SavedRun) -> dict[str, str]:
    """What was trained on what, by name."""
    settings, data = run.experiment.settings(), run.data
    label_set = settings["label_set"]
    noise = settings["noise"]
    facts = {
        "Data set": settings["dataset"] + (f", {label_set}" if label_set else ""),
        "Classes": f"{data.dataset.num_classes:,}",
        "Noise drawn": noise,
        "Method": run.experiment.record.title,
    }
    if noise != "none":
        facts["Noise drawn"] = f"{noise}, {percent(settings['noise_rate'])}"
    for part, examples in data.splits.items():
        if len(examples):
            facts[f"Examples, {part}"] = f"{len(examples):,}"
    for one in (*fields(run.experiment.method), *fields(run.experiment)):
        if shown := one.metadata.get("title"):
            value = settings[one.name]
            is_auto = value is None and one.metadata.get("may_be_auto")
            facts[shown] = "auto" if is_auto else str(value)
    facts |= run.result.get("facts", {})
    facts["Time"] = f"{run.result['seconds']:,.0f} s"
    versions = run.result.get("versions", {})
    facts["Versions"] = ", ".join(f"{name} {one}" for name, one in versions.items())
    facts["Folder"] = str(run.folder)
    facts["Flags"] = run.result.get("flags", "")
    return {name: value for name, value in facts.items() if value}


def statistics_of(run: SavedRun, labels: RunLabels) -> list[Statistic]:
    """What came out: accuracies, label issues, and how right these are."""
    return result_statistics(run.result, labels, run.class_names)


def result_statistics(
    result: dict[str, Any], labels: RunLabels, class_names: Sequence[str]
) -> list[Statistic]:
    """The same of what is no run.

    Args:
        result: the content of `result.json`.
        labels: that were judged.
        class_names: one a class, in label order.
    """
    return [
        *_accuracies(result),
        *_issues(labels),
        *_estimated(result),
        *_detection(result),
        *_of_classes(result.get("class_figures") or {}, class_names),
    ]


def percent(share: float) -> str:
    """A share in [0, 1] as text."""
    return f"{100 * share:.1f} %"


def _accuracies(result: dict[str, Any]) -> list[Statistic]:
    statistics = []
    if (final := result.get("final_test_accuracy")) is not None:
        best = percent(result["best_test_accuracy"])
        note = f"best {best}, after epoch {result['best_epoch']:.0f}"
        statistics.append(Statistic("Test accuracy", percent(final), note))
    elif (final := result.get("final_validation_accuracy")) is not None:
        statistics.append(
            Statistic("Validation accuracy", percent(final), "given labels")
        )
    given = percent(result["train_accuracy_given_labels"])
    if (clean := result.get("train_accuracy_clean_labels")) is None:
        statistics.append(Statistic("Training accuracy", given, "given labels"))
    else:
        note = f"clean labels; {given} of the given ones"
        statistics.append(Statistic("Training accuracy", percent(clean), note))
    return statistics


def _issues(labels: RunLabels) -> list[Statistic]:
    whole = labels.whole
    is_known, is_decided_wrong = whole.is_known, whole.is_decided_wrong
    if not is_known.any():
        return [Statistic("Label issues", "0", "no example was trained on")]
    is_issue = whole.column("is_label_issue")
    note = "share of issues"
    if is_decided_wrong.any():
        note += f" and of {is_decided_wrong.sum():,} that were decided to be wrong"
    share = (is_issue | is_decided_wrong)[is_known].mean()
    statistics = [
        Statistic(
            "Label issues",
            f"{is_issue.sum():,}",
            f"of {is_known.sum():,} training labels",
        ),
        Statistic("Estimated noise rate", percent(share), note),
    ]
    if (is_wrong := whole.is_wrong) is not None:
        note = f"{is_wrong.sum():,} wrong labels"
        statistics.append(Statistic("True noise rate", percent(is_wrong.mean()), note))
    return statistics


def _estimated(result: dict[str, Any]) -> list[Statistic]:
    """How many labels an audit takes for wrong."""
    names = ("num_wrong_estimated", "num_wrong_least", "num_wrong_most")
    if any(result.get(name) is None for name in names):
        return []
    number, least, most = (result[name] for name in names)
    note = f"between {least:,.0f} and {most:,.0f}"
    return [Statistic("Wrong labels, estimated", f"{number:,.0f}", note)]


def _of_classes(
    figures: Mapping[str, Sequence[float]], class_names: Sequence[str]
) -> list[Statistic]:
    """What the method says of each class: from where to where, and the lowest."""
    statistics = []
    for name, values in figures.items():
        lowest = sorted(range(len(values)), key=values.__getitem__)[:_NUM_LOWEST]
        note = ", ".join(f"{class_names[c]} {percent(values[c])}" for c in lowest)
        shown = f"{percent(min(values))} to {percent(max(values))}"
        statistics.append(Statistic(name, shown, f"lowest: {note}"))
    return statistics


def _detection(result: dict[str, Any]) -> list[Statistic]:
    """How well wrong labels are found, where they are known."""
    known = {
        name: value
        for name, value in (result.get("detection") or {}).items()
        if value is not None
    }
    texts = {
        "auroc": ("AUROC", "of label quality, for wrong labels"),
        "average_precision": ("Average precision", "of label quality"),
        "precision_at_k": ("Precision at k", "k: the number of wrong labels"),
        "precision": ("Precision", "label issues that are wrong labels"),
        "recall": ("Recall", "wrong labels that are label issues"),
    }
    statistics = []
    for name, (shown, note) in texts.items():
        if name in known:
            is_share = name not in ("auroc", "average_precision")
            value = percent(known[name]) if is_share else f"{known[name]:.4f}"
            statistics.append(Statistic(shown, value, note))
    return statistics
