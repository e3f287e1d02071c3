"""Data that are looked at by id, each example once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from sop_keras.core.data_errors import DataError, clear_data_errors
from sop_keras.core.label_checks import check_indices
from sop_keras.core.sparse_inputs import SparseRows, as_tensors, is_scipy_sparse
from sop_keras.core.training_data import unpack
from sop_keras.validation import check_integer

_SLICED = (np.ndarray, tf.Tensor, tf.RaggedTensor)

if TYPE_CHECKING:
    from sop_keras.core.indexed_model import IndexedModel


class UniqueIds:
    """Sees to it that no id comes twice, batch by batch: one byte an example.

    That also ends a stream without an end.

    Args:
        num_examples: ids are in `[0, num_examples)`.
    """

    def __init__(self, num_examples: int):
        self._came = np.zeros(num_examples, bool)

    def add(self, ids: np.ndarray) -> None:
        """Take a batch of ids into account, integers `(n,)`.

        Raises:
            ValueError: if one has come already, or is out of range.
        """
        unique, counts = np.unique(
            check_indices(ids, len(self._came)), return_counts=True
        )
        counts = counts + self._came[unique]
        if (counts > 1).any():
            raise ValueError(
                f"Each example must come once, but the index {unique[counts > 1][0]} "
                f"came {counts.max()} times. Leave out repeat() and batches drawn at "
                "random."
            )
        self._came[unique] = True


def lookup_batches(
    model: IndexedModel, x: Any, y: Any, batch_size: int
) -> Iterator[tuple[Any, np.ndarray, np.ndarray]]:
    """Inputs, labels and ids of all examples, each once.

    Args:
        model: whose ids they are.
        x: arrays, in the order of `fit`, or a stream of
            `(x, {"label": y, "index": i})`.
        y: for arrays, their labels, with ids or without.
        batch_size: for arrays, at least 1.

    Yields:
        A batch: the network's inputs, and labels and ids, integers `(n,)`.

    Raises:
        ValueError: for data that cannot be looked at by id, ids that come twice, or
            none at all.
    """
    check_integer("batch_size", batch_size, 1)
    ids = UniqueIds(model.num_examples)
    is_empty = True
    with clear_data_errors():
        for inputs, labels, index in _batches(model, x, y, batch_size):
            ids.add(index)
            is_empty = False
            yield inputs, labels, index
    if is_empty:
        raise ValueError("There are no examples: the data gave no batch.")


def _batches(
    model: IndexedModel, x: Any, y: Any, batch_size: int
) -> Iterator[tuple[Any, np.ndarray, np.ndarray]]:
    x, y = model.indexed_data(x, y)
    if y is not None:
        x = keras.tree.map_structure(_by_rows, x)
        for start in range(0, len(y["index"]), batch_size):
            part = slice(start, start + batch_size)
            inputs = keras.tree.map_structure(lambda a, part=part: a[part], x)
            yield as_tensors(inputs), _integers(y["label"][part]), y["index"][part]
        return
    for batch in _elements(x):
        inputs, labels, ids, _ = unpack(batch)
        yield as_tensors(inputs), _integers(np.asarray(labels)), np.asarray(ids)


def _by_rows(array: Any) -> Any:
    """What `fit` takes as an array, so that its rows can be sliced."""
    if isinstance(array, tf.SparseTensor):
        return SparseRows(array)
    if isinstance(array, _SLICED) or is_scipy_sparse(array):
        return array
    return np.asarray(array)  # a table of pandas is no input of a network


def _integers(labels: np.ndarray) -> np.ndarray:
    """Labels `(n,)` of such ones, or of one-hot rows."""
    return labels.argmax(axis=-1) if labels.ndim == 2 else labels


def _elements(x: Any) -> Iterator[Any]:
    if callable(x):  # gives the parts of replicas: of one, the whole batches
        x = x(tf.distribute.InputContext())
    if isinstance(x, tf.data.Dataset):
        if x.cardinality() == tf.data.INFINITE_CARDINALITY:
            raise DataError(
                "The data set has no end. Pass each example once: leave repeat() out."
            )
        yield from x
    elif isinstance(x, keras.utils.PyDataset):
        if x.num_batches is None:
            raise DataError(
                "The PyDataset has no end: its num_batches is None. Pass one that "
                "gives each example once."
            )
        yield from (x[place] for place in range(x.num_batches))
    else:  # a generator
        yield from x
