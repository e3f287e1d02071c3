"""Variables of which a few rows are read and written, in place.

keras.ops has no update in place: this file is all that a further backend must add.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sop_keras.core.disk_rows import DiskRows

_ROWS_AT_ONCE, _ENTRIES_AT_ONCE = 65_536, 2**22


def gather(variable: keras.Variable | DiskRows, indices: Any) -> tf.Tensor:
    """The rows at `indices`, of this replica's copy of the variable.

    Args:
        variable: shape `(num_rows, ...)`; or rows on disk, here as in all of these.
        indices: integers in `[0, num_rows)`, shape `(n,)`.

    Returns:
        Shape `(n, ...)`.
    """
    if isinstance(variable, DiskRows):
        return variable.gather(indices)
    copy = variable.value
    if tf.distribute.in_cross_replica_context():
        copy = tf.distribute.get_strategy().experimental_local_results(copy)[0]
    # By its handle: tf.gather would read the whole of a mirrored variable first.
    return tf.raw_ops.ResourceGather(
        resource=copy.handle, indices=indices, dtype=copy.dtype
    )


def scatter(variable: keras.Variable | DiskRows, indices: Any, rows: Any) -> None:
    """Write the rows at `indices`, in every replica's copy of the variable.

    Args:
        variable: shape `(num_rows, ...)`.
        indices: integers in `[0, num_rows)`, shape `(n,)`; equal on all replicas, and
            equal ones with equal rows, so that the order of writing does not matter.
        rows: shape `(n, ...)`.
    """
    if isinstance(variable, DiskRows):
        variable.scatter(indices, rows)
        return
    if not tf.distribute.has_strategy():
        _scatter(variable.value, indices, rows)
        return

    def scatter_copies(strategy: Any, indices: Any, rows: Any) -> None:
        if isinstance(variable.value, tf.distribute.DistributedValues):
            # Grouped, the updates' results would be read: the whole of every copy.
            strategy.extended.update(
                variable.value, _scatter, args=(indices, rows), group=False
            )
        else:  # one for all replicas of this process
            local = strategy.experimental_local_results
            _scatter(variable.value, local(indices)[0], local(rows)[0])

    replica = tf.distribute.get_replica_context()
    if replica is None:
        scatter_copies(tf.distribute.get_strategy(), indices, rows)
    else:
        replica.merge_call(scatter_copies, args=(indices, rows))


def pieces(
    variable: keras.Variable | DiskRows,
) -> Iterator[tuple[slice, np.ndarray]]:
    """All rows, some at a time: which, and these."""
    if isinstance(variable, DiskRows):
        yield from variable.pieces()
        return
    for places in _places(*variable.shape):
        rows = gather(variable, tf.range(places.start, places.stop))
        yield places, rows.numpy()


def load(variable: keras.Variable | DiskRows, rows: Any) -> None:
    """Write all rows, some at a time.

    Args:
        variable: shape `(num_rows, ...)`.
        rows: of the same shape; anything that gives an array for a slice.
    """
    if isinstance(variable, DiskRows):
        variable.load(rows)
        return
    for places in _places(*variable.shape):
        values = np.asarray(rows[places], np.float32)
        indices = tf.range(places.start, places.stop)
        scatter(variable, indices, tf.convert_to_tensor(values))


def enlarge(
    layer: keras.layers.Layer,
    name: str,
    num_rows: int,
    make: Callable[[], keras.Variable],
) -> None:
    """Put a longer variable in the place of one of a layer's, with the old rows first.

    A variable's shape is fixed. What was compiled with the old one must be made anew.
    Old rows are the layer's `num_examples`: the variable may be longer already, where
    an earlier call was of several variables and had no room for the next one.

    Args:
        layer: whose variable it is. It is the last of its variables afterwards.
        name: the attribute.
        num_rows: of the longer one.
        make: adds it to the layer.
    """
    old = getattr(layer, name)
    if isinstance(old, DiskRows):
        old.enlarge(num_rows)
        return
    # A built layer takes no further variables otherwise, as in Keras' own layers.
    was_locked = layer._tracker.locked
    layer._tracker.unlock()
    try:
        new = make()
        layer._untrack_variable(old)
        setattr(layer, name, new)
    finally:
        if was_locked:
            layer._tracker.lock()
    count = min(layer.num_examples, num_rows)
    for places in _places(count, new.shape[1]):
        indices = tf.range(places.start, places.stop)
        scatter(new, indices, gather(old, indices))


def on_host(make: Callable[[], keras.Variable]) -> keras.Variable:
    """A variable in the host's memory, one for all replicas of this process.

    Args:
        make: makes the variable.
    """

    def make_here() -> keras.Variable:
        with tf.device("CPU:0"):
            return make()

    # A strategy's scope, which would make a copy on each of its devices, is a thread's.
    with ThreadPoolExecutor(1) as other_thread:
        return other_thread.submit(make_here).result()


def _places(count: int, columns: int) -> Iterator[slice]:
    at_once = max(min(_ROWS_AT_ONCE, _ENTRIES_AT_ONCE // columns), 1)
    for start in range(0, count, at_once):
        yield slice(start, min(start + at_once, count))


def _scatter(variable: Any, indices: Any, rows: Any) -> None:
    variable.scatter_update(tf.IndexedSlices(rows, indices))
