"""An audit of features that somebody has already, and what its folder gets."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sop_keras import methods
from sop_keras.auditing.audit_figures import figures_of
from sop_keras.auditing.beside_labels import BesideLabels, beside_labels
from sop_keras.auditing.feature_rows import ArrayRows, FeatureRows
from sop_keras.auditing.findings import Findings, find_wrong_labels
from sop_keras.auditing.head import HeadProgress
from sop_keras.auditing.head_settings import HeadSettings, steps_of_epoch
from sop_keras.features.own_features import OwnFeatures
from sop_keras.files.atomic import write_atomically
from sop_keras.files.folders import make_folder
from sop_keras.label_issues.decisions import Decisions
from sop_keras.label_issues.export import write_label_issues
from sop_keras.training.run_folder import LABEL_ISSUES, RunFolderError
from sop_keras.training.versions import versions

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class AuditedFeatures:
    """What an audit of features came to.

    Args:
        own: the features and their labels.
        table: all labels, in their order.
        rows: the features of the table's examples.
        findings: of the head.
        beside: outliers, near-duplicates and classes that look like one.
        result: the content of `result.json`.
    """

    own: OwnFeatures
    table: pd.DataFrame
    rows: FeatureRows
    findings: Findings
    beside: BesideLabels
    result: dict[str, Any]


def check_folder(folder: Path) -> None:
    """Check that a folder may hold an audit of features.

    Raises:
        RunFolderError: if it holds a run, or an audit of images.
    """
    if (folder / "config.json").exists():
        raise RunFolderError(
            f"{folder} holds a run, or an audit of images. Choose another folder: "
            "--output_dir=FOLDER."
        )


def audit_features(
    own: OwnFeatures,
    folder: Path,
    *,
    decisions: Decisions | None = None,
    settings: HeadSettings | None = None,
    told_of_head: HeadProgress | None = None,
    flags: str = "",
) -> AuditedFeatures:
    """Audit features, and write what is found.

    Args:
        own: the features, of `read_features`.
        folder: gets label_issues.csv and result.json.
        decisions: of people, by id. Defaults to `None`: none.
        settings: of the head. Defaults to `None`: `HeadSettings()`.
        told_of_head: of the head's epochs. Defaults to `None`.
        flags: of the command, for `result.json`. Defaults to `""`.

    Raises:
        RunFolderError: as `check_folder`.
        ValueError: for features, labels or decisions that cannot be.
        OutputError: if something cannot be written.
    """
    started = time.monotonic()
    check_folder(folder)
    settings = settings or HeadSettings()
    count, num_classes = len(own.labels), len(own.class_names)
    findings = find_wrong_labels(
        own.features,
        own.labels,
        num_classes,
        ids=own.ids,
        decisions=decisions,
        settings=settings,
        progress=told_of_head,
    )
    rows = ArrayRows(own.features, np.arange(count))
    beside = beside_labels(rows, findings.table, num_classes, "example")
    table = findings.table.assign(**beside.columns)
    noise_score = methods.record(methods.DEFAULT).noise_score
    result = {
        **figures_of(findings, count, noise_score, own.labels),
        "seconds": round(time.monotonic() - started, 1),
        "versions": versions(),
        "settings": asdict(settings),
        "flags": flags,
        "facts": {
            "Head": "linear, with SOP, on the features",
            "Batch size": f"{-(-count // steps_of_epoch(count))}",
            "L2": f"{settings.l2_of(count, rows.num_features):.3g}",
            **beside.facts(own.class_names),
        },
        **beside.figures(own.ids),
        "features": {"num_features": rows.num_features, "num_examples": count},
    }
    make_folder(folder, inside=folder.parent)
    write_label_issues(table, folder / LABEL_ISSUES, own.class_names)
    write_atomically(folder / "result.json", json.dumps(result, indent=2))
    return AuditedFeatures(own, table, rows, findings, beside, result)
