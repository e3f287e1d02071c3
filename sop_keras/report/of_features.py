"""The report of an audit of features: the page without images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sop_keras.auditing.features_run import AuditedFeatures
from sop_keras.data.datasets.dataset import Examples
from sop_keras.label_issues.decisions import Decisions
from sop_keras.report.headline import result_statistics
from sop_keras.report.no_images import NoImages
from sop_keras.report.page import DECISIONS
from sop_keras.report.run_labels import RunLabels
from sop_keras.report.sections import sections_of
from sop_keras.report.subject import Subject
from sop_keras.report.write import check_page, write_page


def write_features_report(
    audited: AuditedFeatures,
    path: Path,
    source: str,
    num_examples: int = 200,
    similar: Mapping[int, Sequence[int] | np.ndarray] | None = None,
    decisions: str = DECISIONS,
    earlier: Decisions | None = None,
) -> Path:
    """Write the page of an audit of features: examples are named by row and id.

    Args:
        audited: the audit.
        path: the page, `NAME.html`.
        source: the file of the features, for people.
        num_examples: how many labels the page shows, at least 1. Defaults to `200`.
        similar: as of `write_report`. Defaults to `None`: nobody knows.
        decisions: as of `write_report`. Defaults to `DECISIONS`.
        earlier: likewise. Defaults to `None`.

    Returns:
        The page's path.

    Raises:
        ValueError: for an argument that cannot be.
        OutputError: if something cannot be written.
    """
    check_page(path, num_examples)
    own, result = audited.own, audited.result
    num_classes, name = len(own.class_names), Path(source).name
    places = np.arange(len(own.ids))
    labels = RunLabels.of_table(audited.table, places, None, num_classes)
    facts = {
        "Features": f"{source}, {audited.rows.num_features:,} of each example",
        "Examples": f"{len(own.labels):,}",
        "Classes": f"{num_classes:,}",
        **result["facts"],
        "Epochs": f"{result['settings']['epochs']}",
        "Learning rate": f"{result['settings']['learning_rate']:g}",
        "Time": f"{result['seconds']:,.0f} s",
        "Versions": ", ".join(f"{one} {no}" for one, no in result["versions"].items()),
        "Folder": str(path.parent),
        "Flags": result["flags"],
    }
    accuracies = enumerate(audited.findings.head.accuracies, start=1)
    subject = Subject(
        title=f"Label report: {name}",
        summary=(
            f"A head on {len(own.labels):,} rows of features of {name}: whose labels "
            "look wrong."
        ),
        doubts=result["doubts"],
        labels=labels,
        train=Examples(own.ids, NoImages(places), own.labels),
        class_names=own.class_names,
        statistics=result_statistics(result, labels, own.class_names),
        settings={fact: text for fact, text in facts.items() if text},
        history=[{"epoch": one, "accuracy": accuracy} for one, accuracy in accuracies],
        views="",
        sections=sections_of(result, labels, own.class_names, "example"),
    )
    return write_page(
        subject,
        path,
        num_examples,
        similar=similar,
        decisions=decisions,
        earlier=earlier,
    )
