"""What a model takes as data, turned into checked `(x, {"label", "index"}, weight)`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sop_keras.core import label_checks
from sop_keras.core.class_weights import class_weight_table
from sop_keras.core.data_errors import DataError
from sop_keras.core.held_out import labels_of, of_trained_on
from sop_keras.core.loaders import as_dataset
from sop_keras.core.sparse_inputs import in_row_order
from sop_keras.core.views import check_stacked

MISSING_INDEX = (
    "Training data need the index of every example, the row that it owns in the noise "
    "table. For a data set of fixed order, wrap it in with_index before shuffling and "
    "batching: fit(with_index(dataset).shuffle(...).batch(...)). Or give the ids "
    'yourself: (x, {"label": y, "index": i}). '
)


class TrainingData:
    """Checks of training and evaluation data for a table of a given size.

    Arrays are checked whole, before training starts. The batches of a stream (a
    tf.data.Dataset, a `keras.utils.PyDataset` or a generator) are checked in the input
    pipeline as they come, each before the step that would use it.

    Args:
        num_examples: the number of rows of the noise table.
        num_classes: the number of classes.
        check_inputs: takes x, and whether it is trained on; gives x back, or raises a
            `DataError` where the model cannot take it.
    """

    def __init__(
        self,
        num_examples: int,
        num_classes: int,
        check_inputs: Callable[[Any, bool], Any],
    ):
        self.num_examples = num_examples
        self.num_classes = num_classes
        self._check_inputs = check_inputs

    def for_fit(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        validation_split: float = 0.0,
        check_ids: Callable[[Any, Any], Any] | None = None,
    ) -> tuple[Any, Any, Any]:
        """Check `fit`'s data and give every example its id: arrays, their position.

        Args:
            x: inputs: arrays, or a stream of
                `(x, {"label": y, "index": i}[, sample_weight])`.
            y: labels, or `{"label": labels, "index": ids}`; None for streams.
            sample_weight: one weight an example; None for streams.
            class_weight: as of `class_weight_table`; becomes sample weights, since
                Keras refuses it where y is a dict.
            validation_split: of arrays, the share at the end that is not trained on.
            check_ids: takes the checked ids and labels of a batch, and gives the ids
                back, or raises a `DataError`. Defaults to `None`.

        Returns:
            `(x, y, sample_weight)` for Keras' own `fit`.

        Raises:
            ValueError: for whatever cannot be trained on.
        """
        x, table = as_dataset(x, y, needs_ids=True), None
        if class_weight is not None:
            labels = None if is_stream(x) else labels_of(y, validation_split)
            table = class_weight_table(class_weight, self.num_classes, labels)
        check = functools.partial(
            self._check_training_batch, class_weights=table, check_ids=check_ids
        )
        if is_stream(x):
            return _check_stream(x, y, sample_weight, check)
        x = _checked_arrays(x, y)
        if not isinstance(y, Mapping):
            labels = label_checks.check_labels(y, self.num_classes)
            if len(labels) > self.num_examples:
                raise DataError(
                    f"{len(labels)} training examples do not fit a noise table of "
                    f"num_examples={self.num_examples}. {label_checks.INDEX_HELP}"
                )
            y = {"label": labels, "index": np.arange(len(labels))}
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(
            check((x, y, sample_weight))
        )
        if class_weight is not None:
            sample_weight = of_trained_on(sample_weight, validation_split)
        return x, y, sample_weight

    def for_batch(
        self,
        x: Any,
        y: Any,
        sample_weight: Any = None,
        class_weight: Any = None,
    ) -> tuple[Any, Any, Any]:
        """Check one batch, which must bring its ids: its positions would mislead."""
        _check_structure(y)
        if class_weight is not None:  # without labels: those of a batch are not all
            table = class_weight_table(class_weight, self.num_classes)
            class_weight = dict(enumerate(table))
        return self.for_fit(x, y, sample_weight, class_weight)

    def for_evaluation(
        self, x: Any, y: Any = None, sample_weight: Any = None
    ) -> tuple[Any, Any, Any]:
        """Check plain `(x, y)` data; ids are not needed, and left out."""
        x = as_dataset(x, y, needs_ids=False)
        if is_stream(x):
            return _check_stream(x, y, sample_weight, self._check_evaluation_batch)
        x = _checked_arrays(x, y)
        batch = self._check_evaluation_batch((x, y, sample_weight))
        return keras.utils.unpack_x_y_sample_weight(batch)

    def for_lookup(self, x: Any, y: Any = None) -> tuple[Any, Any]:
        """Check data to be looked at by id; inputs are those of evaluation.

        Returns:
            `(x, y)`, as of `for_fit`.
        """
        check = functools.partial(
            self._check_training_batch, class_weights=None, training=False
        )
        x = as_dataset(x, y, needs_ids=True)
        if is_stream(x):
            return _check_stream(x, y, None, check)[:2]
        x = _checked_arrays(x, y)
        if not isinstance(y, Mapping):
            labels = label_checks.check_labels(y, self.num_classes)
            label_checks.check_sizes(labels, x)
            if len(labels) != self.num_examples:
                raise DataError(
                    f"{len(labels)} examples without ids, where the model has "
                    f"num_examples={self.num_examples}: whose rows of the noise table "
                    "are they? Pass all that was trained on, in the same order, or "
                    'their ids: y={"label": labels, "index": ids}.'
                )
            y = {"label": labels, "index": np.arange(len(labels))}
        return keras.utils.unpack_x_y_sample_weight(check((x, y)))[:2]

    def _check_training_batch(
        self,
        batch: Any,
        class_weights: np.ndarray | None,
        check_ids: Callable[[Any, Any], Any] | None = None,
        may_be_empty: bool = False,
        training: bool = True,
    ) -> tuple[Any, ...]:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        _check_structure(y)
        indices = label_checks.check_indices(y["index"], self.num_examples)
        labels = label_checks.check_labels(y["label"], self.num_classes)
        if class_weights is not None:
            if sample_weight is not None:
                raise DataError(
                    "`class_weight` and sample weights cannot be given together. "
                    "Multiply the class weights into the sample weights."
                )
            sample_weight = label_checks.weights_of_classes(labels, class_weights)
        x = self._check_inputs(x, training)
        return _pack(x, labels, indices, sample_weight, may_be_empty, check_ids)

    def _check_evaluation_batch(
        self, batch: Any, may_be_empty: bool = False
    ) -> tuple[Any, ...]:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        if y is None:
            raise DataError("Evaluation needs labels: (x, y[, sample_weight]).")
        y = y["label"] if isinstance(y, Mapping) else y
        labels = label_checks.check_labels(y, self.num_classes)
        x = self._check_inputs(x, False)
        return _pack(x, labels, None, sample_weight, may_be_empty)


def unpack(data: Any) -> tuple[Any, Any, Any, Any]:
    """A step's data: `(x, labels, indices, sample_weight)`, the last two maybe None."""
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    if isinstance(sample_weight, Mapping):
        # Keras hands weights given beside a dict y on once for every entry of it.
        sample_weight = sample_weight["label"]
    if isinstance(y, Mapping):
        return x, y["label"], y.get("index"), sample_weight
    return x, y, None, sample_weight


