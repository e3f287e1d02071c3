"""What cleanlab takes and gives, from a model and its label issues.

cleanlab (github.com/cleanlab/cleanlab) is not imported: its functions take the arrays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from keras import ops

from sop_keras.core.data_errors import clear_data_errors
from sop_keras.core.prediction import batch_predictor
from sop_keras.label_issues.find import UniqueIds, check_batch_size, lookup_batches
from sop_keras.methods.objective import log_probabilities

if TYPE_CHECKING:
    import pandas as pd

    from sop_keras.core.model import SOPModel


def cleanlab_inputs(
    model: SOPModel, x: Any, y: Any = None, batch_size: int = 128
) -> tuple[np.ndarray, np.ndarray]:
    """The two arrays that the functions of cleanlab take.

        labels, pred_probs = cleanlab_inputs(model, x_train, y_train)
        cleanlab.filter.find_label_issues(labels, pred_probs)

    cleanlab asks for predictions of networks that have not seen the label
    (cross-validation); these are of one that was trained on it, under SOP.

    Args:
        model: trained.
        x: as of `SOPModel.label_issues`.
        y: likewise.
        batch_size: of the predictions, for arrays. Defaults to `128`.

    Returns:
        `labels`, int64 `(n,)`: the given labels; and `pred_probs`, float32
        `(n, num_classes)`: the network's probabilities, rows that sum to 1. Both in the
        order of the data, which for arrays is that of the ids. Memory: these two, and a
        batch.

    Raises:
        ValueError: for data that `SOPModel.label_issues` refuses, and a network that
            gives NaN.
    """
    check_batch_size(batch_size)
    given = np.empty(model.num_examples, np.int64)
    probs = np.empty((model.num_examples, model.num_classes), np.float32)
    ids, end = UniqueIds(model.num_examples), 0
    predict = batch_predictor(model)
    with clear_data_errors():
        for inputs, labels, index in lookup_batches(model, x, y, batch_size):
            ids.add(index)  # so that there is room for them
            start, end = end, end + len(index)
            given[start:end] = labels
            outputs = np.asarray(predict(inputs))
            probs[start:end] = _probabilities(outputs, model.from_logits)
    if not end:
        raise ValueError("There are no examples: the data gave no batch.")
    return given[:end], probs[:end]


def datalab_issues(issues: pd.DataFrame) -> pd.DataFrame:
    """Label issues with the columns of cleanlab's `Datalab.get_issues("label")`.

    Args:
        issues: as `SOPModel.label_issues` gives it. Datalab's rows are in the order of
            its data: sort a table that was read from a file by `id`.

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


def _probabilities(outputs: np.ndarray, from_logits: bool) -> np.ndarray:
    """Float32 rows that sum to 1, of the network's outputs."""
    if not np.isfinite(outputs).all():
        raise ValueError(
            "The network gives outputs that are NaN or infinite; they are no "
            "predictions. Did its training diverge?"
        )
    log_probs = log_probabilities(ops.cast(outputs, "float32"), from_logits)
    probs = np.exp(ops.convert_to_numpy(log_probs).astype(np.float64))
    return (probs / probs.sum(axis=-1, keepdims=True)).astype(np.float32)
