"""Loaders of PyTorch and Grain, which Keras' fit takes, as tf.data.Datasets.

Neither is imported: a loader is known by the name and module of its class, as in Keras.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sop_keras.core.data_errors import DataError
from sop_keras.data.batches.tensors import without_autotuning

_TORCH, _GRAIN = "PyTorch", "Grain"
_BATCHES = {
    _TORCH: "Wrap it in torch.utils.data.DataLoader(..., batch_size=128).",
    _GRAIN: "Batch it: dataset.batch(128), or grain.DataLoader with a grain Batch.",
}
_IDS = {
    _TORCH: (
        "Let the data set's __getitem__(i) return (x, {'label': y, 'index': i}); the "
        "DataLoader batches that, in whatever order."
    ),
    _GRAIN: (
        "Let the source's __getitem__(i) return (x, {'label': y, 'index': i}) before "
        "anything is shuffled: grain.MapDataset.source(source).shuffle(...).batch(...)."
    ),
}


def as_dataset(x: Any, y: Any, needs_ids: bool) -> Any:
    """A loader as a tf.data.Dataset of its batches; anything else as it is.

    Each pass over the data set is a pass of the loader, in the loader's own order. Its
    first batch is read once more, to see what batches are like.

    Args:
        x: what `fit` or `evaluate` was given as x.
        y: what it was given as y: None beside a loader.
        needs_ids: whether y must have the ids of the examples.

    Raises:
        ValueError: for a loader without batches, ids or labels, or with labels beside
            it, and for data of PyTorch or Grain that are no loader.
    """
    kind = _kind(x)
    if kind is None:
        return x
    if y is not None:
        raise ValueError(
            f"`y` must not be given beside {_name(kind, x)}, which brings its own."
        )
    first = next(iter(x), None)
    if first is None:
        raise DataError(f"{_name(kind, x)} gave no batch.")
    first = _arrays(first)
    if not isinstance(first, tuple) or len(first) not in (2, 3):
        raise DataError(
            f"{_name(kind, x)} must give batches (x, y[, sample_weight]). Received "
            f"one of type {type(first).__name__}. {_IDS[kind] if needs_ids else ''}"
        )
    if needs_ids and not (isinstance(first[1], Mapping) and "index" in first[1]):
        raise DataError(
            f"{_name(kind, x)} gives labels without the ids of their examples, and "
            f"each example owns rows of the noise table. {_IDS[kind]}"
        )
    leaves = keras.tree.flatten(first)
    if any(leaf.ndim == 0 for leaf in leaves):
        raise DataError(f"{_name(kind, x)} gives example by example. {_BATCHES[kind]}")

    def spec(array: np.ndarray) -> tf.TensorSpec:
        return tf.TensorSpec((None, *array.shape[1:]), array.dtype)

    def batches() -> Iterator[Any]:
        yield from map(_arrays, x)

    dataset = without_autotuning(
        tf.data.Dataset.from_generator(
            batches, output_signature=keras.tree.map_structure(spec, first)
        )
    )
    length = _length(x)
    if length is None:
        return dataset
    return dataset.apply(tf.data.experimental.assert_cardinality(length))


def _kind(x: Any) -> str | None:
    """What x is; None where it is nothing of PyTorch's or Grain's data."""
    for parent in type(x).__mro__:
        name, module = parent.__name__, str(parent.__module__)
        if module.startswith("torch.utils.data"):
            if name == "DataLoader":
                return _TORCH
            if name in ("Dataset", "IterableDataset"):
                raise DataError(
                    f"{_name(_TORCH, x)} is a data set, which gives single examples. "
                    f"{_BATCHES[_TORCH]} {_IDS[_TORCH]}"
                )
        if module.partition(".")[0] == "grain":
            if name in ("MapDataset", "IterDataset", "DataLoader"):
                return _GRAIN
            if name.endswith("Iterator"):
                raise DataError(
                    f"{_name(_GRAIN, x)} is an iterator, which ends after one pass. "
                    "Pass the data set or the DataLoader that it is of."
                )
    return None


def _name(kind: str, x: Any) -> str:
    return f"{kind}'s {type(x).__name__}"


def _length(x: Any) -> int | None:
    try:
        length = len(x)
    except TypeError:  # of a stream
        return None
    # Grain repeats without an end by a length of sys.maxsize.
    return length if length < 2**40 else tf.data.INFINITE_CARDINALITY


def _arrays(batch: Any) -> Any:
    """A batch as arrays in tuples and dicts: PyTorch collates to lists."""
    if isinstance(batch, Mapping):
        return {key: _arrays(value) for key, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return tuple(map(_arrays, batch))
    if hasattr(batch, "detach"):  # PyTorch's, maybe on a GPU, maybe with a gradient
        batch = batch.detach().cpu()
    return np.asarray(batch)
