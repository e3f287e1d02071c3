"""What is kept and seen of a training, so that its findings can be doubted."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from sop_keras.core.sparse_inputs import is_scipy_sparse
from sop_keras.core.table_scan import scan_tables
from sop_keras.core.training_data import is_stream
from sop_keras.core.training_record import UNKNOWN
from sop_keras.label_issues.doubts import Evidence, largest_of

AFTER_AN_EPOCH, AT_THE_END = 100_000, 2_000_000
"""Entries of tables that are looked at, `num_classes` an example: a sample of more.

Milliseconds after an epoch, a fraction of a second when all is over.
"""

# Of examples; and of inputs, for their range.
_LEAST_SAMPLE, _INPUTS = 1_000, 256
# Of what there is not yet: no loss is negative, no range ends before it begins.
_NOTHING = np.array([-1.0, 0.0, -1.0], np.float32)
# The least that float32 holds: the record's probabilities are never below.
_LEAST_PROB = 1e-45


@keras.saving.register_keras_serializable(package="sop_keras")
class TrainingHistory(keras.layers.Layer):
    """How a training began and how long it is, kept in the model's files.

    Attributes:
        count: int64 variable, shape `()`: how many examples were trained on, each time
            that they were.
        figures: float32 variable, shape `(3,)`: the mean cross entropy of the given
            labels in the first epoch, -1 while not known; the least and the largest
            value of the inputs, 0 and -1 while not known.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float32", "trainable": False})
        self.build()

    def build(self, input_shape: Any = None) -> None:
        """Create the variables."""
        self.count = self.add_weight(
            name="count",
            shape=(),
            dtype="int64",
            initializer="zeros",
            trainable=False,
            aggregation="only_first_replica",  # all know the whole batch
        )
        self.figures = self.add_weight(
            name="figures",
            shape=_NOTHING.shape,
            dtype="float32",
            initializer=lambda shape, dtype=None: ops.convert_to_tensor(_NOTHING),
            trainable=False,
            autocast=False,
        )
        self.built = True

    @property
    def num_trained_on(self) -> float:
        """How many examples were trained on, in all epochs together; 0: not known."""
        return float(ops.convert_to_numpy(self.count))

    @property
    def start_loss(self) -> float | None:
        """The mean cross entropy of the given labels in the first epoch."""
        loss = self._values()[0]
        return None if loss < 0 else loss

    @property
    def input_range(self) -> tuple[float, float] | None:
        """The least and the largest value of the inputs that training began with."""
        _, low, high = self._values()
        return None if low > high else (low, high)

    def add(self, rows: Any) -> None:
        """Count the examples of a batch, in its step.

        Args:
            rows: of the whole batch, as of `TrainingRecord.write`: those of which
                nothing is said were not trained on.
        """
        is_trained_on = ops.cast(rows[:, 0] != UNKNOWN, "int64")
        self.count.assign_add(ops.sum(is_trained_on))

    def begin(self, loss: float, input_range: tuple[float, float] | None) -> None:
        """Keep how the training began."""
        figures = np.array([loss, *(input_range or _NOTHING[1:])], np.float32)
        self.figures.assign(figures)

    def _values(self) -> list[float]:
        return ops.convert_to_numpy(self.figures).tolist()

    def load_own_variables(self, store: Any) -> None:
        """Load them; what was saved before there were any leaves them unknown."""
        if len(store.keys()):
            super().load_own_variables(store)


def evidence_of(
    model: Any,
    most_entries: int = AT_THE_END,
    to_come: float = 0.0,
    is_over: bool = True,
) -> Evidence:
    """What is known of a model's training, by its tables, record and history.

    The examples that have been trained on are looked at, or as many of them as there is
    time for: always the same ones.

    Args:
        model: a `NoisyLabelModel`.
        most_entries: of tables, how many to look at. Defaults to `AT_THE_END`.
        to_come: how many examples will still be trained on, each time that they are.
            Defaults to `0.0`.
        is_over: whether the training is. Defaults to `True`.
    """
    ids = _sample(model.num_examples, model.num_classes, most_entries)
    is_written = model.training_record.is_written(ids)
    num_known = model.num_examples * float(is_written.mean())
    ids = ids[is_written]
    labels = model.training_record.labels(ids)
    scan = scan_tables(model, labels, ids)
    # Rows that are kept neutral say nothing of how the others grew.
    is_trusted = ops.convert_to_numpy(model.training_record.is_trusted(ids))[:, 0]
    noise_scores = np.where(is_trusted, np.nan, scan.noise_scores)
    history = model.training_history
    visits = None
    if num_known and history.num_trained_on:
        visits = (history.num_trained_on + to_come) / num_known
        if model.method.in_turn:  # each network's are half of them
            visits /= 2
    return Evidence(
        largest_score=largest_of(noise_scores),
        noise_scores=noise_scores,
        quality=scan.quality,
        labels=labels,
        predictions=scan.predictions,
        num_classes=model.num_classes,
        start_loss=history.start_loss,
        input_range=history.input_range,
        visits=visits,
        figures=model.method.figures(model.shared_values()),
        is_over=is_over,
    )


def first_loss(model: Any) -> float | None:
    """The mean cross entropy of the given labels when each was last trained on."""
    ids = _sample(model.num_examples, model.num_classes, AFTER_AN_EPOCH)
    predictions, given_probs = model.training_record.read(ids)
    given_probs = given_probs[predictions >= 0]
    if not len(given_probs):
        return None
    return float(-np.log(np.maximum(given_probs, _LEAST_PROB)).mean())


def range_of(x: Any) -> tuple[float, float] | None:
    """The least and the largest value of the first inputs.

    None of a stream, and of what are no numbers or not finite.
    """
    if is_stream(x):
        return None
    parts = [
        part[:_INPUTS] if is_scipy_sparse(part) else np.asarray(part[:_INPUTS])
        for part in keras.tree.flatten(x)
        if is_scipy_sparse(part) or hasattr(part, "__array__")
    ]
    numbers = [part for part in parts if part.size and part.dtype.kind in "fiu"]
    if not numbers:
        return None
    low, high = float(min(map(np.min, numbers))), float(max(map(np.max, numbers)))
    return (low, high) if np.isfinite([low, high]).all() else None


def _sample(num_examples: int, num_classes: int, most_entries: int) -> np.ndarray:
    """Ids, ascending: all of them, or some without an order that data could have."""
    count = max(_LEAST_SAMPLE, most_entries // num_classes)
    if count >= num_examples:
        return np.arange(num_examples)
    drawn = np.random.default_rng(0).integers(0, num_examples, count)
    return np.unique(drawn)
