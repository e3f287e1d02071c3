"""What the entries of rows of slots are that have none, saved with the rows."""

from __future__ import annotations

from typing import Any

from keras import ops

from sop_keras.core.saved_rows import SavedRows

_NUM_PIECES, _BITS = 4, 16  # of a seed: whole numbers that float32 holds, too


class UnstoredEntries(SavedRows):
    """A layer of rows with entries that are not stored, but known all the same.

    In rows of slots, what has none is a draw of the seed, or the table's `std` itself.
    Which of both, and the seed, is saved: a file gives the rows that were saved,
    whatever the model is compiled with, if at all.

    Attributes:
        drawn_from: the seed of values that hang on ids.
        level: names of tables whose rows start anew at their `std` itself, as
            `compile` says.
        unstored_level: names of tables of slots whose unstored entries are their `std`
            itself: those of `level` when it was last set, or of the file that was
            loaded since.
    """

    table_names: tuple[str, ...] = ()
    drawn_from: int = 0
    unstored_level: tuple[str, ...] = ()
    level: tuple[str, ...] = ()

    def set_level(self, names: tuple[str, ...]) -> None:
        """Say which tables' rows start at their `std`, not as draws of it.

        Of slots, unstored entries of all rows are so at once.
        """
        self.level = names
        if self._has_seed():
            self.unstored_level = tuple(
                name for name in names if hasattr(self, f"{name}_slots")
            )
            self.write_unstored()

    def add_draw_seed(self) -> None:
        """Add the variable that keeps it: to be called before tables are added.

        They are put last as they grow, so that it is the first one always.
        """
        self.draw_seed = self.add_weight(
            name="draw_seed",
            shape=(_NUM_PIECES,),
            dtype="int64",
            initializer="zeros",
            trainable=False,
        )

    def write_unstored(self) -> None:
        """Keep, in the variable, what unstored entries are.

        Pieces of the seed; the first one has, above its bits, one a table, set where
        entries are level.
        """
        pieces = [(self.drawn_from >> _BITS * i) % 2**_BITS for i in range(_NUM_PIECES)]
        for place, name in enumerate(self.table_names):
            pieces[0] += (name in self.unstored_level) << (_BITS + place)
        self.draw_seed.assign(pieces)

    def read_unstored(self) -> None:
        """Have unstored entries be what the variable says: it was loaded, or set."""
        if not self._has_seed():
            return
        pieces = [int(one) for one in ops.convert_to_numpy(self.draw_seed)]
        self.drawn_from = sum(
            one % 2**_BITS << _BITS * i for i, one in enumerate(pieces)
        )
        self.unstored_level = tuple(
            name
            for place, name in enumerate(self.table_names)
            if pieces[0] >> (_BITS + place) & 1
        )

    def unstored(self) -> tuple[Any, ...]:
        """What compiled steps have of this: they are made anew where it changes."""
        return self.drawn_from, self.unstored_level

    def load_own_variables(self, store: Any) -> None:
        """Load the rows, and what their unstored entries are."""
        super().load_own_variables(store)
        self.read_unstored()

    def _has_seed(self) -> bool:
        return hasattr(self, "draw_seed")
