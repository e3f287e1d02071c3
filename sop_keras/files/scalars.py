"""The figures of each epoch, for TensorBoard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tensorflow as tf

from sop_keras.files.atomic import explained


class Scalars:
    """Writes figures of epochs where and as `keras.callbacks.TensorBoard` would.

    Unlike that, it goes on over several calls of `fit`, and a full disk is an
    OutputError.

    Args:
        folder: where `train/` and `validation/` go.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._writers: dict[str, Any] = {}

    def write(self, epoch: int, figures: dict[str, float]) -> None:
        """Write the figures of an epoch, counted from 0, by name.

        Those whose names begin with `val_` are of the validation examples.

        Raises:
            OutputError: where they cannot be written.
        """
        with explained_summaries(self._folder):
            for name, value in figures.items():
                part = "validation" if name.startswith("val_") else "train"
                if part not in self._writers:
                    path = str(self._folder / part)
                    self._writers[part] = tf.summary.create_file_writer(path)
                with self._writers[part].as_default():
                    name = f"epoch_{name.removeprefix('val_')}"
                    tf.summary.scalar(name, value, step=epoch)
            for writer in self._writers.values():
                writer.flush()


@contextmanager
def explained_summaries(folder: Path) -> Iterator[None]:
    """Turn what TensorFlow says where summaries cannot be written into an OutputError.

    Args:
        folder: where they go.
    """
    with explained(folder):
        try:
            yield
        except tf.errors.OpError as error:
            # "FILE; REASON", and lines of what was going on.
            reason = error.message.partition("\n")[0].rpartition("; ")[2]
            raise OSError(reason) from None
