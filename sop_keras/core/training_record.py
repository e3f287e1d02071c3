"""What the network last said of every training example, as training went by."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from sop_keras.core import sparse_variable
from sop_keras.core.equal_ids import first_positions
from sop_keras.core.saved_rows import SavedRows

UNKNOWN = -1
"""In place of a label: the example has never been trained on."""

_NEVER = float(UNKNOWN)
_CONFIRMED, _REPLACED = 1, 2  # that and the class
_ROWS_AT_ONCE = 1_048_576


@keras.saving.register_keras_serializable(package="sop_keras")
class TrainingRecord(SavedRows):
    """The prediction for each training example in the last batch that it was in.

    Training computes it anyway: what is kept here costs O(batch_size) a step and no
    pass over the data. It is the prediction of the training network (dropout, batch
    statistics) for the augmented view (the weak one of two), before the batch's step.
    Where an example has the weight 0, the batch says nothing of it.

    Args:
        num_examples: the number of rows, N.
        device: as of `ExampleTables`. Defaults to `None`.
        folder: as of `ExampleTables`. Defaults to `None`.

    Attributes:
        table: float32 variable, shape `(num_examples, 3)`: the predicted class, the
            probability of the given label, and that label; -1 in all of them for an
            example that has never been trained on: in no batch, or with the weight 0.
        trusted: float32 variable, shape `(num_examples, 1)`: 1 where a person has
            confirmed the label, 2 and the number of a class where a person has put
            another one in the place of that class, otherwise 0.
    """

    _file_prefix = "record_"

    def __init__(
        self,
        num_examples: int,
        device: str | None = None,
        folder: Path | None = None,
        **kwargs: Any,
    ):
        super().__init__(**{**kwargs, "dtype": "float32", "trainable": False})
        self.num_examples = num_examples
        self.device, self.folder = device, folder
        self.build()

    def build(self, input_shape: Any = None) -> None:
        """Create the variables."""
        self.table = self._add_rows("table", 3, _NEVER)
        self.trusted = self._add_rows("trusted", 1)
        self.built = True

    def grow(self, num_examples: int) -> None:
        """Keep all rows, and add further ones with nothing in them.

        Args:
            num_examples: the new number of rows, larger than the old one.
        """
        for name, columns, fill in (("table", 3, _NEVER), ("trusted", 1, 0.0)):
            add = partial(self._add_rows, name, columns, fill, num_examples)
            sparse_variable.enlarge(self, name, num_examples, add)
        self.num_examples = num_examples

    def write(self, indices: Any, rows: Any) -> None:
        """Write what was said of a whole batch.

        Of equal ids, the first counts that says something. A probability that is not
        finite is written as 0: the network may recover from it, and a NaN would stay.

        Args:
            indices: ids, shape `(n,)`, all in `[0, num_examples)`.
            rows: float32, shape `(n, 3)`, as those of `table`; -1 where nothing is said
                of an example, whose row stays as it is.
        """
        rows = ops.where(ops.isfinite(rows), rows, 0.0)
        # Equal ids must write equal rows: nothing says which is written last.
        groups = first_positions(indices)
        count = ops.shape(indices)[0]
        places = ops.arange(count, dtype="int32")
        places = ops.where(rows[:, 0] == _NEVER, places + count, places)
        first = -ops.segment_max(-places, groups, num_segments=count) % count
        rows = ops.take(rows, ops.take(first, groups), axis=0)
        # What is written must hang on what was read: else XLA may read after it writes,
        # from a copy of the whole table.
        old = sparse_variable.gather(self.table, indices)
        rows = ops.where(rows[:, :1] == _NEVER, old, rows)
        sparse_variable.scatter(self.table, indices, rows)

    def read(self, indices: Any) -> tuple[np.ndarray, np.ndarray]:
        """The predicted classes, int64, and the given labels' probabilities, float32.

        Both have the shape of `indices`, `(n,)`; -1 where there is nothing yet.
        """
        rows = self._rows(indices)
        return rows[:, 0].astype(np.int64), rows[:, 1]

    def other_label(self, indices: Any, labels: np.ndarray) -> np.ndarray:
        """Which of the examples were trained on under another label, `(n,)`, bool.

        Args:
            indices: their ids, shape `(n,)`.
            labels: the labels to compare with, integers `(n,)`.
        """
        trained_on = self.labels(indices)
        return (trained_on != UNKNOWN) & (trained_on != labels)

    def labels(self, indices: Any) -> np.ndarray:
        """The labels that examples were last trained on under, int32 `(n,)`.

        `UNKNOWN` where there is nothing yet.
        """
        return self._rows(indices)[:, 2].astype(np.int32)

    def all_labels(self) -> np.ndarray:
        """As `labels`, of all examples, `(num_examples,)`."""
        return np.concatenate([self.labels(ids) for ids in self._all_ids()])

    def is_changed(self, indices: Any, labels: Any) -> Any:
        """As `other_label`, in a step: a tensor of bool, `(n,)`."""
        given = sparse_variable.gather(self.table, indices)[:, 2]
        is_other = given != ops.cast(labels, "float32")
        return ops.logical_and(given != _NEVER, is_other)

    def is_new(self, indices: Any) -> Any:
        """Which were not trained on before, in a step: a tensor of bool, `(n, 1)`."""
        return sparse_variable.gather(self.table, indices)[:, 2:] == _NEVER

    def is_trusted(self, indices: Any) -> Any:
        """Whose labels a person has confirmed, a tensor of bool, `(n, 1)`."""
        return sparse_variable.gather(self.trusted, indices) > 0.5

    def was_given(self, indices: Any, labels: Any) -> Any:
        """The labels as they came, before a person corrected them, int32 `(n,)`.

        Args:
            indices: ids, shape `(n,)`.
            labels: the labels as they are now, integers of the same shape.
        """
        replaced = sparse_variable.gather(self.trusted, indices)[:, 0]
        replaced = ops.cast(replaced, "int32") - _REPLACED
        return ops.where(replaced >= 0, replaced, ops.cast(labels, "int32"))

    def trust(self, indices: np.ndarray, given: np.ndarray | None = None) -> None:
        """Write that a person has confirmed labels, or corrected them.

        Args:
            indices: their ids, shape `(n,)`, none twice.
            given: for labels that may have been corrected, those that were given,
                integers `(n,)`. Defaults to `None`: they are as given.
        """
        codes = (
            np.full(len(indices), _CONFIRMED) if given is None else _REPLACED + given
        )
        self._write_trusted(indices, codes)

    def _write_trusted(self, indices: np.ndarray, codes: np.ndarray) -> None:
        rows = codes[:, None].astype(np.float32)
        sparse_variable.scatter(
            self.trusted, *map(ops.convert_to_tensor, (indices, rows))
        )

    def forget(self, indices: np.ndarray) -> None:
        """Empty the rows of examples: as if they had never been trained on.

        Args:
            indices: their ids, shape `(n,)`, none twice.
        """
        rows = np.full((len(indices), 3), _NEVER, np.float32)
        sparse_variable.scatter(
            self.table, *map(ops.convert_to_tensor, (indices, rows))
        )
        self._write_trusted(indices, np.zeros(len(indices)))

    def is_written(self, indices: Any) -> np.ndarray:
        """Which of the examples have ever been trained on, shape `(n,)`, bool."""
        return self.read(indices)[0] != _NEVER

    def num_written(self) -> int:
        """How many examples have ever been trained on."""
        return sum(int(self.is_written(ids).sum()) for ids in self._all_ids())

    def is_empty(self) -> bool:
        """Whether no example has ever been trained on."""
        return not any(self.is_written(ids).any() for ids in self._all_ids())

    def unwritten(self) -> Iterator[np.ndarray]:
        """The ids of all others whose labels no one has confirmed, in pieces."""
        for ids in self._all_ids():
            is_trusted = ops.convert_to_numpy(self.is_trusted(ids))[:, 0]
            yield ids[~self.is_written(ids) & ~is_trusted]

    def _all_ids(self) -> Iterator[np.ndarray]:
        for start in range(0, self.num_examples, _ROWS_AT_ONCE):
            yield np.arange(start, min(start + _ROWS_AT_ONCE, self.num_examples))

    def _rows(self, indices: Any) -> np.ndarray:
        return ops.convert_to_numpy(sparse_variable.gather(self.table, indices))

    def load_own_variables(self, store: Any) -> None:
        """Load the variables; what was saved before there were any leaves them."""
        num_saved = len(store.keys())
        if not num_saved and self.refusal is None:
            return
        if num_saved == 1:  # before labels could be trusted
            store = {"0": store["0"], "1": np.zeros(self.trusted.shape, np.float32)}
        super().load_own_variables(store)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {
            **super().get_config(),
            "num_examples": self.num_examples,
            "device": None if self.device == "disk" else self.device,
        }


def record_rows(predictions: Any, probs: Any, labels: Any, weights: Any = None) -> Any:
    """What is recorded of each example: rows for `TrainingRecord.write`.

    Args:
        predictions: onehot(argmax f), shape `(n, num_classes)`.
        probs: the network's probabilities, of the same shape.
        labels: one-hot given labels, likewise.
        weights: of the examples, shape `(n, 1)`: -1 is recorded where one is 0, of
            which nothing is learnt. Defaults to `None`: none is 0.

    Returns:
        float32, shape `(n, 3)`.
    """
    classes = ops.argmax(predictions, axis=-1), ops.argmax(labels, axis=-1)
    predicted, given = (ops.cast(one, "float32") for one in classes)
    rows = ops.stack([predicted, ops.sum(probs * labels, axis=-1), given], axis=-1)
    return rows if weights is None else ops.where(weights > 0, rows, _NEVER)