def is_stream(x: Any) -> bool:
    """Whether x brings its own labels and batches."""
    return _is_tensor_stream(x) or isinstance(x, keras.utils.PyDataset) or callable(x)


def fixed_order(x: Any) -> bool:
    """Whether Keras cannot shuffle x, and would warn that it does not."""
    return (
        _is_tensor_stream(x)
        or isinstance(x, tf.distribute.DistributedDataset)
        or (isinstance(x, keras.utils.PyDataset) and x.num_batches is None)
    )


def peek(x: Any, y: Any) -> tuple[Any, Any, Any]:
    """What inputs and labels look like, and x again: reading a generator ends it.

    Args:
        x: what `for_fit` or `for_evaluation` returned as x.
        y: what it returned as y.

    Returns:
        The inputs' structure as KerasTensors, the labels as one, and x.
    """
    batch: Any = (x, y)
    if callable(x):
        batch = x(tf.distribute.InputContext()).element_spec
    elif isinstance(x, tf.data.Dataset):
        batch = x.element_spec
    elif isinstance(x, keras.utils.PyDataset):
        batch = x[0]
    elif inspect.isgenerator(x):
        batch = next(x, None)
        if batch is None:
            raise DataError("The generator gave no batch.")
        x = _chain([batch], x)

    def spec(array: Any) -> keras.KerasTensor:
        if not hasattr(array, "dtype"):
            array = np.asarray(array)
        dtype = keras.backend.standardize_dtype(array.dtype)
        return keras.KerasTensor((None, *array.shape[1:]), dtype=dtype)

    inputs, labels, _, _ = unpack(batch)
    return keras.tree.map_structure(spec, inputs), spec(labels), x


def first_inputs(x: Any, y: Any, count: int = 32) -> tuple[Any, Any]:
    """The first inputs, and x again; None where a look would count as a pass.

    Args:
        x: what `for_fit` returned as x.
        y: what it returned as y.
        count: how many, of arrays. Defaults to `32`.
    """
    if y is not None:
        leaves = keras.tree.flatten(x)
        if not all(isinstance(leaf, (np.ndarray, tf.Tensor)) for leaf in leaves):
            return None, x
        return keras.tree.map_structure(lambda array: array[:count], x), x
    if isinstance(x, keras.utils.PyDataset):
        return unpack(x[0])[0], x
    if inspect.isgenerator(x) and (batch := next(x, None)) is not None:
        return unpack(batch)[0], _chain([batch], x)
    return None, x


