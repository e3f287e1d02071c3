"""What a saved classifier is worth on labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sop_keras.data.batches.pipelines import evaluation_batches
from sop_keras.data.datasets.dataset import Dataset, Examples
from sop_keras.data.images.bad_images import BadImages
from sop_keras.drawing.cells import MOST_CLASSES
from sop_keras.log_softmax import log_softmax
from sop_keras.training.image_views import image_views, mean_of_views
from sop_keras.training.saved_classifier import check_image_shape

NUM_BINS = 15

_TOP = 5
# Keras' own bound of the probabilities that it takes logarithms of.
_LEAST_PROBABILITY = 1e-7
# Of a sum of probabilities in half precision.
_SUM_TOLERANCE = 0.01


def label_ranks(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The place of each label among the classes, best first, from 0.

    Of classes with equal outputs, the one with the smaller number comes first, as in
    `argmax`: the examples with rank 0 are those that are classified right, and a
    network that gives the same output for all classes is not right about all.

    Args:
        outputs: of a network, shape `(n, K)`, higher for likelier classes.
        labels: integers `(n,)` in `[0, K)`.

    Returns:
        int64 array, shape `(n,)`, values in `[0, K)`.
    """
    own = np.take_along_axis(outputs, labels[:, None], axis=-1)
    is_before = np.arange(outputs.shape[-1]) < labels[:, None]
    return ((outputs > own) | ((outputs == own) & is_before)).sum(axis=-1)


def are_probabilities(outputs: np.ndarray) -> bool:
    """Whether all rows, shape `(n, K)`, are distributions; otherwise they are logits.

    Sums may be off by 0.01, for networks that compute in half precision.
    """
    sums = outputs.sum(axis=-1)
    return bool((outputs >= 0).all() and (np.abs(sums - 1) <= _SUM_TOLERANCE).all())


def log_probabilities(outputs: np.ndarray, from_logits: bool) -> np.ndarray:
    """Logarithms of the classes' probabilities, shape `(n, K)`.

    Args:
        outputs: logits or probabilities, shape `(n, K)`. Probabilities are made to sum
            to 1, and those below 1e-7 count as 1e-7, as in Keras' losses.
        from_logits: which of the two they are.
    """
    if not from_logits:
        probabilities = outputs / outputs.sum(axis=-1, keepdims=True)
        return np.log(np.clip(probabilities, _LEAST_PROBABILITY, 1))
    return log_softmax(outputs)


def confidence_bins(confidences: np.ndarray) -> np.ndarray:
    """The bin of each confidence, one of 15 of equal width.

    Bin b holds the confidences above b / 15, up to (b + 1) / 15 itself.

    Args:
        confidences: shape `(n,)`, in (0, 1].

    Returns:
        int64 array, shape `(n,)`, values from 0 to 14.
    """
    upper = np.arange(1, NUM_BINS + 1) / NUM_BINS
    # Rounded, a confidence may be a little above 1.
    return np.minimum(np.searchsorted(upper, confidences), NUM_BINS - 1)


