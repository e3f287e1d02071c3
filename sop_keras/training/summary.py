"""The figures that a run ends with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sop_keras.core.model import NoisyLabelModel
from sop_keras.core.prediction import batch_predictor
from sop_keras.data.batches.pipelines import evaluation_batches
from sop_keras.data.images.bad_images import BadImages
from sop_keras.data.images.encoded_images import EncodedImages
from sop_keras.label_issues.detection import auroc, detection_figures
from sop_keras.label_issues.export import write_label_issues
from sop_keras.label_issues.find import LabelScores
from sop_keras.log_softmax import log_softmax
from sop_keras.training.experiment_data import ExperimentData
from sop_keras.training.image_views import image_views, mean_of_views

if TYPE_CHECKING:
    import pandas as pd


def summarize(
    model: NoisyLabelModel,
    data: ExperimentData,
    history: list[dict[str, Any]],
    noise_score: str,
    bad_images: BadImages | None = None,
    test_views: str = "none",
) -> tuple[dict[str, Any], pd.DataFrame | None]:
    """The figures of a complete run, and its label issues.

    Accuracies are fractions in [0, 1], those of the training examples without
    augmentation. `noise_auroc` says how well the method's noise score ranks the wrong
    labels above the right ones; None where there are none of either. `detection` has
    the figures of `label_quality` and `is_label_issue` (`detection_figures`). What
    needs clean labels is None where they are not known. `doubts` says, of a method that
    finds label issues, why they are not to be trusted: sentences, none if they are.
    `class_figures` has what the method says of each class.

    Args:
        model: trained.
        data: what it was trained on.
        history: a row an epoch, with the accuracy on each test set.
        noise_score: what the method ranks wrong labels by, as text.
        bad_images: what training images that cannot be read are reported to. Defaults
            to `None`: they are an error.
        test_views: of which views of each image there are accuracies beside the plain
            ones, `final_test_accuracy_flip` and so on, one of `TEST_VIEWS`. Defaults to
            `"none"`.

    Returns:
        The figures, and the table that `NoisyLabelModel.label_issues` gives; None for a
        method that finds none.
    """
    train = predict_train(model, data, bad_images)
    positions, predictions = train.positions, train.predictions
    given = data.train.labels[positions]
    figures = {
        **_test_figures(data, history),
        "final_validation_accuracy": history[-1].get("val_accuracy"),
        **_figures_of_views(model, data, test_views, bad_images),
        "train_accuracy_given_labels": float((predictions == given).mean()),
        "train_accuracy_clean_labels": None,
        "noise_rate": None,
        "noise_score": noise_score,
        "noise_auroc": None,
        "num_label_issues": None,
        "detection": None,
        "num_train": len(data.train),
        "num_validation": len(data.validation),
    }
    if train.issues is not None:
        figures["doubts"] = train.doubts
    figures["class_figures"] = {
        name: [float(f"{value:.6g}") for value in values]
        for name, values in model.method.class_figures(model.shared_values()).items()
    }
    figures.update({f"num_{name}": len(part) for name, part in data.tests.items()})
    if bad_images is not None:
        figures["num_bad_images"] = bad_images.counts()
    if train.issues is not None:
        figures["num_label_issues"] = int(train.issues["is_label_issue"].sum())
    if data.train.clean_labels is not None:
        clean = data.train.clean_labels[positions]
        figures["train_accuracy_clean_labels"] = float((predictions == clean).mean())
        figures["noise_rate"] = float((given != clean).mean())
        if train.issues is None:
            figures["noise_auroc"] = auroc(train.losses, given != clean)
        else:
            figures |= _found(train.issues, given != clean)
    return figures, train.issues


def write_issues(path: Path, issues: pd.DataFrame, data: ExperimentData) -> None:
    """Write the label issues of a run, with the files of images that have some.

    Args:
        path: where to.
        issues: as `summarize` gives them.
        data: what they are of.
    """
    images, files = data.train.images, None
    if isinstance(images, EncodedImages):
        ids = data.train.ids.tolist()
        files = {one: images.name(place) for place, one in enumerate(ids)}
    write_label_issues(issues, path, data.dataset.class_names, files)


def _found(issues: pd.DataFrame, is_wrong: np.ndarray) -> dict[str, Any]:
    """How well wrong labels are found among the examples that were trained on."""
    is_known = np.isfinite(issues["label_quality"].to_numpy())
    issues, is_wrong = issues[is_known], is_wrong[is_known]
    return {
        "noise_auroc": auroc(issues["noise_score"].to_numpy(), is_wrong),
        "detection": detection_figures(
            issues["label_quality"].to_numpy(),
            issues["is_label_issue"].to_numpy(),
            is_wrong,
        ),
    }


def _test_figures(
    data: ExperimentData, history: list[dict[str, Any]]
) -> dict[str, Any]:
    """Accuracies after the last epoch and after the one that was best on `"test"`."""
    figures: dict[str, Any] = {}
    for name in data.tests:
        accuracies = [row[f"{name}_accuracy"] for row in history]
        figures[f"final_{name}_accuracy"] = accuracies[-1]
        figures[f"best_{name}_accuracy"] = max(accuracies)
    if "test" in data.tests:
        best = int(np.argmax([row["test_accuracy"] for row in history]))
        figures["best_epoch"] = history[best]["epoch"]
    return figures


def _figures_of_views(
    model: NoisyLabelModel,
    data: ExperimentData,
    test_views: str,
    bad_images: BadImages | None,
) -> dict[str, Any]:
    """The accuracies of the means of views, of what is not trained on."""
    figures: dict[str, Any] = {}
    if test_views == "none":
        return figures
    predict = batch_predictor(model)
    for name, examples in {**data.tests, "validation": data.validation}.items():
        if not len(examples):
            continue
        batches = evaluation_batches(
            examples, data.dataset, split=name, bad_images=bad_images
        )
        are_right = []
        for images, labels in batches.as_numpy_iterator():
            outputs = [predict(view) for view in image_views(images, test_views)]
            predictions = mean_of_views(outputs, test_views).argmax(axis=-1)
            are_right.append(predictions == labels)
        accuracy = float(np.concatenate(are_right).mean())
        figures[f"final_{name}_accuracy_{test_views}"] = accuracy
    return figures


@dataclass(frozen=True)
class TrainPredictions:
    """What the network says of the training examples, without augmentation.

    Args:
        positions: places of those that can be read, ascending, shape `(n,)`.
        predictions: the class predicted for each.
        losses: the cross entropy of its given label.
        issues: their table of label issues; None of a method that finds none.
        doubts: why that is not to be trusted.
    """

    positions: np.ndarray
    predictions: np.ndarray
    losses: np.ndarray
    issues: pd.DataFrame | None
    doubts: list[str]


def predict_train(
    model: NoisyLabelModel, data: ExperimentData, bad_images: BadImages | None
) -> TrainPredictions:
    """Have the network look at all training examples once."""
    batches = evaluation_batches(
        data.train,
        data.dataset,
        split="train",
        bad_images=bad_images,
        with_positions=True,
    )
    predict = batch_predictor(model)
    scores = LabelScores(model) if model.method.finds_label_issues else None
    positions, predictions, losses = [], [], []
    for images, batch in batches.as_numpy_iterator():
        logits, labels = predict(images), data.train.labels[batch]
        positions.append(batch)
        predictions.append(logits.argmax(axis=-1))
        losses.append(cross_entropy(logits, labels))
        if scores is not None:
            scores.add(logits, data.train.ids[batch], labels)
    issues = None if scores is None else scores.table()
    return TrainPredictions(
        np.concatenate(positions),
        np.concatenate(predictions),
        np.concatenate(losses),
        issues,
        [] if scores is None else [one.text for one in scores.doubts],
    )


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The loss of each example, shape `(n,)`, of logits `(n, K)` for integer labels."""
    log_probs = log_softmax(logits)
    return -np.take_along_axis(log_probs, labels[:, None], axis=-1)[:, 0]
