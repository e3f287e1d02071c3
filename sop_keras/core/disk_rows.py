"""Rows that are in a file, where variables would be too large for any memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from sop_keras.core.strategies import is_multi_worker
from sop_keras.files.folders import make_folder
from sop_keras.files.journaled_rows import JournaledRows

_ROWS_AT_ONCE = 65_536


class DiskRows:
    """What `sparse_variable` reads and writes in place of a variable.

    In a graph the file is read and written by functions of Python, which TensorFlow
    would call in any order. So each call takes the number of its turn from a variable
    and gives the next one back to it, and TensorFlow keeps the order of what is done to
    a variable: each call has all those before it behind it, in loops and branches too.

    Args:
        folder: where the file is; made if needed.
        name: of the file.
        num_rows: at least 1.
        num_columns: at least 1.
        fill: the value of all numbers of new rows. Defaults to `0.0`.

    Attributes:
        path: of the file, as a text.
        dtype: `"float32"`.
        error: what a call in a graph raised, of which TensorFlow has the text alone.
    """

    dtype = "float32"

    def __init__(
        self,
        folder: Path,
        name: str,
        num_rows: int,
        num_columns: int,
        fill: float = 0.0,
    ):
        make_folder(folder, inside=folder)
        self.path = str(folder / name)
        self.error: Exception | None = None
        self._fill = fill
        self._file = JournaledRows(folder / name, num_rows, num_columns, fill)
        # As sparse_variable.on_host: in no strategy's scope.
        with ThreadPoolExecutor(1) as other_thread:
            self._turn = other_thread.submit(_first_turn).result()

    @property
    def shape(self) -> tuple[int, int]:
        """`(num_rows, num_columns)`."""
        return self._file.shape

    @property
    def is_settled(self) -> bool:
        """Whether it has rows: where checkpoints go with the file, only restored."""
        return self._file.is_settled

    @property
    def is_finite(self) -> bool:
        """Whether all that was written is."""
        return self._file.is_finite

    def gather(self, indices: Any) -> tf.Tensor:
        """As `sparse_variable.gather`."""
        if not _in_graph(indices):
            return tf.constant(self._file.read(np.asarray(indices)))
        rows = self._in_turn(self._file.read, [indices], tf.float32)
        # A shape that TensorFlow's optimizer knows too: it then makes the same step of
        # it as of a variable's rows, to the same bits.
        return tf.reshape(rows, tf.stack([tf.shape(indices)[0], self.shape[1]]))

    def scatter(self, indices: Any, rows: Any) -> None:
        """As `sparse_variable.scatter`."""
        if not _in_graph(indices):
            self._file.write(np.asarray(indices), np.asarray(rows))
            return

        def write(indices: np.ndarray, rows: np.ndarray) -> np.int64:
            self._file.write(indices, rows)
            return np.int64(0)

        self._in_turn(write, [indices, rows], tf.int64)

    def reserve(self, num_rows: int) -> None:
        """As `RowFile.reserve`."""
        self._file.reserve(num_rows)

    def release(self) -> None:
        """As `RowFile.release`."""
        self._file.release()

    def enlarge(self, num_rows: int) -> None:
        """As `sparse_variable.enlarge`."""
        self._file.enlarge(num_rows, self._fill)

    def numpy(self) -> np.ndarray:
        """All rows, in memory."""
        return self._file.read(np.arange(self.shape[0]))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.numpy(), dtype)

    def load(self, rows: Any) -> None:
        """Write all rows, some at a time.

        Args:
            rows: of the same shape; anything that gives an array for a slice.
        """
        for start in range(0, self.shape[0], _ROWS_AT_ONCE):
            piece = np.asarray(rows[start : start + _ROWS_AT_ONCE])
            self._file.write(np.arange(start, start + len(piece)), piece)

    def pieces(self) -> Iterator[tuple[slice, np.ndarray]]:
        """All rows, some at a time: which, and these."""
        for start in range(0, self.shape[0], _ROWS_AT_ONCE):
            stop = min(start + _ROWS_AT_ONCE, self.shape[0])
            yield slice(start, stop), self._file.read(np.arange(start, stop))

    def mark(self, mark: str) -> None:
        """As `JournaledRows.mark`."""
        self._file.mark(mark)

    def check(self, mark: str) -> None:
        """As `JournaledRows.check`."""
        self._file.check(mark)

    def restore(self, mark: str) -> None:
        """As `JournaledRows.restore`."""
        self._file.restore(mark)

    def start_anew(self) -> None:
        """As `JournaledRows.start_anew`."""
        self._file.start_anew()

    def keep(self, marks: Collection[str]) -> None:
        """As `JournaledRows.keep`."""
        self._file.keep(marks)

    def _in_turn(
        self, function: Callable[..., Any], arguments: list[Any], dtype: tf.DType
    ) -> tf.Tensor:
        def call(turn: np.ndarray, *arguments: np.ndarray) -> tuple[Any, np.int64]:
            try:
                return function(*arguments), np.int64(turn + 1)
            except Exception as error:
                self.error = error
                raise

        with tf.device("CPU:0"):
            turn = self._turn.read_value()
            value, turn = tf.numpy_function(call, [turn, *arguments], [dtype, tf.int64])
            self._turn.assign(turn)
        return value


def check_one_device() -> None:
    """Check that there is one replica, for rows on disk.

    Raises:
        ValueError: if there are several.
    """
    strategy = tf.distribute.get_strategy()
    if strategy.num_replicas_in_sync > 1 or is_multi_worker(strategy):
        raise ValueError(
            'table_device="disk" is for one device. Received: a '
            f"{type(strategy).__name__} of {strategy.num_replicas_in_sync} replicas. "
            "Train on one device (--strategy=none), or leave the table in memory: "
            'table_device="cpu" has one for all replicas of a machine.'
        )


def rows_on_disk(model: Any) -> list[DiskRows]:
    """All of a model; none where its rows are in memory, or it has none."""
    layers = (getattr(model, name, None) for name in ("tables", "training_record"))
    return [rows for one in layers if one is not None for rows in one.on_disk()]


@contextlib.contextmanager
def room_for(model: Any, num_rows: int) -> Iterator[None]:
    """Enlarge the rows on disk where there is room for all of them.

    Args:
        model: whose they are.
        num_rows: how many there are to be.

    Raises:
        OutputError: if there is no room; the files are as they were.
    """
    all_rows = rows_on_disk(model)
    try:
        for rows in all_rows:
            rows.reserve(num_rows)
        yield
    except BaseException:
        for rows in all_rows:
            rows.release()
        raise


@contextlib.contextmanager
def left_out(model: Any) -> Iterator[None]:
    """Save or load weights without the rows on disk, of which there is a mark."""
    layers = [model.tables, model.training_record]
    for layer in layers:
        layer.leaves_rows_out = True
    try:
        yield
    finally:
        for layer in layers:
            layer.leaves_rows_out = False


@contextlib.contextmanager
def clear_disk_errors(model: Any) -> Iterator[None]:
    """Raise what a call in a graph raised, in place of TensorFlow's text of it."""
    try:
        yield
    except tf.errors.OpError:
        for rows in rows_on_disk(model):
            error, rows.error = rows.error, None
            if error is not None:
                raise error from None
        raise


def _first_turn() -> tf.Variable:
    with tf.device("CPU:0"):
        return tf.Variable(0, trainable=False, dtype=tf.int64)


def _in_graph(indices: Any) -> bool:
    return not tf.executing_eagerly() or tf.is_symbolic_tensor(indices)
