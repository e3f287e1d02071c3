"""What cleanlab takes and gives, from a model and its label issues.

cleanlab (github.com/cleanlab/cleanlab) is not imported: its functions take the arrays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sop_keras.label_issues.find import TrainedModel

if TYPE_CHECKING:
    import pandas as pd


def cleanlab_inputs(
    model: TrainedModel, x: Any, y: Any = None, batch_size: int = 128
) -> tuple[np.ndarray, ...]:
    """The two arrays that the functions of cleanlab take; of a stream, the ids too.

        labels, pred_probs = cleanlab_inputs(model, x_train, y_train)
        cleanlab.filter.find_label_issues(labels, pred_probs)

        labels, pred_probs, ids = cleanlab_inputs(model, with_index(dataset).batch(128))
        ids[cleanlab.filter.find_label_issues(labels, pred_probs)]

    cleanlab asks for predictions of networks that have not seen the label
    (cross-validation); these are of one that was trained on it, under SOP.

    Args:
        model: trained.
        x: as of `NoisyLabelModel.label_issues`.
        y: likewise.
        batch_size: of the predictions, for arrays. Defaults to `128`.

    Returns:
        `labels`, int64 `(n,)`: the given labels; `pred_probs`, float32
        `(n, num_classes)`: the network's probabilities, rows that sum to 1; and of a
        stream, whose order nobody else knows once it is shuffled, `ids`, int64 `(n,)`.
        All in the order of the data, that of x and y for arrays. Memory: these, and a
        batch.

    Raises:
        ValueError: for data that `NoisyLabelModel.label_issues` refuses, and a network
            that gives NaN.
    """
    given, all_ids = np.empty((2, model.num_examples), np.int64)
    probs = np.empty((model.num_examples, model.num_classes), np.float32)
    end = 0
    # No id comes twice, so that there is room for all.
    for outputs, labels, ids in model.looked_up(x, y, batch_size):
        start, end = end, end + len(ids)
        given[start:end] = labels
        all_ids[start:end] = ids
        probs[start:end] = _probabilities(model.log_probs(outputs))
    found = given[:end], probs[:end]
    # Arrays come with their labels, streams bring their own.
    return found if y is not None else (*found, all_ids[:end])


def datalab_issues(issues: pd.DataFrame) -> pd.DataFrame:
    """Label issues with the columns of cleanlab's `Datalab.get_issues("label")`.

    Args:
        issues: as `NoisyLabelModel.label_issues` gives it. Datalab's rows are in the
            order of its data: sort a table that was read from a file by `id`.

    Returns:
        A DataFrame with a row for each, in the same order: `is_label_issue`;
        `label_score`, the label's quality; `given_label`; and `predicted_label`: the
        suggested label where the given one is an issue, else the given one. Labels are
        class numbers.
    """
    import pandas as pd

    given, is_issue = issues["given_label"], issues["is_label_issue"]
    return pd.DataFrame(
        {
            "is_label_issue": is_issue,
            "label_score": issues["label_quality"],
            "given_label": given,
            "predicted_label": issues["suggested_label"].where(is_issue, given),
        }
    )


def _probabilities(log_probs: np.ndarray) -> np.ndarray:
    """Float32 rows that sum to 1."""
    probs = np.exp(log_probs.astype(np.float64))
    return (probs / probs.sum(axis=-1, keepdims=True)).astype(np.float32)
