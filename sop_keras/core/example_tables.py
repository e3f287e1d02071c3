"""Example tables: the small variables that every training example owns."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from sop_keras.core import sparse_variable
from sop_keras.core.saved_rows import SavedRows
from sop_keras.randomness.keyed_tensors import normal_tensor

logger = logging.getLogger(__name__)

_ROWS_AT_ONCE = 65_536
_MOST_DRAWN = 6.0  # standard deviations, that 2e-9 of the draws exceed

# Rows of the tables, or what examples bring for them, by the tables' names.
Rows = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """A variable of which every training example owns a row, float32.

    Args:
        name: what rows are called in the method's parts.
        columns: the length of a row, at least 1.
        std: rows start as draws from N(0, std^2). Defaults to `None`: they
            all start as `initial`.
        initial: a number, at which a row holds nothing against its label: rows whose
            labels a person has confirmed are kept there, drawn ones too. Defaults to
            `0.0`.
    """

    name: str
    columns: int
    std: float | None = None
    initial: float = 0.0


class ExampleTables(SavedRows):
    """A method's tables, changed a few rows at a time.

    A step touches the rows of its batch alone: O(batch_size x columns) in time and
    extra memory, whatever `num_examples` is. Nothing that passes over a table (a dense
    gradient, a constraint, an average, weight decay) exists here. The variables are not
    among the model's trainable ones, so that no optimizer takes them for weights of a
    network; they are saved with the model like every other variable.

    Under a tf.distribute strategy every replica holds the whole tables, unless `device`
    says otherwise, and takes the updates of all replicas' rows: the copies stay equal.

    Args:
        tables: what they are, in the order in which they are drawn and saved.
        num_examples: the number of rows, N.
        seed: of first values that are drawn: an integer, or None for Keras' global
            seed. Defaults to `None`.
        device: `"cpu"` for tables in the host's memory, which all replicas of this
            process share: of tables larger than a GPU's memory, only the rows of the
            batch cross. Defaults to `None`: where the network is, on every replica.

    Attributes:
        Each table under its own name: a float32 variable, shape
        `(num_examples, columns)`.
        level: names of tables whose rows start anew at their `std` itself, not as draws
            of it.
    """

    level: tuple[str, ...] = ()

    def __init__(
        self,
        tables: Sequence[Table],
        num_examples: int,
        seed: int | None = None,
        device: str | None = None,
        **kwargs: Any,
    ):
        # float32 under any dtype policy: 1e-8 squared is 0 in float16.
        super().__init__(**{**kwargs, "dtype": "float32", "trainable": False})
        self.num_examples = num_examples
        self.device = device
        self.table_names = tuple(table.name for table in tables)
        self._kinds = tuple(tables)
        self._seed = 0  # of draws by id
        for table in tables:
            setattr(self, table.name, self._add_table(table))
            if table.std is None and table.initial:
                filled = partial(ops.full, fill_value=table.initial, dtype="float32")
                self._fill(table, filled)
        drawn = [table for table in tables if table.std is not None]
        if drawn:
            # One generator for all: a seed twice would give two tables equal draws.
            seeds = keras.random.SeedGenerator(seed)
            if seed is None:  # a draw of Keras' global seed, where the state starts
                seed = ops.convert_to_numpy(seeds.state)[0]
            self._seed = int(seed) % 2**64
            for table in drawn:
                draws = partial(
                    keras.random.normal, stddev=table.std, dtype="float32", seed=seeds
                )
                self._fill(table, draws)
        self.built = True

    def rows(self, ids: Any) -> dict[str, Any]:
        """The rows of every table at `ids`, `(n, columns)` each, by name."""
        return {
            name: sparse_variable.gather(variable, ids)
            for name, variable in self.by_name().items()
        }

    def first_rows(self, ids: Any) -> dict[str, Any]:
        """Fresh first values for rows, `(n, columns)` of each table, by name.

        Those that are drawn hang on the seed, the table and the id alone: whenever, in
        whatever batch and on whichever replica they are drawn, they are the same. Those
        of `level` are not drawn.

        Args:
            ids: integers, shape `(n,)`.
        """
        ids = ops.cast(ids, "int64")
        return {table.name: self._first_values(table, ids) for table in self._kinds}

    def start_level(self, ids: np.ndarray) -> None:
        """Start rows of the tables of `level` that are as they were drawn.

        Args:
            ids: of rows that no training has moved, as far as is known. Larger entries
                than a draw has stay.
        """
        tables = [table for table in self._kinds if table.name in self.level]
        for start in range(0, len(ids), _ROWS_AT_ONCE):
            chunk = ids[start : start + _ROWS_AT_ONCE]
            rows = self.rows(chunk)
            for table in tables:
                std, old = table.std or 0.0, np.asarray(rows[table.name])
                new = np.where(np.abs(old) <= _MOST_DRAWN * std, std, old)
                self.write(table.name, chunk, new)

    def say_size(self) -> None:
        """Log how much memory the rows of all examples take, if there are any."""
        if not self._kinds:
            return
        columns = sum(table.columns for table in self._kinds)
        logger.info(
            "The rows of %s (%s) take %s bytes %s.",
            f"{self.num_examples:,} examples",
            ", ".join(f"{table.name}: {table.columns}" for table in self._kinds),
            f"{4 * columns * self.num_examples:,}",
            "beside the network" if self.device is None else "in the host's memory",
        )

    def neutral_rows(self, num_rows: int) -> dict[str, np.ndarray]:
        """Rows that hold nothing against their labels, as `first_rows`."""
        return {
            table.name: np.full((num_rows, table.columns), table.initial, np.float32)
            for table in self._kinds
        }

    def grow(self, num_examples: int) -> None:
        """Keep all rows, and give further ones their first values.

        Args:
            num_examples: the new number of rows, larger than the old one.
        """
        start, self.num_examples = self.num_examples, num_examples
        for table in self._kinds:
            sparse_variable.enlarge(self, table.name, partial(self._add_table, table))
        for first in range(start, num_examples, _ROWS_AT_ONCE):
            ids = np.arange(first, min(first + _ROWS_AT_ONCE, num_examples))
            for name, rows in self.first_rows(ids).items():
                self.write(name, ids, rows)

    def by_name(self) -> dict[str, keras.Variable]:
        """The variables by their names, in their order."""
        return {name: getattr(self, name) for name in self.table_names}

    def update(
        self,
        ids: Any,
        brought: Rows,
        updated: Callable[[Rows, Rows], Rows],
        average: bool = False,
        kept: Any = None,
    ) -> None:
        """Change the rows of a batch.

        What equal ids bring is summed first, or averaged: one update a row. An example
        that brings something that is not finite (the network overflowed on it) brings
        nothing: a NaN would stay in the table for ever, where the network's own
        optimizer recovers (Keras' LossScaleOptimizer skips such a step).

        Args:
            ids: integers, shape `(n,)`, all in `[0, num_examples)`: checked where the
                data come in, because XLA drops assertions and clamps gathers.
            brought: what each example brings for some of the tables' rows, `(n,
                columns)` by name.
            updated: gives the new rows of old ones and what was brought; those of the
                tables that it does not name stay.
            average: whether equal ids are averaged, not summed; their rows then stay as
                they are where nothing was brought. Defaults to `False`.
            kept: whose rows stay as they are, bool `(n, 1)`. Defaults to `None`: none.
        """
        is_finite = _are_finite(brought)
        brought = {name: ops.where(is_finite, b, 0.0) for name, b in brought.items()}
        segments = first_positions(ids)
        brought = {name: _sum_segments(b, segments) for name, b in brought.items()}
        old = self.rows(ids)
        if average:
            count = _sum_segments(ops.cast(is_finite, "float32"), segments)
            brought = {name: b / ops.maximum(count, 1.0) for name, b in brought.items()}
        new = updated(old, brought)
        if average:
            new = {name: ops.where(count > 0, r, old[name]) for name, r in new.items()}
        if kept is not None:
            new = {name: ops.where(kept, old[name], r) for name, r in new.items()}
        for name, rows in new.items():
            sparse_variable.scatter(self.by_name()[name], ids, rows)

    def write(self, name: str, ids: Any, values: Any) -> None:
        """Write rows of one table as they are, a chunk at a time.

        Args:
            name: of the table.
            ids: integers, shape `(n,)`, none twice.
            values: shape `(n, columns)`, or `(n,)` for one column.

        Raises:
            ValueError: for a table that there is not.
        """
        if name not in self.table_names:
            raise ValueError(
                f"There is no table {name!r} to write to, only: "
                f"{', '.join(self.table_names) or 'none'}."
            )
        variable = self.by_name()[name]
        values = np.asarray(values, np.float32).reshape(len(ids), variable.shape[1])
        for start in range(0, len(ids), _ROWS_AT_ONCE):
            chunk = slice(start, start + _ROWS_AT_ONCE)
            sparse_variable.scatter(
                variable,
                ops.convert_to_tensor(ids[chunk]),
                ops.convert_to_tensor(values[chunk]),
            )

    def write_first(self, first: Mapping[str, tuple[Any, Any]]) -> None:
        """Write the rows of a method's `first_rows`.

        Raises:
            ValueError: for an id that is none of a row.
        """
        for name, (ids, values) in first.items():
            ids = np.asarray(ids)
            if len(ids) and not 0 <= ids.min() <= ids.max() < self.num_examples:
                raise ValueError(
                    f"There are rows for the ids 0 to {self.num_examples - 1} "
                    f"(`num_examples`). Received, for {name!r}, ids from {ids.min()} "
                    f"to {ids.max()}: are they those of other data?"
                )
            self.write(name, ids, values)

    def _add_table(self, table: Table) -> keras.Variable:
        def add() -> keras.Variable:
            return self.add_weight(
                name=table.name,
                shape=(self.num_examples, table.columns),
                dtype="float32",
                # Others would need the table's memory twice: values are written after.
                initializer="zeros",
                trainable=False,
                autocast=False,
            )

        return add() if self.device is None else sparse_variable.on_host(add)

    def _first_values(self, table: Table, ids: Any) -> Any:
        if table.std is None:
            return self._filled(ids, table, table.initial)
        if table.name in self.level:
            return self._filled(ids, table, table.std)
        columns = ops.arange(table.columns, dtype="int64")
        use = f"rows of {table.name}"
        return table.std * normal_tensor(self._seed, use, ids[:, None], columns)

    def _filled(self, ids: Any, table: Table, value: float) -> Any:
        return ops.full((ops.shape(ids)[0], table.columns), value, dtype="float32")

    def _fill(self, table: Table, values: Callable[[tuple[int, int]], Any]) -> None:
        variable = getattr(self, table.name)
        # In pieces: the usual initializer would need several times the table.
        for start in range(0, self.num_examples, _ROWS_AT_ONCE):
            stop = min(start + _ROWS_AT_ONCE, self.num_examples)
            rows = values((stop - start, table.columns))
            sparse_variable.scatter(
                variable, ops.arange(start, stop, dtype="int32"), rows
            )


def first_positions(ids: Any) -> Any:
    """A number for every distinct id: its first position among the sorted ids."""
    return ops.searchsorted(ops.sort(ids), ids)


def _are_finite(brought: Rows) -> Any:
    """Which examples bring finite values alone, bool `(n, 1)`."""
    finite = [
        ops.all(ops.isfinite(b), axis=-1, keepdims=True) for b in brought.values()
    ]
    all_finite = finite[0]
    for one in finite[1:]:
        all_finite = ops.logical_and(all_finite, one)
    return all_finite


def _sum_segments(values: Any, segments: Any) -> Any:
    """Replace every row by the sum of the rows in its segment."""
    sums = ops.segment_sum(values, segments, num_segments=ops.shape(values)[0])
    return ops.take(sums, segments, axis=0)
