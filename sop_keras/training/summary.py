"""The figures that a run ends with."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from sop_keras.data import evaluation_batches
from sop_keras.sop import SOPModel
from sop_keras.training.experiment import ExperimentData


def summarize(
    model: keras.Model, data: ExperimentData, history: list[dict[str, Any]]
) -> dict[str, Any]:
    """The figures of a complete run.

    Accuracies are fractions in [0, 1], those of the training examples without
    augmentation. `noise_auroc` says how well the method's noise score ranks the wrong
    labels above the right ones; None where there are none of either.

    Args:
        model: trained.
        data: what it was trained on.
        history: a row an epoch, with `test_accuracy`.
    """
    logits = model.predict(evaluation_batches(data.train, data.source), verbose=0)
    predictions = logits.argmax(axis=-1)
    given = data.train.labels
    is_wrong = given != data.train_clean_labels
    test = [row["test_accuracy"] for row in history]
    best = int(np.argmax(test))
    kind, scores = noise_scores(model, data, logits)
    return {
        "final_test_accuracy": test[-1],
        "best_test_accuracy": test[best],
        "best_epoch": history[best]["epoch"],
        "final_validation_accuracy": history[-1].get("val_accuracy"),
        "train_accuracy_given_labels": float((predictions == given).mean()),
        "train_accuracy_clean_labels": float(
            (predictions == data.train_clean_labels).mean()
        ),
        "noise_rate": float(is_wrong.mean()),
        "noise_score": kind,
        "noise_auroc": auroc(scores, is_wrong),
        "num_train": len(given),
        "num_validation": len(data.validation),
        "num_test": len(data.test),
    }


def noise_scores(
    model: keras.Model, data: ExperimentData, logits: np.ndarray
) -> tuple[str, np.ndarray]:
    """A score for every training example, higher where its label looks wrong.

    SOP and SOP+: ||s||_1, the estimated noise. Cross entropy: the example's own loss,
    the usual yardstick.

    Returns:
        What the score is, and the scores, shape `(n,)`.
    """
    if isinstance(model, SOPModel):
        noise = model.estimate_noise(data.train.ids, data.train.labels)
        return "estimated noise ||s||_1", np.abs(noise).sum(axis=-1)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    own = np.take_along_axis(shifted, data.train.labels[:, None], axis=-1)[:, 0]
    return "cross entropy", np.log(np.exp(shifted).sum(axis=-1)) - own


def auroc(scores: np.ndarray, is_wrong: np.ndarray) -> float | None:
    """Area under the ROC curve of `scores` for finding `is_wrong`; ties count half.

    None where all or none are wrong, or a score is not finite.
    """
    if is_wrong.all() or not is_wrong.any() or not np.isfinite(scores).all():
        return None
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(is_wrong, scores))
