"""Training of two networks that learn in turn, a pass each in every epoch."""

from __future__ import annotations

import logging
from typing import Any

import keras
import numpy as np
from keras import ops

from sop_keras.core.data_errors import DataError
from sop_keras.core.example_source import ArraySource, Source
from sop_keras.core.held_out import num_trained_on
from sop_keras.core.label_changes import OnceBegun
from sop_keras.core.method import Method
from sop_keras.core.method_batches import MethodBatches
from sop_keras.core.passes import EpochPlan, Pass, PlannedBatch, pass_number
from sop_keras.core.training_data import is_stream
from sop_keras.validation import check_integer

logger = logging.getLogger(__name__)


class InTurn(MethodBatches):
    """A model whose networks may learn in turn.

    An epoch of `fit` is then a pass of the backbone and, after it, one of the peer;
    each network and phase of the training has a compiled step of its own.

    Attributes:
        pass_begin: how many batches the network that learns had had when its pass
            began.
        epoch_plan: the batches of the epoch under way; None before the first one, and
            where networks do not learn in turn.
    """

    pass_begin: keras.Variable
    epoch_plan: EpochPlan | None = None
    tables: Any
    _hooks: Any
    _step = 0
    _initial_step = 0

    def compile(self, optimizer: Any = "rmsprop", **kwargs: Any) -> None:
        """As `Networks.compile`, where networks can learn in turn.

        Raises:
            ValueError: if they cannot.
        """
        if self.method.in_turn:
            check_turns(
                type(self.method).__name__,
                self._made_under.num_replicas_in_sync,
                kwargs.get("steps_per_execution", 1),
            )
            inner = getattr(optimizer, "inner_optimizer", optimizer)
            if getattr(inner, "use_ema", False):
                raise ValueError(
                    "use_ema=True overwrites a network's weights with their average at "
                    "the end of each call of Keras' fit, here of each epoch. Leave it "
                    f"out: {type(self.method).__name__} trains two networks in turn."
                )
        super().compile(optimizer=optimizer, **kwargs)

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        *args: Any,
        initial_step: int = 0,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """As `IndexedModel.fit`.

        Where networks learn in turn, an epoch is a pass of each over the examples, and
        x is arrays or an `ExampleSource`. Orders and views hang on the epoch's number:
        a training in several calls says where it goes on, by `initial_epoch`.

        Args:
            x: as of `IndexedModel.fit`, or an `ExampleSource`.
            y: as of `IndexedModel.fit`; None for an `ExampleSource`.
            *args: as of `IndexedModel.fit`.
            initial_step: where networks learn in turn, the batch of `initial_epoch` to
                go on with. Defaults to `0`.
            **kwargs: as of `IndexedModel.fit`.

        Raises:
            ValueError: for a stream there, whose order is not the method's.
        """
        _check_source(x, self.method)
        self._initial_step = check_integer("initial_step", initial_step, 0)
        if initial_step and not self.method.in_turn:
            raise ValueError("`initial_step` is for methods that learn in turn.")
        if isinstance(x, Source):
            if y is not None or kwargs.get("validation_split"):
                raise DataError(
                    "An ExampleSource brings its own labels, and no part of it can be "
                    "set aside. Leave out y and `validation_split`."
                )
            y = {"label": x.labels, "index": x.ids}
            if kwargs.get("sample_weight") is None and x.sample_weight is not None:
                kwargs["sample_weight"] = x.sample_weight
        return super().fit(x, y, *args, **kwargs)

    def make_train_function(self, force: bool = False) -> Any:
        """As in Keras; where networks learn in turn, of each one's step."""
        if not self.method.in_turn:
            return super().make_train_function(force)
        if self.train_function is not None and not force:
            return self.train_function
        functions: dict[tuple[int, str], Any] = {}

        def step(iterator: Any) -> Any:
            plan = self.epoch_plan
            assert plan is not None
            self._learner, self._phase = plan.network(self._step), plan.phase
            if plan.begins_pass(self._step):
                self.pass_begin.assign(self._num_batches())
            key = (self._learner, self._phase)
            if key not in functions:
                super(InTurn, self).make_train_function(force=True)
                functions[key], self.train_function = self.train_function, step
            logs = functions[key](iterator)
            self._step += 1
            return logs

        self.train_function = step
        return step

    def train_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """As `IndexedModel.train_on_batch`, where all networks learn of a batch.

        Raises:
            ValueError: if they learn in turn, or the method changes from epoch to
                epoch: a batch alone does not say which one it is of.
        """
        if self.method.in_turn:
            raise ValueError(
                f"{type(self.method).__name__} chooses the examples of each batch "
                "itself, in turn for two networks: train_on_batch cannot. Call fit()."
            )
        if self._hooks.of_epochs:
            raise ValueError(
                f"What {type(self.method).__name__} does hangs on the epoch, which "
                "train_on_batch does not know: it would stay at what it is before the "
                "first one. Call fit(), of an epoch at a time if need be: fit(..., "
                "initial_epoch=epoch, epochs=epoch + 1, total_epochs=epochs)."
            )
        return super().train_on_batch(*args, **kwargs)

    def _check_inputs(self, x: Any, training: bool) -> Any:
        # Its batches are looked at as they come.
        if isinstance(x, Source):
            return x
        return super()._check_inputs(x, training)

    def _one_view(self, inputs: Any) -> Any:
        if isinstance(inputs, Source):
            return inputs
        return super()._one_view(inputs)

    def _build_for(self, x: Any, y: Any) -> Any:
        if not isinstance(x, Source):
            return super()._build_for(x, y)
        one = PlannedBatch(0, x.places(0)[:1])
        super()._build_for(x.batches([one]), None)
        return x

    def _add_pass_begin(self) -> None:
        if self.method.in_turn:
            self.pass_begin = self.add_weight(
                name="pass_begin",
                shape=(),
                dtype="int64",
                initializer="zeros",
                trainable=False,
                autocast=False,
            )

    def _step_in_pass(self) -> Any:
        if not self.method.in_turn:
            return 0
        return self._num_batches() - self.pass_begin

    def _fit(self, x: Any, y: Any, **kwargs: Any) -> keras.callbacks.History:
        if not self.method.in_turn:
            return super()._fit(x, y, **kwargs)
        return self._fit_in_turn(x, y, **kwargs)

    def _fit_in_turn(
        self,
        x: Any,
        y: Any,
        batch_size: int | None = None,
        epochs: int = 1,
        initial_epoch: int = 0,
        verbose: Any = "auto",
        callbacks: Any = None,
        shuffle: bool = True,
        sample_weight: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        if sample_weight is not None and not self.method.takes_weights:
            raise DataError(
                f"{type(self.method).__name__} decides by itself how much each example "
                "counts. Leave `sample_weight` and `class_weight` out."
            )
        if kwargs.pop("steps_per_epoch", None) is not None:
            raise ValueError(
                f"{type(self.method).__name__} has as many steps in an epoch as two "
                "passes over the examples take. Leave `steps_per_epoch` out."
            )
        if validation_split:
            count = num_trained_on(len(y["label"]), validation_split)
            arrays = (x, y) if sample_weight is None else (x, y, sample_weight)
            x_val, y_val, *weights = _cut(arrays, slice(count, None))
            validation_data = (x_val, y_val["label"], *weights)
            x, y, *weights = _cut(arrays, slice(count))
            sample_weight = weights[0] if weights else None
        source = x if isinstance(x, Source) else ArraySource(x, y)
        batch_size = check_integer("batch_size", batch_size or 32, 1)
        if batch_size != self._batch_size:
            self._batch_size = batch_size
            self.make_train_function(force=True)  # steps know it
        calls = _OneTraining(
            callbacks,
            add_history=True,
            add_progbar=verbose != 0,
            model=self,
            verbose=verbose,
            epochs=epochs,
            steps=None,
        )
        self.stop_training = False
        calls.on_train_begin()
        # Where BackupAndRestore goes on.
        initial_epoch = self._initial_epoch or initial_epoch
        self._initial_epoch = None
        self._warn_of_repetition(initial_epoch)
        own_weight, source.sample_weight = source.sample_weight, sample_weight
        try:
            for epoch in range(initial_epoch, epochs):
                if self.stop_training:
                    break
                # What comes before an epoch comes before its batches are chosen.
                for one in callbacks:
                    if isinstance(one, OnceBegun):
                        one.on_epoch_begin(epoch)
                self._hooks.on_epoch_begin(epoch)
                batches = self._next_batches(source, epoch, shuffle)
                calls.set_params({**calls.params, "steps": int(batches.cardinality())})
                super()._fit(
                    batches,
                    None,
                    epochs=epoch + 1,
                    initial_epoch=epoch,
                    callbacks=calls,
                    shuffle=False,
                    validation_data=validation_data,
                    batch_size=batch_size,
                    **kwargs,
                )
        finally:
            source.sample_weight = own_weight
            self._learner = None
        calls.end()
        return self.history

    def _warn_of_repetition(self, epoch: int) -> None:
        done = int(self._num_batches())
        if epoch == 0 and self._initial_step == 0 and done:
            logger.warning(
                "The networks have had %d batches already, and this call of fit begins "
                "with epoch 0 again: with the same orders, views and draws as then. A "
                "training goes on with initial_epoch=, and epochs= of all.",
                done,
            )

    def _next_batches(self, source: Source, epoch: int, shuffle: bool) -> Any:
        """What is left of an epoch, checked as it comes."""
        plan = self._planned(source, epoch, shuffle, self._initial_step)
        if not plan.left:
            raise ValueError(
                f"Epoch {epoch} has {plan.count} batches, of which {plan.done} are to "
                "be left out (`initial_step`): there is nothing to train on."
            )
        self.epoch_plan = plan
        self._step, self._initial_step = self._initial_step, 0
        return self._training_data.for_fit(source.batches(plan.left))[0]

    def _planned(
        self, source: Source, epoch: int, shuffle: bool, done: int
    ) -> EpochPlan:
        """The batches of both networks in an epoch."""
        places = source.places(epoch)
        ids = source.ids[places]

        def rows(name: str) -> np.ndarray:
            return ops.convert_to_numpy(self.tables.rows_of(name, ids))

        def planned(network: int) -> list[PlannedBatch]:
            examples = Pass(
                epoch=epoch,
                network=network,
                ids=ids,
                rows=rows,
                batch_size=self._batch_size or 1,
                seed=(self.seed or 0) % 2**64,
                shuffles=shuffle,
            )
            number = pass_number(epoch, network)
            return [
                PlannedBatch(number, places[np.asarray(batch)])
                for batch in self.method.batches(examples)
            ]

        phase = self.method.phase(epoch)
        return EpochPlan(phase, planned(0), planned(1), done)


def _cut(arrays: Any, part: slice) -> Any:
    return keras.tree.map_structure(lambda one: one[part], arrays)


class _OneTraining(keras.callbacks.CallbackList):
    """Callbacks of one training that takes a call of Keras' `fit` an epoch."""

    _has_begun = False
    _logs: Any = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Tell of the first beginning alone."""
        if not self._has_begun:
            self._has_begun = True
            super().on_train_begin(logs)

    def on_train_end(self, logs: Any = None) -> None:
        """Keep what the last end says."""
        self._logs = logs

    def end(self) -> None:
        """Tell of the end."""
        super().on_train_end(self._logs)


def check_turns(name: str, num_replicas: int, steps_per_execution: int) -> None:
    """Check that networks can learn in turn.

    Args:
        name: of the method.
        num_replicas: how many they are trained on.
        steps_per_execution: as of `compile`.

    Raises:
        ValueError: if they cannot.
    """
    if num_replicas > 1:
        raise ValueError(
            f"{name} cannot be trained by {num_replicas} replicas: its networks learn "
            "in turn of batches that it puts together itself, and these are not cut "
            "into parts. Train on one device."
        )
    if steps_per_execution != 1:
        raise ValueError(
            f"{name} trains two networks in turn, and an execution of several steps "
            f"would take some of each. Received: steps_per_execution="
            f"{steps_per_execution}; leave it at 1."
        )


def _check_source(x: Any, method: Method) -> None:
    name = type(method).__name__
    if method.in_turn and is_stream(x):
        raise DataError(
            f"{name} chooses the examples of each batch itself, and a stream has an "
            f"order of its own. Received: a {type(x).__name__}. Pass arrays, or an "
            "ExampleSource, which loads and augments the examples that are asked for."
        )
    if isinstance(x, Source) and not method.in_turn:
        raise DataError(
            "An ExampleSource is for methods whose networks learn in turn. "
            f"{name} takes arrays or a stream."
        )
