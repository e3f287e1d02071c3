"""Labels of which some are wrong, with the truth beside them."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np

from sop_keras.label_noise.arguments import checked_labels
from sop_keras.validation import check_integer

_LOGGER = logging.getLogger("sop_keras.label_noise")

# Beyond this many classes the matrix is too wide for a log.
_MAX_CLASSES_IN_LOG = 20


@dataclass(frozen=True, eq=False)  # == of arrays has no truth value
class NoisyLabels:
    """The given and the true label of every example, and what follows from them.

    Args:
        clean_labels: integers in `[0, num_classes)`, shape `(n,)`: the true labels.
        labels: the same for the labels to train on. Both are stored as int64.
        num_classes: the number of classes K, at least 2.

    Raises:
        ValueError: if labels are not class numbers, or the two differ in length.
    """

    clean_labels: np.ndarray
    labels: np.ndarray
    num_classes: int

    def __post_init__(self) -> None:
        num_classes = check_integer("num_classes", self.num_classes, 2)
        clean_labels = checked_labels(self.clean_labels, num_classes)
        labels = checked_labels(self.labels, num_classes)
        if len(clean_labels) != len(labels):
            raise ValueError(
                "`clean_labels` and `labels` must be of the same examples. Received: "
                f"{len(clean_labels)} clean labels and {len(labels)} noisy ones."
            )
        # The only way to normalise a field of a frozen dataclass.
        object.__setattr__(self, "num_classes", num_classes)
        object.__setattr__(self, "clean_labels", clean_labels)
        object.__setattr__(self, "labels", labels)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def is_wrong(self) -> np.ndarray:
        """Bool array, shape `(n,)`: whether the label differs from the true one."""
        return self.labels != self.clean_labels

    @property
    def noise_rate(self) -> float:
        """The realised rate: the fraction of labels that are wrong, in `[0, 1]`."""
        return float(np.mean(self.is_wrong))

    @property
    def transition_matrix(self) -> np.ndarray:
        """The realised transition matrix, float64, shape `(K, K)`.

        Entry `(i, j)` is the fraction of the examples of true class i that are
        labelled j. Rows sum to 1; that of a class without examples is all zeros.
        """
        shape = self.num_classes, self.num_classes
        counts = np.bincount(self._pairs(), minlength=math.prod(shape)).reshape(shape)
        return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)

    def log(self, name: str) -> None:
        """Logs the realised rate and matrix at level INFO.

        The logger is `sop_keras.label_noise`. With more than 20 classes the matrix
        gives way to the number of pairs (true class, wrong label) that occur.

        Args:
            name: what to call the noise in the log.
        """
        if self.num_classes <= _MAX_CLASSES_IN_LOG:
            matrix = np.array2string(
                self.transition_matrix,
                precision=3,
                floatmode="fixed",
                max_line_width=200,
                threshold=self.num_classes**2,
            )
            details = f"true class (row) to label (column):\n{matrix}"
        else:
            pairs = np.unique(self._pairs()[self.is_wrong])
            details = f"{len(pairs)} pairs (true class, wrong label)"
        _LOGGER.info(
            "%s label noise: %d of %d labels are wrong (%.2f%%); %s",
            name,
            self.is_wrong.sum(),
            len(self),
            100 * self.noise_rate,
            details,
        )

    def _pairs(self) -> np.ndarray:
        """A number for each pair of true class and label, `(n,)`."""
        return self.clean_labels * self.num_classes + self.labels
