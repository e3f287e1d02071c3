"""What `fit` says, once, when a training goes where it finds out nothing of labels."""

from __future__ import annotations

import logging
from typing import Any

import keras
from keras import ops

from sop_keras.core.training_evidence import (
    AFTER_AN_EPOCH,
    AT_THE_END,
    evidence_of,
    first_loss,
    range_of,
)
from sop_keras.label_issues.doubts import Doubt

logger = logging.getLogger(__name__)

# What shows later than that takes long to show.
_EACH_UNTIL, _THEN_EVERY = 10, 10
_EVICTED = "evicted"


class DoubtWatch(keras.callbacks.Callback):
    """Looks at a training now and then, and logs each new doubt of its method.

    After each of the first ten epochs, each tenth one later, and the last.

    What it must know later is kept in the model's `training_history`.

    Args:
        model: the `NoisyLabelModel` whose training it is.

    Attributes:
        doubts: those when it last looked.
    """

    def __init__(self, model: Any):
        super().__init__()
        self.doubts: tuple[Doubt, ...] = ()
        self._owner = model
        self._said: set[str] = set()
        self._epochs = 1
        self._input_range: tuple[float, float] | None = None
        self._count: float | None = None

    def begin(self, x: Any, epochs: int) -> DoubtWatch:
        """Prepare for a call of `fit`; gives this.

        Args:
            x: what is trained on: arrays, or a stream.
            epochs: of the whole training.
        """
        self._epochs = epochs
        self._input_range = range_of(x)
        return self

    def set_model(self, model: Any) -> None:
        """Leave the model as it is: it owns this."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Count anew."""
        self._count = None

    def on_test_begin(self, logs: Any = None) -> None:
        """Count before the metrics are those of validation."""
        self._count_examples()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Keep what must be known later, and say what is new."""
        model, history = self._owner, self._owner.training_history
        count = self._count_examples()
        if epoch == 0 and history.start_loss is None:
            loss = first_loss(model)
            if loss is not None:
                history.begin(loss, self._input_range)
        epochs_left = max(self._epochs - epoch - 1, 0)
        if epoch >= _EACH_UNTIL and epochs_left and (epoch + 1) % _THEN_EVERY:
            return
        self._say_evicted(epoch)
        evidence = evidence_of(
            model,
            AFTER_AN_EPOCH if epochs_left else AT_THE_END,
            to_come=epochs_left * count,
            is_over=not epochs_left,
        )
        self.doubts = model.method.doubts(evidence)
        for doubt in self.doubts:
            if doubt.name not in self._said:
                self._said.add(doubt.name)
                logger.warning("After epoch %d: %s", epoch + 1, doubt.text)

    def _say_evicted(self, epoch: int) -> None:
        model = self._owner
        count = model.tables.num_evicted()
        if count and _EVICTED not in self._said:
            self._said.add(_EVICTED)
            logger.warning(
                "After epoch %d: %d times an entry of a row had none of the %d slots, "
                "and starts anew when it is predicted again. More slots "
                "(table_slots, --table_slots) keep it.",
                *(epoch + 1, count, model.table_slots),
            )

    def _count_examples(self) -> float:
        """How many examples the epoch has trained on, by the weight of its loss."""
        if self._count is None:
            metrics = self._owner.metrics
            tracker = next(metric for metric in metrics if metric.name == "loss")
            self._count = float(ops.convert_to_numpy(tracker.count))
        return self._count