class Evaluation:
    """The figures of a classifier on some examples, added up batch by batch.

    It keeps counts and sums alone, K x K of them for up to `MOST_CLASSES` classes, else
    3 K, however many examples there are.

    The expected calibration error is that of Guo et al., "On Calibration of Modern
    Neural Networks", ICML 2017: with the examples put into 15 bins of equal width by
    the largest probability that the network gives them, the mean over all examples of
    |accuracy - mean confidence| of their bin.

    Args:
        num_classes: K.
        from_logits: whether the outputs are logits (True) or probabilities.

    Attributes:
        confusion: int64 array, shape `(K, K)`: how many examples of each label (row)
            were taken for each class (column); None of more than `MOST_CLASSES`.
        num_of_label: int64 array, shape `(K,)`: how many examples have each label.
        num_predicted: likewise: how many were taken for each class.
        num_correct: likewise: how many of each label were taken for it.
        k: of `top_k_accuracy`: 5, or K where there are fewer classes.
    """

    def __init__(self, num_classes: int, from_logits: bool = True):
        self.from_logits = from_logits
        self.confusion = None
        if num_classes <= MOST_CLASSES:
            self.confusion = np.zeros((num_classes, num_classes), np.int64)
        self.num_of_label, self.num_predicted, self.num_correct = np.zeros(
            (3, num_classes), np.int64
        )
        self.k = min(_TOP, num_classes)
        self._num_in_top_k = 0
        self._loss_sum = 0.0
        self._bin_images = np.zeros(NUM_BINS, np.int64)
        self._bin_correct = np.zeros(NUM_BINS, np.int64)
        self._bin_confidence = np.zeros(NUM_BINS)

    def add(self, outputs: np.ndarray, labels: np.ndarray) -> None:
        """Take a batch into account.

        Args:
            outputs: of the network, shape `(n, K)`, all finite.
            labels: integers `(n,)` in `[0, K)`.
        """
        predictions = outputs.argmax(axis=-1)
        if self.confusion is not None:
            np.add.at(self.confusion, (labels, predictions), 1)
        np.add.at(self.num_of_label, labels, 1)
        np.add.at(self.num_predicted, predictions, 1)
        np.add.at(self.num_correct, labels, predictions == labels)
        self._num_in_top_k += int((label_ranks(outputs, labels) < self.k).sum())
        logs = log_probabilities(outputs, self.from_logits)
        self._loss_sum -= float(np.take_along_axis(logs, labels[:, None], -1).sum())
        confidences = np.exp(logs.max(axis=-1))
        bins = confidence_bins(confidences)
        np.add.at(self._bin_images, bins, 1)
        np.add.at(self._bin_correct, bins, predictions == labels)
        np.add.at(self._bin_confidence, bins, confidences)

    @property
    def num_images(self) -> int:
        """How many examples there were."""
        return int(self.num_of_label.sum())

    @property
    def accuracy(self) -> float:
        """The share of the examples that are classified right, in [0, 1]."""
        return float(self.num_correct.sum() / self.num_images)

    @property
    def top_k_accuracy(self) -> float:
        """The share of those with their label among the k best (`label_ranks`)."""
        return self._num_in_top_k / self.num_images

    @property
    def cross_entropy(self) -> float:
        """The mean over the examples, in nats."""
        return self._loss_sum / self.num_images

    @property
    def class_accuracies(self) -> np.ndarray:
        """The accuracy (recall) of each class, `(K,)`; NaN where it has no examples."""
        return _ratios(self.num_correct, self.num_of_label)

    @property
    def class_precisions(self) -> np.ndarray:
        """How often each class is right when predicted, `(K,)`; NaN if it never is."""
        return _ratios(self.num_correct, self.num_predicted)

    @property
    def calibration_error(self) -> float:
        """The expected calibration error, in [0, 1]."""
        gaps = np.abs(self._bin_correct - self._bin_confidence)
        return float(gaps.sum() / self.num_images)

    def calibration(self) -> list[dict[str, Any]]:
        """For each bin of confidence its bounds, examples, confidence and accuracy.

        The last two are means, None where the bin is empty.
        """
        images = self._bin_images
        confidences = _ratios(self._bin_confidence, images)
        accuracies = _ratios(self._bin_correct, images)
        return [
            {
                "above": place / NUM_BINS,
                "up_to": (place + 1) / NUM_BINS,
                "images": int(images[place]),
                "confidence": _number(confidences[place]),
                "accuracy": _number(accuracies[place]),
            }
            for place in range(NUM_BINS)
        ]

    def figures(self) -> dict[str, Any]:
        """All figures but the confusion matrix, as JSON knows them."""
        return {
            "num_images": self.num_images,
            "accuracy": self.accuracy,
            "k": self.k,
            "top_k_accuracy": self.top_k_accuracy,
            "cross_entropy": self.cross_entropy,
            "expected_calibration_error": self.calibration_error,
            "outputs": "logits" if self.from_logits else "probabilities",
            "class_accuracies": [_number(one) for one in self.class_accuracies],
            "class_precisions": [_number(one) for one in self.class_precisions],
            "calibration": self.calibration(),
        }


