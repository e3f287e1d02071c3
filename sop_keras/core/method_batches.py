"""What the step of a method is given of the data, and what the networks say of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from keras import ops

from sop_keras.core.batch import Batch, Outputs
from sop_keras.core.data_errors import DataError
from sop_keras.core.example_tables import Rows
from sop_keras.core.global_batch import GlobalBatch
from sop_keras.core.held_out import num_trained_on
from sop_keras.core.method import Method
from sop_keras.core.networks import Networks
from sop_keras.core.shared_state import SharedState
from sop_keras.core.training_data import unpack
from sop_keras.core.training_record import TrainingRecord
from sop_keras.core.views import check_view, check_views, count_inputs
from sop_keras.core.weight_averages import WeightAverages


class MethodBatches(SharedState, Networks):
    """A model whose batches are a method's: its views, mixed as it wants them.

    Attributes:
        method: the method.
        from_logits: whether the networks give logits.
        seed: of the tables' first values, and of what a method draws.
    """

    method: Method
    from_logits: bool
    seed: int | None
    _hooks: Any
    _trained_inputs: int | None = None
    # Of a training in turn.
    _phase: str = ""
    _batch_size: int | None = None
    averages: WeightAverages | None = None
    training_record: TrainingRecord
    # Whether the examples that have been trained on were counted since `compile`.
    _is_counted: bool = False

    @property
    def _mixes(self) -> bool:
        return type(self.method).mix is not Method.mix

    def _unpacked(self, data: Any) -> tuple[Batch, GlobalBatch]:
        """A replica's part of a batch, as a method sees it, and the whole."""
        x, given_labels, ids, sample_weight = unpack(data)
        labels = self._one_hot(given_labels)
        whole = GlobalBatch(ops.shape(labels)[0])
        batch = Batch(
            views=x if self.method.num_views > 1 else (x,),
            given_labels=given_labels,
            labels=labels,
            ids=ids,
            weights=column(sample_weight),
            size=whole.size * self._accumulated_batches,
            mean=whole.mean,
            gather=whole.gather,
            places=whole.places,
            step=self._num_batches(),
            num_examples=self.num_examples,
            seed=(self.seed or 0) % 2**64,
            # A rate is of keras.config.floatx(), as rows never are.
            rates={
                name: ops.cast(one.learning_rate, "float32")
                for name, one in self.row_optimizers().items()
            },
            scheduled=self._hooks.scheduled,
            state=self.shared,
            network=self._learner or 0,
            phase=self._phase,
            step_in_pass=self._step_in_pass(),
            batch_size=self._batch_size,
            ask=self._ask,
            was_given=lambda: self._one_hot(
                self.training_record.was_given(ids, ops.argmax(labels, axis=-1))
            ),
            is_new=lambda: self.training_record.is_new(ids),
            from_logits=self.from_logits,
        )
        return batch, whole

    def _step_in_pass(self) -> Any:
        """How many batches there have been in the pass of the network that learns."""
        return 0

    def _ask(
        self, place: int, view: Any, training: bool = False, averaged: bool = False
    ) -> Any:
        """As `Batch.ask`."""
        network = self.networks()[place]
        if averaged:
            assert self.averages is not None
            outputs = self.averages.outputs(network, place, view)
        else:
            outputs = network(view, training=training)
        return ops.stop_gradient(ops.cast(outputs, "float32"))

    def _update_averages(self) -> None:
        """Take the step of the network that learns into its running average."""
        if self.averages is None:
            return
        for place in self._learning():
            optimizer: Any = self.network_optimizers()[place]
            optimizer = getattr(optimizer, "inner_optimizer", optimizer)
            decay = self.method.weight_average_decay(
                ops.cast(optimizer.iterations, "int64")
            )
            if self._accumulated_batches > 1:  # which are one step, the last one's
                is_step = self._num_batches() % self._accumulated_batches == 0
                decay = ops.where(is_step, decay, 1.0)
            self.averages.update(self.networks()[place], place, decay)

    def _predicting(self) -> tuple[Any, ...]:
        return self.networks() if self.method.predicts_together else (self.backbone,)

    def _mixed(
        self, given: Batch, rows: Rows, whole: GlobalBatch
    ) -> tuple[Batch, GlobalBatch]:
        """What the method makes of a batch to train on, and the whole of that."""
        if not self._mixes:
            return given, whole
        batch = self.method.mix(given, rows)
        whole = GlobalBatch(ops.shape(batch.labels)[0])
        is_relabelled = batch.labels is not given.labels
        batch = dataclasses.replace(
            batch,
            given_labels=batch.labels if is_relabelled else given.given_labels,
            ids=given.ids,
            size=whole.size * self._accumulated_batches,
            mean=whole.mean,
            gather=whole.gather,
            places=whole.places,
        )
        return batch, whole

    def _outputs(self, batch: Batch) -> Any:
        """What the network says of the batch, or each of the networks."""
        outputs = tuple(
            map(self._as_outputs, self._views_through_networks(batch.views))
        )
        return outputs if len(outputs) > 1 else outputs[0]

    def _as_outputs(self, views: tuple[Any, ...]) -> Outputs:
        return Outputs(
            views=views,
            probs=ops.softmax(views[0], axis=-1) if self.from_logits else views[0],
            predictions=self._one_hot(ops.argmax(views[0], axis=-1)),
            from_logits=self.from_logits,
        )

    def _said(self, outputs: Any, batch: Batch, given: Batch) -> Outputs:
        """What is recorded of the examples that were given: of the first network."""
        first = outputs[0] if isinstance(outputs, tuple) else outputs
        if batch.seen is not None:
            return self._as_outputs((batch.seen,))
        if not self._mixes:
            return first
        # And trains on more examples, it may be.
        return self._as_outputs((first.views[0][: ops.shape(given.labels)[0]],))

    def _track(self, loss: Any, parts: Mapping[str, Any], batch: Batch) -> None:
        batch_size = ops.shape(batch.labels)[0]
        self._track_loss(loss, batch_size)
        for name, value in parts.items():
            self._parts[name].update_state(value, sample_weight=batch_size)

    def _logs(
        self, data: Any, outputs: Any, whole: GlobalBatch, batch: Batch, given: Batch
    ) -> dict[str, Any]:
        """The metrics so far, those of compile() on the first network's first view."""
        _, given_labels, _, sample_weight = unpack(data)
        said = self._said(outputs, batch, given).views[0]
        view = given.views[0]
        logs = self.compute_metrics(view, given_labels, said, sample_weight)
        if whole.num_replicas > 1:
            logs.pop("gradient_norm", None)
        return logs

    def _check_inputs(self, x: Any, training: bool) -> Any:
        if not training:
            return self._check_view(x)
        if self.method.num_views > 1:
            x = check_views(x, self.backbone, self.method.pairs_help)
            self._trained_inputs = count_inputs(x[0])
        else:
            check_view(x, self.backbone, self.method.views_help)
            self._trained_inputs = count_inputs(x)
        return x

    def _check_view(self, x: Any) -> Any:
        help_text = self.method.views_help
        return check_view(x, self.backbone, help_text, self._trained_inputs)

    def _before_training(
        self,
        labels: Any,
        validation_split: float = 0.0,
        per_batch: bool = False,
        sample_weight: Any = None,
    ) -> None:
        if validation_split and self.method.num_views > 1:
            raise DataError(
                "`validation_split` would set pairs of views aside, but evaluation "
                "takes one. Pass validation_data=(x, y) of images as they are."
            )
        if labels is not None:
            labels = labels[: num_trained_on(len(labels), validation_split)]
            counts = np.ones(len(labels), bool)
            if sample_weight is not None:
                counts = np.asarray(sample_weight[: len(labels)]) > 0
            if counts.any():  # else nothing is trained on
                labels = labels[counts]
        state = self.shared_values()
        num_seen = None
        if self.tables.level and not (per_batch and self._is_counted):
            self._level_rows()
            num_seen = self.training_record.num_written
            self._is_counted = True
        self.assign_shared(self.method.begin(labels, self.num_classes, state, num_seen))

    def _one_view(self, inputs: Any) -> Any:
        # The views differ in nothing that a weight depends on.
        return inputs[0] if self.method.num_views > 1 else inputs

    def _one_hot(self, labels: Any) -> Any:
        if len(labels.shape) == 2 and labels.shape[1] == self.num_classes:
            return ops.cast(labels, "float32")
        labels = ops.cast(ops.reshape(labels, (-1,)), "int32")
        return ops.one_hot(labels, self.num_classes, dtype="float32")


def column(sample_weight: Any) -> Any:
    """Weights as a column, float32 `(n, 1)`; None stays."""
    if sample_weight is None:
        return None
    return ops.reshape(ops.cast(sample_weight, "float32"), (-1, 1))
