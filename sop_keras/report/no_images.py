"""Examples without images, such as features of texts: they are named by their row."""

from __future__ import annotations

import errno

import numpy as np

from sop_keras.data.images.encoded_images import EncodedImages


class NoImages(EncodedImages):
    """Stands for the images of examples that have none.

    Args:
        rows: the row of each example in its file, integers `(n,)`.
    """

    def __init__(self, rows: np.ndarray):
        super().__init__(resize=1, image_size=1)
        self._rows = np.asarray(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, positions: np.ndarray) -> NoImages:
        return NoImages(self._rows[positions])

    def read(self, position: int) -> bytes:
        """There is nothing to read.

        Raises:
            FileNotFoundError: always.
        """
        raise FileNotFoundError(errno.ENOENT, "it has no image", self.name(position))

    def name(self, position: int) -> str:
        """The row, from 0 on."""
        return f"row {self._rows[position]}"
