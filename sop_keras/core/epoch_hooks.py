"""What a method does before an epoch: its schedule, and its look at all examples."""

from __future__ import annotations

import logging
from typing import Any

import keras
import numpy as np
from keras import ops

from sop_keras.core.example_source import Source
from sop_keras.core.look import Look
from sop_keras.core.method import Method
from sop_keras.core.prediction import network_predictors

logger = logging.getLogger(__name__)

# Before the first epoch, and between two.
_NO_EPOCH = -1
_BATCH_SIZE = 256


class EpochHooks(keras.callbacks.Callback):
    """Calls the parts of a method that belong to epochs.

    The numbers of its schedule are variables of the model. So is the epoch that a look
    was taken before: a training that is resumed inside of an epoch goes on with the
    rows, and with the fresh start of the networks, that its begin saw.

    Args:
        model: the `NoisyLabelModel` whose method it is.

    Attributes:
        scheduled: the numbers of the schedule, variables by name.
        looks: whether the method has a look; it may never take one.
        of_epochs: whether what the method does hangs on the epoch.
    """

    def __init__(self, model: Any):
        super().__init__()
        self._owner, method = model, model.method
        self._data: Any = None
        self._predictors: list[Any] = []
        self._epochs = 1
        self.scheduled = {
            name: _scalar(model, name, value, "float32")
            for name, value in method.schedule(0, 1).items()
        }
        self.looks = type(method).before_epoch is not Method.before_epoch
        self._looked_before = None
        if self.looks:
            self._looked_before = _scalar(model, "looked_before", _NO_EPOCH, "int32")
        self._counts_epochs = type(method).after_epoch is not Method.after_epoch
        may_look = (
            type(method).looks_before is not Method.looks_before
            or method.fresh_start(epochs=2) is not None  # of the fewest
        )
        self.of_epochs = bool(self.scheduled or may_look or self._counts_epochs)
        self._start: int | None = None
        self._begins, self._epoch = False, 0

    def callbacks(
        self, scan_data: Any, x: Any, y: Any, epochs: int
    ) -> list[keras.callbacks.Callback]:
        """What `fit` calls at epochs: this, or nothing where the method has no need.

        Args:
            scan_data: a stream to look at, or None: x and y.
            x: what is trained on: arrays, in one view, or a stream.
            y: for arrays, their labels and ids; None for a stream.
            epochs: of the whole training.

        Raises:
            ValueError: if the method looks at all examples, and they are a stream.
        """
        self._epochs = epochs
        self._start = self._owner.method.fresh_start(epochs)
        if self.looks:
            is_known = y is not None
            if isinstance(x, Source):
                is_known = x.scan(0) is not None
            if scan_data is None and not is_known and self._will_look(epochs):
                raise ValueError(
                    f"{type(self._owner.method).__name__} looks at all examples before "
                    "an epoch, and a stream that is trained on cannot be looked at in "
                    "between. Pass fit(..., scan_data=...): a stream of "
                    '`(x, {"label": y, "index": i})`, each example once, unaugmented.'
                )
            self._data = (x, y) if scan_data is None else (scan_data, None)
        has_parts = self.scheduled or self.looks or self._counts_epochs
        return [self] if has_parts else []

    def _will_look(self, epochs: int) -> bool:
        looks_before = self._owner.method.looks_before
        return self._start is not None or any(map(looks_before, range(epochs)))

    def set_model(self, model: Any) -> None:
        """Leave the model as it is: it owns this."""

    def on_train_begin(self, logs: Any = None) -> None:
        """Note that the next epoch is the first of this call of `fit`."""
        self._begins = True

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Set the schedule, and look where the method wants to."""
        if self._begins and epoch == 0:
            self._warn_of_repetition()
        self._begins, self._epoch = False, epoch
        method = self._owner.method
        for name, value in method.schedule(epoch, self._epochs).items():
            self.scheduled[name].assign(value)
        if self._looked_before is None:
            return
        if int(ops.convert_to_numpy(self._looked_before)) == epoch:
            return
        if self._start is not None and epoch == 0:
            self._owner.fresh_start.keep_first(self._owner)
        if epoch == self._start:
            self._owner.fresh_start.recall_best(self._owner)
            self._look(epoch)
            self._owner.fresh_start.start(self._owner)
        elif method.looks_before(epoch):
            self._look(epoch)
        self._looked_before.assign(epoch)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Count the epoch; the next may have the same number, in another `fit`."""
        owner = self._owner
        if self._counts_epochs:
            owner.assign_shared(owner.method.after_epoch(owner.shared_values()))
        if self._start is not None and epoch < self._start:
            owner.fresh_start.keep_best(owner, (logs or {}).get("val_loss"))
        if self._looked_before is not None:
            self._looked_before.assign(_NO_EPOCH)

    def on_train_end(self, logs: Any = None) -> None:
        """Let go of the data, and say if a callback ended half of a training."""
        self._data = None
        if self._owner.stop_training and self._epoch < (self._start or 0):
            logger.warning(
                "Training was stopped in epoch %d, and %s trains anew from epoch %d on "
                "with what it has found by then: so far, the network is that of plain "
                "cross entropy. A callback that stops early, or restores the best "
                "epoch, sees one training where there are two: leave it out.",
                *(self._epoch, type(self._owner.method).__name__, self._start),
            )

    def _warn_of_repetition(self) -> None:
        record, changes = self._owner.training_record, self.scheduled or self.looks
        # Networks that learn in turn count their batches, and say it themselves.
        if self._owner.method.in_turn or not changes:
            return
        if record.num_written() == self._owner.num_examples:
            logger.warning(
                "Every example has been trained on already, and this call of fit "
                "begins with epoch 0 again: so does what %s changes from epoch to "
                "epoch. A training goes on with initial_epoch=, and epochs= of all.",
                type(self._owner.method).__name__,
            )

    def _look(self, epoch: int) -> None:
        model, (x, y) = self._owner, self._data
        if not self._predictors:
            self._predictors = network_predictors(model)
        predictors = self._predictors
        if isinstance(x, Source):
            x, y = x.scan(epoch), None
        ids, labels, log_probs = [], [], []
        for inputs, given, index in model.lookup_batches(x, y, _BATCH_SIZE):
            ids.append(index)
            labels.append(given)
            log_probs.append([model.log_probs(one(inputs)) for one in predictors])
        all_ids, all_labels = np.concatenate(ids), np.concatenate(labels)
        of_networks = tuple(map(np.concatenate, zip(*log_probs, strict=True)))
        rows = {
            name: ops.convert_to_numpy(values)
            for name, values in model.tables.rows(all_ids).items()
        }
        places = np.arange(len(all_ids))
        look = Look(
            epoch=epoch,
            ids=all_ids,
            labels=all_labels,
            log_probs=of_networks,
            losses=tuple(-one[places, all_labels] for one in of_networks),
            rows=rows,
            state=model.shared_values(),
        )
        for name, values in model.method.before_epoch(look).items():
            if name in model.shared:
                model.shared[name].assign(values)
            else:
                model.tables.write(name, all_ids, values)
        is_trusted = ops.convert_to_numpy(model.training_record.is_trusted(all_ids))
        model.neutralize(all_ids[is_trusted[:, 0]])  # whatever the look wrote there


def _scalar(model: Any, name: str, value: float, dtype: str) -> keras.Variable:
    return model.add_weight(
        name=name,
        shape=(),
        dtype=dtype,
        initializer=keras.initializers.Constant(value),
        trainable=False,
        autocast=False,
    )
