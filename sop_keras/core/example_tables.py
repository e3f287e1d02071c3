"""Example tables: the small variables that every training example owns."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from sop_keras.core import compact_rows, sparse_variable
from sop_keras.core.equal_ids import are_finite, first_positions, sum_segments
from sop_keras.core.table import Table, size_of
from sop_keras.core.unstored_entries import UnstoredEntries
from sop_keras.randomness.keyed_tensors import normal_tensor

logger = logging.getLogger(__name__)

_ROWS_AT_ONCE = 65_536
_ENTRIES_AT_ONCE = 2**22  # of whole rows
_MOST_DRAWN = 6.0  # standard deviations, that 2e-9 of the draws exceed

# Rows of the tables, or what examples bring for them, by the tables' names.
Rows = Mapping[str, Any]


class ExampleTables(UnstoredEntries):
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
        seed: of first values that are drawn: an integer, or None for a draw of Keras'
            global seed, which a model's file has (`drawn_from`). Defaults to `None`.
        device: `"cpu"` for tables in the host's memory, which all replicas of this
            process share: of tables larger than a GPU's memory, only the rows of the
            batch cross; `"disk"` for tables in files. Defaults to `None`: where the
            network is, on every replica.
        folder: of these files. Defaults to `None`.

    Attributes:
        Each table under its own name: a float32 variable, shape
        `(num_examples, columns)`; one of slots under `NAME_slots`, shape
        `(num_examples, 2 slots + 2)`.
        level: names of tables whose rows start anew at their `std` itself.
    """

    def __init__(
        self,
        tables: Sequence[Table],
        num_examples: int,
        seed: int | None = None,
        device: str | None = None,
        folder: Path | None = None,
        **kwargs: Any,
    ):
        # float32 under any dtype policy: 1e-8 squared is 0 in float16.
        super().__init__(**{**kwargs, "dtype": "float32", "trainable": False})
        self.num_examples = num_examples
        self.device, self.folder = device, folder
        self.table_names = tuple(table.name for table in tables)
        self._kinds = tuple(tables)
        has_slots = any(table.slots is not None for table in tables)
        if has_slots:
            self.add_draw_seed()
        for table in tables:
            rows = self._add_rows(table.variable_name, table.stored_columns)
            setattr(self, table.variable_name, rows)
            if table.slots is not None:
                self._fill(table, partial(_first_stored, table))
            elif table.std is None and table.initial:
                filled = partial(ops.full, fill_value=table.initial, dtype="float32")
                self._fill(table, filled)
        drawn = [table for table in tables if table.std is not None]
        if drawn:
            # One generator for all: a seed twice would give two tables equal draws.
            seeds = keras.random.SeedGenerator(seed)
            if seed is None:  # a draw of Keras' global seed, where the state starts
                seed = ops.convert_to_numpy(seeds.state)[0]
            self.drawn_from = int(seed) % 2**64
            for table in (one for one in drawn if one.slots is None):
                draws = partial(
                    keras.random.normal, stddev=table.std, dtype="float32", seed=seeds
                )
                self._fill(table, draws)
        if has_slots:
            self.write_unstored()
        self.built = True

    def rows(self, ids: Any) -> dict[str, Any]:
        """The rows of every table at `ids`, `(n, columns)` each, by name."""
        return {table.name: self._rows(table, ids)[0] for table in self._kinds}

    def rows_of(self, name: str, ids: Any) -> Any:
        """The rows of one table at `ids`, `(n, columns)`."""
        return self._rows(self._kind(name), ids)[0]

    def rows_to_look_at(self, ids: Any) -> dict[str, Any]:
        """As `rows`; of slots, what is stored of them (`SlotRows`)."""
        found = {}
        for table in self._kinds:
            if table.slots is None:
                found[table.name] = self._rows(table, ids)[0]
                continue
            stored = sparse_variable.gather(self._variable(table), ids)
            size = abs(table.initial if table.std is None else table.std)
            found[table.name] = compact_rows.slot_rows(stored, table.columns, size)
        return found

    def num_evicted(self) -> int:
        """How many entries there was no slot for so far, in all rows of all tables."""
        count = 0
        for table in self._kinds:
            if table.slots is None:
                continue
            for start in range(0, self.num_examples, _ROWS_AT_ONCE):
                stop = min(start + _ROWS_AT_ONCE, self.num_examples)
                ids = ops.arange(start, stop, dtype="int32")
                stored = sparse_variable.gather(self._variable(table), ids)
                count += int(ops.sum(compact_rows.evictions(stored)))
        return count

    def figures(self) -> dict[str, float]:
        """What TensorBoard is shown of tables of slots: `num_evicted`."""
        if all(table.slots is None for table in self._kinds):
            return {}
        return {"table/evicted": float(self.num_evicted())}

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
        tables = [  # of slots, the rest of a row is level at once
            table
            for table in self._kinds
            if table.name in self.level and table.slots is None
        ]
        for start in range(0, len(ids), _ROWS_AT_ONCE):
            chunk = ids[start : start + _ROWS_AT_ONCE]
            for table in tables:
                std, old = table.std or 0.0, np.asarray(self._rows(table, chunk)[0])
                new = np.where(np.abs(old) <= _MOST_DRAWN * std, std, old)
                self.write(table.name, chunk, new)

    def say_size(self) -> None:
        """Log how much memory the rows of all examples take, if there are any."""
        if not self._kinds:
            return
        where = {None: "beside the network", "cpu": "in the host's memory"}.get(
            self.device, f"on disk, in {self.folder}"
        )
        logger.info("%s %s.", size_of(self._kinds, self.num_examples), where)

    def write_neutral(self, ids: np.ndarray) -> None:
        """Have rows hold nothing against their labels.

        Args:
            ids: integers, shape `(n,)`, none twice.
        """
        for table in self._kinds:
            for start in range(0, len(ids), _ROWS_AT_ONCE):
                chunk = ids[start : start + _ROWS_AT_ONCE]
                rows = table.neutral_stored(len(chunk))
                sparse_variable.scatter(
                    self._variable(table), ops.convert_to_tensor(chunk), rows
                )

    def write_first_where(self, ids: Any, starts: Any) -> None:
        """Start rows of a batch anew, in a step.

        Args:
            ids: integers, shape `(n,)`; of equal ones, all or none start.
            starts: which of them do, bool `(n, 1)`.
        """
        for table in self._kinds:
            variable = self._variable(table)
            first = self._stored_first(table, ids)
            rows = ops.where(starts, first, sparse_variable.gather(variable, ids))
            sparse_variable.scatter(variable, ids, rows)

    def write_first_rows(self, ids: np.ndarray) -> None:
        """Start rows anew.

        Args:
            ids: integers, shape `(n,)`, none twice.
        """
        for table in self._kinds:
            at_once = max(1, _ENTRIES_AT_ONCE // table.stored_columns)
            for start in range(0, len(ids), at_once):
                chunk = ops.convert_to_tensor(ids[start : start + at_once])
                rows = self._stored_first(table, chunk)
                sparse_variable.scatter(self._variable(table), chunk, rows)

    def grow(self, num_examples: int) -> None:
        """Keep all rows, and give further ones their first values.

        Args:
            num_examples: the new number of rows, larger than the old one.
        """
        for table in self._kinds:
            name, columns = table.variable_name, table.stored_columns
            add = partial(self._add_rows, name, columns, num_rows=num_examples)
            sparse_variable.enlarge(self, name, num_examples, add)
        for first in range(self.num_examples, num_examples, _ROWS_AT_ONCE):
            self.write_first_rows(
                np.arange(first, min(first + _ROWS_AT_ONCE, num_examples))
            )
        # Last: where there was no room, the same is done again from the start.
        self.num_examples = num_examples

    def by_name(self) -> dict[str, keras.Variable]:
        """The variables by their tables' names, in their order."""
        return {table.name: self._variable(table) for table in self._kinds}

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
        is_finite = are_finite(brought)
        brought = {name: ops.where(is_finite, b, 0.0) for name, b in brought.items()}
        segments = first_positions(ids)
        brought = {name: sum_segments(b, segments) for name, b in brought.items()}
        read = {table.name: self._rows(table, ids) for table in self._kinds}
        old = {name: rows for name, (rows, _, _) in read.items()}
        stays = kept
        if average:
            count = sum_segments(ops.cast(is_finite, "float32"), segments)
            brought = {name: b / ops.maximum(count, 1.0) for name, b in brought.items()}
            nothing = count <= 0
            stays = nothing if kept is None else ops.logical_or(kept, nothing)
        for name, rows in updated(old, brought).items():
            _, stored, first = read[name]
            if first is not None:
                is_level = self._is_level(self._kind(name))
                rows = compact_rows.compacted(rows, stored, first, is_level)
            if stays is not None:
                rows = ops.where(stays, stored, rows)
            sparse_variable.scatter(self.by_name()[name], ids, rows)

    def write(self, name: str, ids: Any, values: Any) -> None:
        """Write rows of one table, a chunk at a time.

        Of slots, what `compact_rows.compacted` keeps: the largest entries of those that
        are larger than they were at first.

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
        table = self._kind(name)
        values = np.asarray(values, np.float32).reshape(len(ids), table.columns)
        at_once = max(1, _ENTRIES_AT_ONCE // table.columns)
        for start in range(0, len(ids), at_once):
            chunk = slice(start, start + at_once)
            places = ops.convert_to_tensor(ids[chunk])
            rows = ops.convert_to_tensor(values[chunk])
            if table.slots is not None:
                stored = table.first_stored(rows.shape[0])
                first = self._first_values(table, ops.cast(places, "int64"))
                is_level = self._is_level(table)
                rows = compact_rows.compacted(rows, stored, first, is_level)
            sparse_variable.scatter(self._variable(table), places, rows)

    def write_first(self, first: Mapping[str, tuple[Any, Any]]) -> None:
        """Write the rows of a method's `first_rows`.

        Raises:
            ValueError: for an id that is none of a row.
        """
        if not self._is_settled():
            return
        for name, (ids, values) in first.items():
            ids = np.asarray(ids)
            if len(ids) and not 0 <= ids.min() <= ids.max() < self.num_examples:
                raise ValueError(
                    f"There are rows for the ids 0 to {self.num_examples - 1} "
                    f"(`num_examples`). Received, for {name!r}, ids from {ids.min()} "
                    f"to {ids.max()}: are they those of other data?"
                )
            self.write(name, ids, values)

    def _is_settled(self) -> bool:
        """Whether rows have values: those of a run's files do once it goes on."""
        return all(one.is_settled for one in self.on_disk())

    def _kind(self, name: str) -> Table:
        return self._kinds[self.table_names.index(name)]

    def _variable(self, table: Table) -> keras.Variable:
        return getattr(self, table.variable_name)

    def _rows(self, table: Table, ids: Any) -> tuple[Any, Any, Any]:
        """Whole rows; as they are stored; and of slots, what they were at first."""
        stored = sparse_variable.gather(self._variable(table), ids)
        if table.slots is None:
            return stored, stored, None
        first = self._first_values(table, ops.cast(ids, "int64"))
        return compact_rows.expanded(stored, first), stored, first

    def _stored_first(self, table: Table, ids: Any) -> Any:
        if table.slots is not None:
            return table.first_stored(ops.shape(ids)[0])
        return self._first_values(table, ops.cast(ids, "int64"))

    def _first_values(self, table: Table, ids: Any) -> Any:
        if table.std is None:
            return self._filled(ids, table, table.initial)
        if self._is_level(table):
            return self._filled(ids, table, table.std)
        columns = ops.arange(table.columns, dtype="int64")
        use = f"rows of {table.name}"
        return table.std * normal_tensor(self.drawn_from, use, ids[:, None], columns)

    def _is_level(self, table: Table) -> bool:
        level = self.level if table.slots is None else self.unstored_level
        return table.name in level

    def _filled(self, ids: Any, table: Table, value: float) -> Any:
        return ops.full((ops.shape(ids)[0], table.columns), value, dtype="float32")

    def _fill(self, table: Table, values: Callable[[tuple[int, int]], Any]) -> None:
        if not self._is_settled():
            return
        variable = self._variable(table)
        # In pieces: the usual initializer would need several times the table.
        for start in range(0, self.num_examples, _ROWS_AT_ONCE):
            stop = min(start + _ROWS_AT_ONCE, self.num_examples)
            rows = values((stop - start, table.stored_columns))
            sparse_variable.scatter(
                variable, ops.arange(start, stop, dtype="int32"), rows
            )


def _first_stored(table: Table, shape: tuple[int, int]) -> Any:
    return table.first_stored(shape[0])
