"""The numbers that are shown of a scan, by name."""

from __future__ import annotations

import numpy as np

from sop_keras.core.scan import PredictionScan
from sop_keras.label_issues.detection import detection_figures

_OF_DETECTION = ("precision", "recall", "auroc", "average_precision")


def noise_figures(scan: PredictionScan) -> dict[str, float]:
    """What the tables and the training record say by themselves.

    Returns:
        What the method knows of its rows, and the share of labels that count as wrong.
        What is not known is left out.
    """
    figures = scan.figures()
    if scan.is_known.any():
        figures["noise/estimated_rate"] = float(scan.is_issue[scan.is_known].mean())
    return figures


def figures_by_clean_labels(
    scan: PredictionScan, clean_labels: np.ndarray
) -> dict[str, float]:
    """How well wrong labels are found, and how far they are learnt by heart.

    Args:
        scan: of the examples.
        clean_labels: integers `(n,)`.

    Returns:
        Figures of detection, and of memorization: the share of the right labels that
        the network predicts, of the wrong ones, and of the wrong ones where it predicts
        the clean label. What would be 0 / 0 is left out.

    Raises:
        ImportError: without scikit-learn.
    """
    known = scan.is_known
    given, clean = scan.labels[known], clean_labels[known]
    predicted, is_wrong = scan.predictions[known], given != clean
    if not len(given):
        return {}
    detection = detection_figures(scan.quality[known], scan.is_issue[known], is_wrong)
    shares = {
        "right_labels_fitted": _share(predicted == given, ~is_wrong),
        "wrong_labels_fitted": _share(predicted == given, is_wrong),
        "wrong_labels_corrected": _share(predicted == clean, is_wrong),
    }
    figures = {
        **{f"detection/{name}": detection[name] for name in _OF_DETECTION},
        **{f"memorization/{name}": share for name, share in shares.items()},
    }
    return {name: value for name, value in figures.items() if value is not None}


def _share(what: np.ndarray, among: np.ndarray) -> float | None:
    return float(what[among].mean()) if among.any() else None
