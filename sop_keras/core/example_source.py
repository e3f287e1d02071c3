"""Examples that batches are made of by their places, in any order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sop_keras.core.data_errors import DataError
from sop_keras.core.passes import PlannedBatch
from sop_keras.data.batches.tensors import (
    in_parallel,
    numbered_places,
    with_cardinality,
    without_autotuning,
)

_SCAN_SIZE = 256


class Source:
    """What `fit` can be given where the method chooses the examples of each batch.

    Args:
        labels: the given labels of all examples, integers `(n,)` or one-hot `(n, K)`.
        ids: their ids, integers `(n,)`. Defaults to `None`: their places.

    Attributes:
        sample_weight: floats `(n,)`, or None.
    """

    def __init__(self, labels: Any, ids: Any = None):
        self.labels = np.asarray(labels)
        self.ids = np.arange(len(self.labels)) if ids is None else np.asarray(ids)
        self.sample_weight: np.ndarray | None = None

    def places(self, epoch: int) -> np.ndarray:
        """Which examples an epoch has, ascending places: all."""
        return np.arange(len(self.labels))

    def batches(self, planned: Sequence[PlannedBatch]) -> tf.data.Dataset:
        """The batches of a plan, one after another.

        Returns:
            A data set of `(x, {"label": y, "index": i}[, sample_weight])`.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no batches.")

    def scan(self, epoch: int) -> tf.data.Dataset | None:
        """The examples of an epoch, each once, to be asked about; None: not known how.

        Returns:
            A data set of `(x, {"label": y, "index": i})`.
        """
        return None


class ExampleSource(Source):
    """Training examples that can be asked for by their places.

    Methods whose networks learn in turn (ELR+, DivideMix) choose the examples of every
    batch themselves, and see each example in a view of its own in each network's pass.
    `fit` takes arrays as ever; of what does not fit into memory, or is augmented, it
    takes this.

    Args:
        load: gives the inputs of some examples to train on: called within a
            tf.data pipeline with their places, an int64 tensor `(n,)`, and the number
            of the network's pass, an int64 scalar that no other pass has: a key of
            draws of augmentation. Of methods that take two views, a pair of inputs.
        labels: the given labels of all examples, integers `(n,)` or one-hot `(n, K)`.
        ids: their ids, integers `(n,)`. Defaults to `None`: their places.
        look: gives the inputs that the networks are asked about, unaugmented and in one
            view, by their places. Defaults to `None`: `fit(scan_data=...)` is needed of
            methods that look at all examples.

    Example:
    ```python
    images = tf.constant(x_train)
    crop = CropAndFlip()

    def load(places, number):
        return crop(images=tf.gather(images, places), ids=places, epoch=number, seed=0)

    source = ExampleSource(load, y_noisy, look=lambda places: tf.gather(images, places))
    model.fit(source, batch_size=64, epochs=200)
    ```
    """

    def __init__(
        self,
        load: Callable[[Any, Any], Any],
        labels: Any,
        ids: Any = None,
        look: Callable[[Any], Any] | None = None,
    ):
        super().__init__(labels, ids)
        self._load = load
        self._look = look

    def batches(self, planned: Sequence[PlannedBatch]) -> tf.data.Dataset:
        """The batches of a plan, by `load`."""
        with_targets = self._with_targets()

        def load(number: tf.Tensor, places: tf.Tensor) -> Any:
            return with_targets(self._load(places, number), places)

        numbers = [one.number for one in planned]
        batches = numbered_places(numbers, [one.places for one in planned])
        return with_cardinality(in_parallel(batches, load), len(planned))

    def scan(self, epoch: int) -> tf.data.Dataset | None:
        """The examples of an epoch, by `look`."""
        if self._look is None:
            return None
        look, with_targets = self._look, self._with_targets()
        places = tf.data.Dataset.from_tensor_slices(self.places(epoch))
        scan = places.batch(_SCAN_SIZE).map(
            lambda some: with_targets(look(some), some)[:2]
        )
        return without_autotuning(scan)

    def _with_targets(self) -> Callable[[Any, tf.Tensor], tuple[Any, ...]]:
        """What gives inputs their labels, ids and weights, as these are now."""
        arrays = [self.labels, self.ids.astype(np.int64)]
        if self.sample_weight is not None:
            arrays.append(self.sample_weight)
        with tf.device("CPU"):
            targets = [tf.constant(array) for array in arrays]

        def with_targets(x: Any, places: tf.Tensor) -> tuple[Any, ...]:
            label, index, *weights = (tf.gather(one, places) for one in targets)
            return x, {"label": label, "index": index}, *weights

        return with_targets


class ArraySource(ExampleSource):
    """Arrays of `fit` as a source.

    Args:
        x: inputs: arrays in one view, or a pair of views.
        y: `{"label": labels, "index": ids}`.

    Raises:
        ValueError: for sparse inputs, of which rows cannot be taken in any order.
    """

    def __init__(self, x: Any, y: Any):
        leaves = keras.tree.flatten(x)
        if any(map(_is_sparse, leaves)):
            raise DataError(
                "This method chooses the examples of each batch itself, and cannot "
                "take rows of sparse inputs in any order. Pass dense arrays."
            )
        with tf.device("CPU"):  # once, not in each epoch
            inputs = keras.tree.map_structure(_as_tensor, x)
        super().__init__(
            lambda places, _: keras.tree.map_structure(
                lambda one: tf.gather(one, places), inputs
            ),
            y["label"],
            y["index"],
        )


def _as_tensor(leaf: Any) -> Any:
    if isinstance(leaf, (tf.Tensor, tf.RaggedTensor)):
        return leaf
    return tf.constant(np.asarray(leaf))


def _is_sparse(leaf: Any) -> bool:
    if isinstance(leaf, tf.SparseTensor):
        return True
    return type(leaf).__module__.startswith("scipy.sparse")
