"""Sparse inputs: SciPy's matrices and tf.SparseTensors, row by row."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf


def in_row_order(x: Any) -> Any:
    """Inputs with SciPy's sparse arrays by rows; all others as they are.

    Keras makes tf.SparseTensors of them in the order of their entries, and TensorFlow
    takes no other order than by rows.
    """
    return keras.tree.map_structure(
        lambda a: a.tocsr().sorted_indices() if is_scipy_sparse(a) else a, x
    )


def as_tensors(x: Any) -> Any:
    """A batch of inputs with SciPy's sparse arrays as tf.SparseTensors.

    Keras itself does so in `fit` alone, and fails on them in `predict_on_batch` and its
    siblings.
    """

    def of_array(array: Any) -> Any:
        if not is_scipy_sparse(array):
            return array
        rows = array.tocoo()
        places = np.stack([rows.row, rows.col], axis=-1).astype(np.int64)
        return tf.sparse.reorder(tf.SparseTensor(places, rows.data, rows.shape))

    return keras.tree.map_structure(of_array, x)


class SparseRows:
    """A tf.SparseTensor whose rows can be sliced.

    Args:
        tensor: of rank 1 or more.
    """

    def __init__(self, tensor: tf.SparseTensor):
        self._tensor = tensor

    def __getitem__(self, part: slice) -> tf.SparseTensor:
        shape = self._tensor.shape
        start = [part.start, *[0] * (len(shape) - 1)]
        return tf.sparse.slice(
            self._tensor, start, [part.stop - part.start, *shape[1:]]
        )


def is_scipy_sparse(array: Any) -> bool:
    """Whether an array is one of SciPy's sparse ones.

    By its name, as in Keras: SciPy need not be installed.
    """
    module = str(type(array).__module__)
    return module.startswith("scipy.sparse") and hasattr(array, "tocoo")
