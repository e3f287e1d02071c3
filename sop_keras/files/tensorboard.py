"""TensorBoard's files: the figures of each epoch, and whatever else it shows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
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


class Summaries:
    """A folder of TensorBoard's files.

    The file is made when the first thing is written.

    Args:
        folder: where the file goes.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._writer: Any = None

    @property
    def is_begun(self) -> bool:
        """Whether this process has written something."""
        return self._writer is not None

    @contextmanager
    def writing(self) -> Iterator[None]:
        """What is written inside is in the file at the end; all must be.

        Raises:
            OutputError: where it cannot be written.
        """
        with explained_summaries(self._folder):
            if self._writer is None:
                self._writer = tf.summary.create_file_writer(str(self._folder))
            with self._writer.as_default():  # which flushes at its end
                yield

    def scalars(self, step: int, figures: Mapping[str, float]) -> None:
        """Write figures by name."""
        for name, value in figures.items():
            tf.summary.scalar(name, value, step=step)

    def histogram(self, step: int, name: str, buckets: np.ndarray) -> None:
        """Write counts as they are: tf.summary.histogram would ask for all values.

        Args:
            step: what it belongs to.
            name: its tag.
            buckets: left end, right end and count of each, shape `(k, 3)`.
        """
        from tensorboard.plugins.histogram import metadata

        tf.summary.write(
            name,
            tf.constant(buckets, tf.float64),
            step=step,
            metadata=metadata.create_summary_metadata(None, None),
        )

    def image(self, step: int, name: str, pixels: np.ndarray) -> None:
        """Write a picture, uint8 of shape `(height, width, 3)`."""
        tf.summary.image(name, pixels[None], step=step)

    def text(self, step: int, name: str, text: str) -> None:
        """Write text that is shown as it is, whatever it holds."""
        tf.summary.text(name, code_block(text), step=step)

    def hparams(
        self, settings: Mapping[str, Any], metrics: Mapping[str, tuple[str, str]]
    ) -> None:
        """Write a row of the page HParams.

        Args:
            settings: values by name.
            metrics: for each title, the tag of a scalar and the folder below this one
                that it is in (`""` for this one).
        """
        from tensorboard.plugins.hparams import api

        values = {name: _plain(value) for name, value in settings.items()}
        api.hparams_config(
            hparams=[api.HParam(name) for name in values],
            metrics=[
                api.Metric(tag, group=group, display_name=title)
                for title, (tag, group) in metrics.items()
            ],
        )
        api.hparams(values)


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


def code_block(text: str) -> str:
    """Markdown that shows a text as it is.

    It is indented, line by line: unlike fences of backticks, there is nothing that the
    text could hold to end that.
    """
    return "\n".join(f"    {line}" for line in text.splitlines())


def _plain(value: Any) -> Any:
    """What HParams takes: numbers, bools and strings."""
    if isinstance(value, (bool, int, float, str)):
        return value
    return "none" if value is None else json.dumps(value, default=str)
