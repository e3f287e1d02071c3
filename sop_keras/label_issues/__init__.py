"""Which labels look wrong, and what to do about them."""

from sop_keras.label_issues.detection import auroc, detection_figures
from sop_keras.label_issues.find import COLUMNS, LabelScores, find_label_issues
from sop_keras.label_issues.noise_matrix import noise_matrix, transition_rates
from sop_keras.label_issues.scores import label_quality, score_labels

__all__ = [
    "COLUMNS",
    "LabelScores",
    "auroc",
    "detection_figures",
    "find_label_issues",
    "label_quality",
    "noise_matrix",
    "score_labels",
    "transition_rates",
]
