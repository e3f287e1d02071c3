"""What a data set looks like to the rest of the library."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Examples:
    """Some examples of a data set, each with the id that it keeps for ever.

    Args:
        ids: int64 array, shape `(n,)`: the example's place in the published order
            of its data set. Rows of the noise table, noise draws and augmentation
            draws all hang on it, so it is never renumbered: not by shuffling, not by
            splitting, not by taking a subset.
        images: uint8 array, shape `(n, height, width, channels)`, values 0 to 255.
        labels: int64 array, shape `(n,)`, values in `[0, num_classes)`.

    Raises:
        ValueError: if a shape or a type is another one.
    """

    ids: np.ndarray
    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise ValueError(
                "`images` must be uint8 of shape (n, height, width, channels), values "
                f"0 to 255. Received: {self.images.dtype} of shape {self.images.shape}."
                " Grey images need a last axis of 1: images[..., None]."
            )
        for name, array in (("ids", self.ids), ("labels", self.labels)):
            if array.dtype.kind not in "iu" or array.shape != self.images.shape[:1]:
                raise ValueError(
                    f"`{name}` must be integers of shape ({len(self.images)},), one an "
                    f"image. Received: {array.dtype} of shape {array.shape}."
                )

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, positions: np.ndarray) -> Examples:
        """The examples at `positions` (indices or a mask), ids unchanged."""
        return Examples(
            self.ids[positions], self.images[positions], self.labels[positions]
        )

    def with_labels(self, labels: np.ndarray) -> Examples:
        """The same examples under other labels, shape `(n,)`."""
        return replace(self, labels=np.asarray(labels, dtype=np.int64))


@dataclass(frozen=True)
class Source:
    """A data set: training and test examples, and how to standardise them.

    Args:
        name: the name that `--dataset` knows it by.
        class_names: one name a class, in label order.
        num_examples: the size of the full id range of the training data; the noise
            table has that many rows, whatever subset is trained on.
        train: training examples with their clean labels.
        test: test examples with their clean labels.
        mean: per-channel means of pixel values scaled to [0, 1].
        std: per-channel standard deviations of the same.
    """

    name: str
    class_names: tuple[str, ...]
    num_examples: int
    train: Examples
    test: Examples
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)