class _CheckedPyDataset(keras.utils.PyDataset):
    """A PyDataset whose batches pass through a check."""

    def __init__(self, inner: keras.utils.PyDataset, check: Callable[[Any], Any]):
        super().__init__(
            workers=inner.workers,
            use_multiprocessing=inner.use_multiprocessing,
            max_queue_size=inner.max_queue_size,
        )
        self._inner = inner
        self._check = check

    @property
    def num_batches(self) -> int | None:
        return self._inner.num_batches

    def __getitem__(self, index: int) -> Any:
        return self._check(self._inner[index])

    def on_epoch_begin(self) -> None:
        self._inner.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self._inner.on_epoch_end()


def _is_tensor_stream(x: Any) -> bool:
    return isinstance(x, tf.data.Dataset) or inspect.isgenerator(x)


def _check_stream(
    x: Any, y: Any, sample_weight: Any, check: Callable[..., Any]
) -> tuple[Any, None, None]:
    for name, value in (("y", y), ("sample_weight", sample_weight)):
        if value is not None:
            raise ValueError(
                f"`{name}` must not be given beside a {type(x).__name__}, which brings "
                "its own: (x, y[, sample_weight])."
            )
    if inspect.isgenerator(x):
        return (check(batch) for batch in x), None, None
    if isinstance(x, keras.utils.PyDataset):
        return _CheckedPyDataset(x, check), None, None
    if callable(x):
        return lambda context: _checked_parts(x, context, check), None, None
    return _checked_dataset(x, check), None, None


def _checked_parts(
    x: Callable[[tf.distribute.InputContext], tf.data.Dataset],
    context: tf.distribute.InputContext,
    check: Callable[..., Any],
) -> tf.data.Dataset:
    # The parts of a batch with fewer examples than there are replicas.
    may_be_empty = context.num_replicas_in_sync > 1
    return _checked_dataset(
        x(context), functools.partial(check, may_be_empty=may_be_empty)
    )


def _checked_dataset(
    x: tf.data.Dataset, check: Callable[[Any], Any]
) -> tf.data.Dataset:
    if x.cardinality() == 0:
        raise DataError("The data set is empty.")
    # AutoGraph would bury the message of a check in a stack of its own.
    check_element = tf.autograph.experimental.do_not_convert(
        lambda *element: check(element)
    )
    return x.map(check_element)


def _checked_arrays(x: Any, y: Any) -> Any:
    if y is None:
        raise ValueError(
            "`y` is missing. Pass arrays (x, y), or a tf.data.Dataset, "
            "keras.utils.PyDataset or generator of batches. Received: x of type "
            f"{type(x).__name__}."
        )
    check_stacked(x, _count(y))
    if any(isinstance(leaf, (int, float, str)) for leaf in keras.tree.flatten(x)):
        raise ValueError(
            "`x` holds plain Python values. Pass arrays: numpy.asarray(x)."
        )
    return in_row_order(x)


def _count(y: Any) -> int | None:
    """How many labels there are; None where y has none, as later checks say."""
    labels: Any = y.get("label") if isinstance(y, Mapping) else y
    shape = labels.shape if hasattr(labels, "shape") else np.shape(labels)
    return shape[0] if len(shape) else None


def _check_structure(y: Any) -> None:
    if not isinstance(y, Mapping) or "index" not in y:
        received = sorted(y) if isinstance(y, Mapping) else type(y).__name__
        raise DataError(f"{MISSING_INDEX}Received y: {received}")
    if "label" not in y:
        raise DataError(
            f'y has no "label". Expected {{"label": y, "index": i}}. '
            f"Received the keys {sorted(y)}."
        )


def _pack(
    x: Any,
    labels: Any,
    indices: Any,
    sample_weight: Any,
    may_be_empty: bool,
    check_ids: Callable[[Any, Any], Any] | None = None,
) -> tuple[Any, ...]:
    """Like Keras' own, for checked arrays; None is left out, as PyDatasets need."""
    if sample_weight is not None:
        sample_weight = label_checks.check_sample_weight(sample_weight)
    others = (indices, sample_weight, x)
    labels = label_checks.check_sizes(labels, others, may_be_empty)
    if check_ids is not None:  # now that there are as many ids as labels
        indices = check_ids(indices, labels)
    y = labels if indices is None else {"label": labels, "index": indices}
    return (x, y) if sample_weight is None else (x, y, sample_weight)


def _chain(first: Iterable[Any], rest: Iterator[Any]) -> Iterator[Any]:
    """As itertools.chain, but a generator: Keras goes by the type."""
    yield from first
    yield from rest
