"""An audit of features that somebody has already, and what its folder gets."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sop_keras import methods
from sop_keras.auditing.audit_figures import figures_of
from sop_keras.auditing.beside_labels import BesideLabels, beside_labels
from sop_keras.auditing.earlier_audit import check_ids, forget_result
from sop_keras.auditing.feature_rows import ArrayRows, FeatureRows
from sop_keras.auditing.findings import Findings, find_wrong_labels
from sop_keras.auditing.head import HeadProgress
from sop_keras.auditing.head_settings import HeadSettings, steps_of_epoch
from sop_keras.features.own_features import OwnFeatures
from sop_keras.files.atomic import write_atomically
from sop_keras.files.folders import check_not_linked
from sop_keras.files.shown_text import shown
from sop_keras.label_issues.decisions import Decisions
from sop_keras.label_issues.export import write_label_issues
from sop_keras.training.experiment_data import digest_of
from sop_keras.training.run_folder import LABEL_ISSUES, RunFolderError, read_files
from sop_keras.training.run_lock import RunLock
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


@dataclass(frozen=True)
class _Rows:
    """What decisions on rows of features rely on: not the features themselves."""

    own: OwnFeatures

    def description(self) -> dict[str, Any]:
        own = self.own
        return {
            "num_examples": len(own.ids),
            "class_names": list(own.class_names),
            "ids": digest_of({"ids": own.ids.astype("<i8")}),
            "labels": digest_of({"labels": own.labels.astype("<i8")}),
        }


def check_folder(folder: Path, source: str | os.PathLike[str] | None = None) -> None:
    """Check that a folder may hold an audit of features.

    Args:
        folder: where the results go.
        source: the file of the features. Defaults to `None`: it is not known.

    Raises:
        RunFolderError: if it holds a run, an audit of images, or one of another file.
        LinkedFolderError: if it is a link.
    """
    check_not_linked(folder, inside=folder.parent)
    if (folder / "config.json").exists():
        raise RunFolderError(
            f"{folder} holds a run, or an audit of images. Choose another folder: "
            "--output_dir=FOLDER."
        )
    there = read_files(folder).get("features")
    if None not in (there, source) and _files(source) != {"features": there}:
        raise RunFolderError(
            f"{folder} holds the audit of another file, {shown(str(there))}. Choose "
            "another folder: --output_dir=FOLDER. If that file was moved, remove the "
            "folder."
        )


def audit_features(
    own: OwnFeatures,
    folder: Path,
    *,
    source: str | os.PathLike[str] | None = None,
    decisions: Decisions | None = None,
    settings: HeadSettings | None = None,
    told_of_head: HeadProgress | None = None,
    flags: str = "",
) -> AuditedFeatures:
    """Audit features, and write what is found.

    Args:
        own: the features, of `read_features`.
        folder: gets data.json, label_issues.csv and result.json.
        source: the file of the features, which data.json names. Defaults to `None`: it
            is not known.
        decisions: of people, by id. Defaults to `None`: none.
        settings: of the head. Defaults to `None`: `HeadSettings()`.
        told_of_head: of the head's epochs. Defaults to `None`.
        flags: of the command, for `result.json`. Defaults to `""`.

    Raises:
        RunFolderError: as `check_folder`; for decisions on other data.
        RunLockedError: if another process audits there.
        ValueError: for features, labels or decisions that cannot be.
        OutputError: if something cannot be written.
    """
    started = time.monotonic()
    check_folder(folder, source)
    settings = settings or HeadSettings()
    data = _Rows(own)
    with RunLock(folder) as lock:
        check_ids(folder, data, decisions, "Put the data back, or leave them out.")
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
        lock.check()
        forget_result(folder)
        about = {**data.description(), "files": _files(source)}
        write_atomically(folder / "data.json", json.dumps(about, indent=2))
        write_label_issues(table, folder / LABEL_ISSUES, own.class_names)
        write_atomically(folder / "result.json", json.dumps(result, indent=2))
        return AuditedFeatures(own, table, rows, findings, beside, result)


def _files(source: str | os.PathLike[str] | None) -> dict[str, str]:
    return {} if source is None else {"features": os.path.abspath(source)}
