"""Which labels look wrong, and what to do about them."""

from sop_keras.label_issues.cleanlab import cleanlab_inputs, datalab_issues
from sop_keras.label_issues.detection import auroc, detection_figures
from sop_keras.label_issues.export import read_label_issues, write_label_issues
from sop_keras.label_issues.find import COLUMNS, LabelScores, find_label_issues
from sop_keras.label_issues.noise_matrix import noise_matrix, transition_rates
from sop_keras.label_issues.scores import label_quality, score_labels

__all__ = [
    "COLUMNS",
    "LabelScores",
    "auroc",
    "cleanlab_inputs",
    "datalab_issues",
    "detection_figures",
    "find_label_issues",
    "label_quality",
    "noise_matrix",
    "read_label_issues",
    "score_labels",
    "transition_rates",
    "write_label_issues",
]
