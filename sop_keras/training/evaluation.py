"""What a saved classifier is worth on labelled images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sop_keras.core.model import SOPModel
from sop_keras.data.batches.pipelines import evaluation_batches
from sop_keras.data.datasets.dataset import Examples, Source
from sop_keras.data.images.bad_images import BadImages
from sop_keras.methods.cross_entropy import CrossEntropyModel

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
    shifted = outputs - outputs.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


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

    It keeps counts and sums alone, K x K of them, however many examples there are.

    The expected calibration error is that of Guo et al., "On Calibration of Modern
    Neural Networks", ICML 2017: with the examples put into 15 bins of equal width by
    the largest probability that the network gives them, the mean over all examples of
    |accuracy - mean confidence| of their bin.

    Args:
        num_classes: K.
        from_logits: whether the outputs are logits (True) or probabilities.

    Attributes:
        confusion: int64 array, shape `(K, K)`: how many examples of each label (row)
            were taken for each class (column).
        k: of `top_k_accuracy`: 5, or K where there are fewer classes.
    """

    def __init__(self, num_classes: int, from_logits: bool = True):
        self.from_logits = from_logits
        self.confusion = np.zeros((num_classes, num_classes), np.int64)
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
        np.add.at(self.confusion, (labels, predictions), 1)
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
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """The share of the examples that are classified right, in [0, 1]."""
        return float(np.trace(self.confusion) / self.num_images)

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
        return _ratios(np.diag(self.confusion), self.confusion.sum(axis=1))

    @property
    def class_precisions(self) -> np.ndarray:
        """How often each class is right when predicted, `(K,)`; NaN if it never is."""
        return _ratios(np.diag(self.confusion), self.confusion.sum(axis=0))

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


def choose_parts(
    source: Source, names: Sequence[str] | None = None
) -> dict[str, Examples]:
    """Parts of a data set, by name.

    Args:
        source: the data set.
        names: of `source.tests`, `"validation"` or `"train"`. Defaults to `None`: all
            tests; where there are none, the validation part.

    Raises:
        ValueError: for a name that the data set does not have, or if there is nothing
            to choose.
    """
    parts = dict(source.tests)
    if source.validation is not None:
        parts["validation"] = source.validation
    chosen = list(source.tests or parts) if names is None else list(names)
    parts["train"] = source.train
    if not chosen:
        raise ValueError(
            f"{source.name} has neither test nor validation examples. Choose what it "
            f"has: {', '.join(parts)}."
        )
    if unknown := [name for name in chosen if name not in parts]:
        raise ValueError(
            f"{source.name} has the parts {', '.join(parts)}. Received: "
            f"{', '.join(unknown)}."
        )
    return {name: parts[name] for name in chosen}


def load_classifier(path: str | os.PathLike[str]) -> keras.Model:
    """The model in a file, to be used as it is, not trained.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not one that Keras can load.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no model {path}. Give the file of a saved Keras model, such as "
            "the backbone.keras of a complete run."
        )
    try:
        model = keras.saving.load_model(path, compile=False)
    except Exception as error:  # whatever the readers of zip, JSON and HDF5 raise
        # Where classes are unknown, Keras puts all of the model's settings around it.
        reason = str(error).rpartition("Exception encountered: ")[2].strip()
        reason = reason.partition(" Full object config")[0].partition("\n")[0]
        raise ValueError(
            f"{path} cannot be loaded. It must be a Keras model, whole, saved by "
            "model.save() of Keras 3, and free of layers of other packages. Keras "
            f"says: {reason or type(error).__name__}"
        ) from error
    if not isinstance(model, keras.Model):
        raise ValueError(f"{path} holds a {type(model).__name__}, not a keras.Model.")
    return model


def input_shape(model: keras.Model) -> tuple[int | None, ...] | None:
    """`(height, width, channels)` of the images that a model takes.

    Returns:
        The shape, with None for what may be of any size; or None where the model does
        not say.

    Raises:
        ValueError: if it takes anything else than one batch of images.
    """
    if isinstance(model, (SOPModel, CrossEntropyModel)):
        model = model.backbone
    shape = getattr(model, "input_shape", None)
    if shape is not None and (
        not isinstance(shape, tuple)
        or len(shape) != 4
        or any(isinstance(size, tuple) for size in shape)
    ):
        raise ValueError(
            "The model must take one batch of images, of shape (batch_size, height, "
            f"width, channels). Its inputs are: {shape}."
        )
    return None if shape is None else shape[1:]


def check_image_shape(model: keras.Model, source: Source) -> None:
    """Check that the model takes images of the size that the data set gives.

    Raises:
        ValueError: if it does not.
    """
    expected, given = input_shape(model), source.train.image_shape
    if expected is not None and any(
        size not in (None, other) for size, other in zip(expected, given, strict=True)
    ):
        raise ValueError(
            f"The model takes images of shape {expected}, those of {source.name} are "
            f"{given}. Choose the data set that it was trained on or one like it; "
            "images in files can be cut to its size (image_size, at most resize)."
        )


def evaluate_part(
    model: keras.Model,
    source: Source,
    part: str,
    bad_images: BadImages | None = None,
) -> Evaluation:
    """Evaluate a model on one part of a data set, under the labels it has there.

    No more than a batch of images and outputs is in memory.

    Args:
        model: gives logits or probabilities, shape `(batch_size, num_classes)`; which
            of them, its outputs for the first batch tell (`are_probabilities`).
        source: the data set; images are standardised with its `mean` and `std`.
        part: a name as for `choose_parts`.
        bad_images: what images that cannot be read are reported to, and left out.
            Defaults to `None`: they are an error.

    Raises:
        ValueError: if there is no such part, the images or the outputs are of another
            size, or an output is not finite.
        TooManyBadImagesError: if too many images cannot be used.
    """
    examples = choose_parts(source, [part])[part]
    check_image_shape(model, source)
    batches = evaluation_batches(examples, source, part=part, bad_images=bad_images)
    evaluation = None
    try:
        for images, labels in batches.as_numpy_iterator():
            outputs = _outputs(model, images, source)
            if evaluation is None:
                evaluation = Evaluation(
                    source.num_classes, from_logits=not are_probabilities(outputs)
                )
            evaluation.add(outputs, labels)
    except tf.errors.OpError:
        if bad_images is not None and bad_images.error is not None:
            raise bad_images.error from None  # what TensorFlow says is a long trace
        raise
    if evaluation is None:
        raise ValueError(
            f"None of the {len(examples)} images of the {part} examples can be used."
        )
    return evaluation


def _outputs(model: keras.Model, images: np.ndarray, source: Source) -> np.ndarray:
    outputs = model.predict_on_batch(images)
    expected = (len(images), source.num_classes)
    shape = getattr(outputs, "shape", None)
    if shape != expected:
        received = "several outputs" if shape is None else f"an output of shape {shape}"
        raise ValueError(
            f"The model must give {expected[1]} numbers for an image, one for each "
            f"class of {source.name}: shape {expected} for {len(images)} images. "
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
