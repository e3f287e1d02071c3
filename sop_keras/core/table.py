"""What a table of examples' rows is, and how its rows are stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from keras import ops

from sop_keras.core import compact_rows
from sop_keras.core.table_kinds import DENSE, KINDS
from sop_keras.validation import check_choice_of, check_integer


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
        is_sparse: whether few entries of a row ever grow beyond what they were at
            first, so that it may be stored in slots. Defaults to `False`.
        shrinks_by: times the learning rate, over the batch size, times its cube: what
            any other entry loses with each visit. Defaults to `0.0`.
        slots: how many entries of a row are stored (`compact_rows`). Defaults to
            `None`: all.
    """

    name: str
    columns: int
    std: float | None = None
    initial: float = 0.0
    is_sparse: bool = False
    shrinks_by: float = 0.0
    slots: int | None = None

    @property
    def stored_columns(self) -> int:
        """The length of a row as it is stored."""
        return self.columns if self.slots is None else compact_rows.width(self.slots)

    @property
    def variable_name(self) -> str:
        """What the table's variable is called: a row of slots is not the row itself."""
        return self.name if self.slots is None else f"{self.name}_slots"

    @property
    def described(self) -> str:
        """Its name, and how long a row is."""
        if self.slots is None:
            return f"{self.name}: {self.columns}"
        return f"{self.name}: {self.slots} slots of {self.columns}"

    def first_stored(self, num_rows: Any) -> Any:
        """Rows of slots as they start, `(num_rows, stored_columns)`."""
        return compact_rows.first_rows(num_rows, self.slots or 0)

    def neutral_stored(self, num_rows: int) -> Any:
        """Rows that hold nothing against their labels, as they are stored."""
        if self.slots is None:
            return ops.full((num_rows, self.columns), self.initial, dtype="float32")
        return compact_rows.equal_rows(num_rows, self.slots, self.initial)


def stored(tables: Sequence[Table], kind: str, slots: int) -> tuple[Table, ...]:
    """The tables as a model stores them.

    Args:
        tables: a method's.
        kind: `"dense"` or `"compact"`, `chosen_kind`'s.
        slots: how many entries of a row a compact table stores.

    Raises:
        ValueError: for another kind, for slots that there cannot be, or `"compact"`
            where no table is sparse.
    """
    check_choice_of("table", kind, KINDS)
    slots = check_integer("table_slots", slots, least=1)
    if kind == DENSE:
        return tuple(tables)
    sparse = [table for table in tables if table.is_sparse]
    if not sparse:
        raise ValueError(
            'table="compact" is for tables of which few entries of a row matter, such '
            "as v of SOP, and this method has none. Leave `table` out."
        )
    for table in sparse:
        if compact_rows.width(slots) >= table.columns:
            raise ValueError(
                f"A row of {slots} slots takes {compact_rows.width(slots)} numbers, a "
                f"whole one of {table.name} {table.columns}: nothing is saved. "
                f"Received: table_slots={slots}. Leave `table` out, or ask for at most "
                f"{(table.columns - 3) // 2}."
            )
    return tuple(
        replace(table, slots=slots) if table.is_sparse else table for table in tables
    )


def size_of(tables: Sequence[Table], num_examples: int) -> str:
    """How much memory the rows of all examples take, as a sentence without its end."""
    columns = sum(table.stored_columns for table in tables)
    described = ", ".join(table.described for table in tables)
    return (
        f"The rows of {num_examples:,} examples ({described}) take "
        f"{4 * columns * num_examples:,} bytes"
    )
