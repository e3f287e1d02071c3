"""What a data set looks like to the rest of the library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from sop_keras.data.images.encoded_images import EncodedImages


@dataclass(frozen=True)
class Examples:
    """Some examples of a data set, each with the id that it keeps for ever.

    Args:
        ids: int64 array, shape `(n,)`: the example's place in the published order
            of its data set. Rows of the noise table, noise draws and augmentation
            draws all hang on it, so it is never renumbered: not by shuffling, not by
            splitting, not by taking a subset.
        images: uint8 array, shape `(n, height, width, channels)`, values 0 to 255; or
            `EncodedImages` of such a shape, in files and decoded batch by batch.
        labels: int64 array, shape `(n,)`, values in `[0, num_classes)`: the labels as
            given, wrong ones among them.
        clean_labels: the true labels, like `labels`. Defaults to `None`: unknown.

    Raises:
        ValueError: if a shape or a type is another one.
    """

    ids: np.ndarray
    images: np.ndarray | EncodedImages
    labels: np.ndarray
    clean_labels: np.ndarray | None = None

    def __post_init__(self) -> None:
        images = self.images
        if isinstance(images, np.ndarray) and (
            images.dtype != np.uint8 or images.ndim != 4
        ):
            raise ValueError(
                "`images` must be uint8 of shape (n, height, width, channels), values "
                f"0 to 255. Received: {images.dtype} of shape {images.shape}."
                " Grey images need a last axis of 1: images[..., None]."
            )
        for name in ("ids", "labels", "clean_labels"):
            array = getattr(self, name)
            if array is None and name == "clean_labels":
                continue
            if array.dtype.kind not in "iu" or array.shape != (len(images),):
                raise ValueError(
                    f"`{name}` must be integers of shape ({len(images)},), one an "
                    f"image. Received: {array.dtype} of shape {array.shape}."
                )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(height, width, channels)`, as a network is fed them."""
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    def take(self, positions: np.ndarray) -> Examples:
        """The examples at `positions` (indices or a mask), ids unchanged."""
        clean = self.clean_labels
        return Examples(
            self.ids[positions],
            self.images[positions],
            self.labels[positions],
            None if clean is None else clean[positions],
        )

    def with_labels(self, labels: np.ndarray) -> Examples:
        """The same examples under other given labels, shape `(n,)`."""
        return replace(self, labels=np.asarray(labels, dtype=np.int64))


ClassMap = Callable[[str, int], tuple[int, ...]]
"""Of a structure and a seed: for each class, in label order, what it is taken for."""


@dataclass(frozen=True)
class Dataset:
    """A data set: training and test examples, and how to standardise them.

    Args:
        name: the name that `--dataset` knows it by.
        class_names: one name a class, in label order.
        num_examples: the size of the full id range of the training data; the noise
            table has that many rows, whatever subset is trained on.
        train: training examples.
        test: test examples under labels to measure by; None where there are none.
        mean: per-channel means of pixel values scaled to [0, 1].
        std: per-channel standard deviations of the same.
        validation: the data set's own validation examples. Defaults to `None`: it has
            none, and some of the training examples may be held out.
        more_tests: further test examples of the same classes, by name. Defaults to
            none.
        labels_have_errors: whether training labels are known to be wrong for many
            examples, though not for which: no noise is drawn on top of them. Defaults
            to `False`.
        class_map: which class each is taken for under asymmetric noise: a function of
            a structure, a word of the data set's own where it has several, and of a
            seed in `[0, 2**64)`. Defaults to `None`: such noise is not defined for it.
        splits_share_ids: whether training and test examples are parts of one published
            order, so that their ids are of one range, from 0 to `num_examples - 1`.
            Defaults to `False`: an id of a test example says nothing of training ones.
    """

    name: str
    class_names: tuple[str, ...]
    num_examples: int
    train: Examples
    test: Examples | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    validation: Examples | None = None
    more_tests: Mapping[str, Examples] = field(default_factory=dict)
    labels_have_errors: bool = False
    class_map: ClassMap | None = None
    splits_share_ids: bool = False

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    @property
    def tests(self) -> dict[str, Examples]:
        """All test examples by name, those of `test` under `"test"`, the first."""
        main = {} if self.test is None else {"test": self.test}
        return {**main, **self.more_tests}
