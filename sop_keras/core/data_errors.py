"""What the checks of the data raise, wherever they ran."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import tensorflow as tf


class DataError(ValueError):
    """Data that cannot be trained or evaluated on."""


ASSERTION_MARK = "DataError:"
"""The first entry of the assertions of the input pipeline."""

# TensorFlow wraps what its input pipeline met: an assertion, or a Python exception.
_PATTERNS = (
    re.compile(r"\[DataError:\] \[(.*?)\]\n", re.DOTALL),
    re.compile(r"DataError: (.*?)\n\s*Traceback", re.DOTALL),
)


@contextlib.contextmanager
def clear_data_errors() -> Iterator[None]:
    """Raise what a check in the input pipeline found as a DataError with its text."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        for pattern in _PATTERNS:
            if (found := pattern.search(f"{error}\n")) is not None:
                text = found.group(1).replace("\\'", "'").replace('\\"', '"')
                raise DataError(text) from None
        raise
