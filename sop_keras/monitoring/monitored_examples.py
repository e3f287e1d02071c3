"""The examples that a NoiseMonitor looks at, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sop_keras.core import label_checks

if TYPE_CHECKING:
    from sop_keras.core.model import NoisyLabelModel

# How far images in [0, 1] may lie outside: nothing that could be seen in bytes.
_ROUNDING = 1e-3


class MonitoredExamples:
    """Labels, rows and images of training examples, as `NoiseMonitor` takes them.

    Args:
        labels: as of `NoiseMonitor`.
        ids: likewise.
        clean_labels: likewise.
        images: likewise.
        class_names: likewise.

    Attributes:
        labels: the given labels, int64, shape `(n,)`.
        ids: the examples' rows, int64, `(n,)`.
        clean_labels: like `labels`, or None.
        class_names: one a class; made up by `check` where there are none.

    Raises:
        ValueError: for arrays of other shapes, and images that are out of range.
    """

    def __init__(
        self,
        labels: Any,
        ids: Any = None,
        clean_labels: Any = None,
        images: Any = None,
        class_names: Sequence[Any] | None = None,
    ):
        self.labels = _integers("labels", labels)
        size = len(self.labels)
        if not size:
            raise ValueError(
                "`labels` must be those of at least one training example. Received: "
                "none."
            )
        self._have_ids = ids is not None
        self.ids = np.asarray(ids) if self._have_ids else np.arange(size)
        _check_length("ids", len(self.ids), size)
        self.clean_labels: np.ndarray | None = None
        if clean_labels is not None:
            self.clean_labels = _integers("clean_labels", clean_labels)
            _check_length("clean_labels", len(self.clean_labels), size)
        self._images = images
        if images is not None and not callable(images):
            self._images = np.asarray(images)
            _check_length("images", len(images), size)
            _check_images(self._images)
        self.class_names: list[str] | None = None
        if class_names is not None:
            self.class_names = [str(name) for name in class_names]

    @property
    def have_images(self) -> bool:
        """Whether there are images."""
        return self._images is not None

    def check(self, model: NoisyLabelModel) -> None:
        """Check that they can be the model's training examples.

        Raises:
            ValueError: for ids or labels out of range, labels without ids that are not
                as many as the model's examples, or another number of names.
        """
        if not self._have_ids and len(self.labels) != model.num_examples:
            raise ValueError(
                f"`labels` must be those of all num_examples={model.num_examples} "
                "training examples of the model, or come with `ids`. Received: "
                f"{len(self.labels)} labels without ids."
            )
        self.ids = label_checks.check_indices(self.ids, model.num_examples)
        for name in ("labels", "clean_labels"):
            if (labels := getattr(self, name)) is not None:
                label_checks.check_labels(labels, model.num_classes)
        if self.class_names is None:
            self.class_names = [str(label) for label in range(model.num_classes)]
        if len(self.class_names) != model.num_classes:
            raise ValueError(
                f"`class_names` must be {model.num_classes}, one for each class of the "
                f"model. Received: {len(self.class_names)}."
            )

    def check_record(self, model: NoisyLabelModel) -> None:
        """Check that the labels are those that the model was trained on so far.

        Raises:
            ValueError: if one is another, as in another order of the examples.
        """
        is_other = model.training_record.other_label(self.ids, self.labels)
        if is_other.any():
            first = is_other.argmax()
            raise ValueError(
                f"{is_other.sum()} of the {len(self.labels)} `labels` are not those "
                f"that `fit` trains on: the first is {self.labels[first]}, for the "
                f"index {self.ids[first]}. All that is shown would be wrong. Pass the "
                "labels of `fit`, in the same order, or with their `ids`."
            )

    def images_at(self, positions: np.ndarray) -> np.ndarray:
        """Their images at `positions`, uint8 of shape `(k, h, w, 1 or 3)`.

        Raises:
            ValueError: where a function gives other images.
        """
        if not callable(self._images):
            return _as_bytes(self._images[positions])
        images = np.asarray(self._images(positions))
        _check_length("images(positions)", len(images), len(positions))
        _check_images(images)
        return _as_bytes(images)


def _integers(name: str, labels: Any) -> np.ndarray:
    """Integers of shape `(n,)`, of such or of one-hot rows."""
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] > 1:
        return label_checks.check_labels(labels, labels.shape[1]).argmax(axis=-1)
    if labels.ndim == 2:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(
            f"`{name}` must be integers of shape (n,), or one-hot rows. Received: "
            f"{labels.dtype} of shape {labels.shape}."
        )
    return labels.astype(np.int64)


def _check_length(name: str, length: int, expected: int) -> None:
    if length != expected:
        raise ValueError(
            f"`{name}` must have an entry for each of the {expected} examples, in the "
            f"same order. Received: {length}."
        )


def _check_images(images: np.ndarray) -> None:
    is_bytes = images.dtype == np.uint8
    if (
        images.ndim != 4
        or images.shape[-1] not in (1, 3)
        or not (is_bytes or images.dtype.kind == "f")
    ):
        raise ValueError(
            "`images` must be uint8, or of floating point in [0, 1], of shape (n, "
            f"height, width, 1 or 3). Received: {images.dtype} of shape {images.shape}."
            " Grey images need a last axis of 1: images[..., None]."
        )
    if is_bytes:
        return
    low, high = float(images.min()), float(images.max())
    # NaN is no number of the range either.
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
        raise ValueError(
            "`images` of floating point must be in [0, 1]. Received: values from "
            f"{low:g} to {high:g}. Give those of [0, 255] as uint8 or divided by 255; "
            "of standardised ones, the images before that, which people can read."
        )


def _as_bytes(images: np.ndarray) -> np.ndarray:
    if images.dtype == np.uint8:
        return images
    return np.round(255 * np.clip(images, 0, 1)).astype(np.uint8)
