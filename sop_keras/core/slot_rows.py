"""Rows of slots as those see them who look at what has moved, not at whole rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SlotRows:
    """Rows of which the stored entries are given one by one, all others as one number.

    Args:
        columns: of the stored entries, integers `(n, slots)`; -1 where a slot has none.
        values: of these, float32 of the same shape.
        rest: the size of every other entry of a row, `(n,)`; of those that were drawn,
            the standard deviation.
        num_columns: of whole rows.
    """

    columns: np.ndarray
    values: np.ndarray
    rest: np.ndarray
    num_columns: int

    def entries(self, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The label's entry, then one for all of the rest, then the stored ones.

        Args:
            labels: columns, integers `(n,)`.

        Returns:
            Values, 0 of the label and of slots without an entry off it; how many
            entries of the row each is; and columns, of the rest the first that is not
            the label. All have the shape `(n, slots + 2)`.
        """
        is_off = (self.columns >= 0) & (self.columns != labels[:, None])
        num_rest = self.num_columns - 1 - is_off.sum(axis=1)
        zeros, ones = np.zeros_like(self.rest), np.ones_like(num_rest)
        first_other = np.where(labels == 0, 1, 0)
        values = np.where(is_off, self.values, 0.0)
        return (
            np.column_stack([zeros, self.rest, values]).astype(np.float32),
            np.column_stack([ones, num_rest, is_off]),
            np.column_stack([labels, first_other, self.columns]),
        )
