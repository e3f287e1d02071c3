"""What `result.json` says of an audit's labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from sop_keras.auditing.findings import Findings
from sop_keras.label_issues.detection import auroc, detection_figures


def figures_of(
    findings: Findings,
    num_train: int,
    noise_score: str,
    labels: np.ndarray,
    clean_labels: np.ndarray | None = None,
) -> dict[str, Any]:
    """The figures; what needs clean labels is None without them.

    Args:
        findings: in n labels.
        num_train: how many examples there are, with those that cannot be used.
        noise_score: what the method ranks wrong labels by, as text.
        labels: as given, `(n,)`.
        clean_labels: the true ones, likewise. Defaults to `None`: unknown.
    """
    table = findings.table
    low, high = findings.num_wrong_interval
    figures: dict[str, Any] = {
        "train_accuracy_given_labels": findings.head.accuracies[-1],
        "train_accuracy_clean_labels": None,
        "noise_rate": None,
        "noise_score": noise_score,
        "noise_auroc": None,
        "num_label_issues": int(table["is_label_issue"].sum()),
        "num_wrong_estimated": round(findings.num_wrong, 1),
        "num_wrong_least": round(low, 1),
        "num_wrong_most": round(high, 1),
        "detection": None,
        "doubts": [doubt.text for doubt in findings.doubts],
        "num_train": num_train,
    }
    if clean_labels is not None:
        is_wrong = labels != clean_labels
        figures["noise_rate"] = float(is_wrong.mean())
        known = np.isfinite(table["noise_score"].to_numpy())
        quality = table["label_quality"].to_numpy()[known]
        issue = table["is_label_issue"].to_numpy()[known]
        figures["detection"] = detection_figures(quality, issue, is_wrong[known])
        figures["noise_auroc"] = auroc(-quality, is_wrong[known])
    return figures