def choose_splits(
    dataset: Dataset, names: Sequence[str] | None = None
) -> dict[str, Examples]:
    """Parts of a data set, by name.

    Args:
        dataset: the data set.
        names: of `dataset.tests`, `"validation"` or `"train"`. Defaults to `None`: all
            tests; where there are none, the validation split.

    Raises:
        ValueError: for a name that the data set does not have, or if there is nothing
            to choose.
    """
    splits = dict(dataset.tests)
    if dataset.validation is not None:
        splits["validation"] = dataset.validation
    chosen = list(dataset.tests or splits) if names is None else list(names)
    splits["train"] = dataset.train
    if not chosen:
        raise ValueError(
            f"{dataset.name} has neither test nor validation examples. Choose what it "
            f"has: {', '.join(splits)}."
        )
    if unknown := [name for name in chosen if name not in splits]:
        raise ValueError(
            f"{dataset.name} has the splits {', '.join(splits)}. Received: "
            f"{', '.join(unknown)}."
        )
    return {name: splits[name] for name in chosen}


def evaluate_split(
    model: keras.Model,
    dataset: Dataset,
    split: str,
    bad_images: BadImages | None = None,
    test_views: str = "none",
) -> Evaluation:
    """Evaluate a model on one split of a data set, under the labels it has there.

    No more than a batch of images and outputs is in memory.

    Args:
        model: gives logits or probabilities, shape `(batch_size, num_classes)`; which
            of them, its outputs for the first batch tell (`are_probabilities`).
        dataset: the data set; images are standardised with its `mean` and `std`.
        split: a name as for `choose_splits`.
        bad_images: what images that cannot be read are reported to, and left out.
            Defaults to `None`: they are an error.
        test_views: of which views of each image the mean is evaluated, one of
            `TEST_VIEWS`: of logits, or of logarithms of probabilities. Defaults to
            `"none"`: of the image alone.

    Raises:
        ValueError: if there is no such split, the images or the outputs are of another
            size, an output is not finite, or there are no such views of the images.
        TooManyBadImagesError: if too many images cannot be used.
    """
    examples = choose_splits(dataset, [split])[split]
    check_image_shape(model, dataset)
    batches = evaluation_batches(examples, dataset, split=split, bad_images=bad_images)
    evaluation, are_logits = None, True
    try:
        for images, labels in batches.as_numpy_iterator():
            views = image_views(images, test_views)
            outputs = [_outputs(model, view, dataset) for view in views]
            if evaluation is None:
                are_logits = not are_probabilities(outputs[0])
                evaluation = Evaluation(
                    dataset.num_classes, from_logits=are_logits or len(outputs) > 1
                )
            if len(outputs) > 1 and not are_logits:
                outputs = [log_probabilities(one, False) for one in outputs]
            evaluation.add(mean_of_views(outputs, test_views), labels)
    except tf.errors.OpError:
        if bad_images is not None and bad_images.error is not None:
            raise bad_images.error from None  # what TensorFlow says is a long trace
        raise
    if evaluation is None:
        raise ValueError(
            f"None of the {len(examples)} images of the {split} examples can be used."
        )
    return evaluation


def _outputs(model: keras.Model, images: np.ndarray, dataset: Dataset) -> np.ndarray:
    outputs = model.predict_on_batch(images)
    expected = (len(images), dataset.num_classes)
    shape = getattr(outputs, "shape", None)
    if shape != expected:
        received = "several outputs" if shape is None else f"an output of shape {shape}"
        raise ValueError(
            f"The model must give {expected[1]} numbers for an image, one for each "
            f"class of {dataset.name}: shape {expected} for {len(images)} images. "
            f"Received: {received}. Choose the data set, or the number of its classes, "
            "that the model was trained on."
        )
    outputs = np.asarray(outputs, np.float64)
    if not np.isfinite(outputs).all():
        raise ValueError(
            "The model gives outputs that are NaN or infinite; there is nothing to "
            "measure. Did its training diverge?"
        )
    return outputs


def _ratios(parts: np.ndarray, wholes: np.ndarray) -> np.ndarray:
    """`parts / wholes`, NaN for 0 / 0."""
    nan = np.full(len(wholes), np.nan)
    return np.divide(parts, wholes, out=nan, where=wholes > 0)


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)
