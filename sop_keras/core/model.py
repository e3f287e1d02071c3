"""NoisyLabelModel: any classifier and any method, trained by one step."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from sop_keras.core import arguments
from sop_keras.core.after_data import after_data
from sop_keras.core.averaged_networks import AveragedNetworks
from sop_keras.core.averaging import averaging_of
from sop_keras.core.batch import Batch, mean_loss
from sop_keras.core.doubt_watch import DoubtWatch
from sop_keras.core.epoch_hooks import EpochHooks
from sop_keras.core.example_rows import ExampleRows
from sop_keras.core.example_tables import Rows
from sop_keras.core.export_network import export_network
from sop_keras.core.fresh_start import FreshStart
from sop_keras.core.global_batch import GlobalBatch
from sop_keras.core.in_turn import InTurn
from sop_keras.core.label_lookup import LabelLookup
from sop_keras.core.method import Method
from sop_keras.core.method_batches import column
from sop_keras.core.model_config import ModelConfig
from sop_keras.core.predictor import mean_outputs
from sop_keras.core.row_optimizer import (
    AUTO,
    check_distinct,
    is_auto,
    row_optimizers,
)
from sop_keras.core.saved_rows import LoadsRows
from sop_keras.core.saved_seeds import SavedSeeds
from sop_keras.core.table import stored
from sop_keras.core.table_choice import chosen_kind
from sop_keras.core.table_kinds import DENSE, SLOTS
from sop_keras.core.training_data import unpack
from sop_keras.core.training_evidence import TrainingHistory
from sop_keras.core.training_record import TrainingRecord, record_rows
from sop_keras.core.views import explain_views
from sop_keras.core.weight_averages import WeightAverages
from sop_keras.validation import check_integer

logger = logging.getLogger(__name__)


@keras.saving.register_keras_serializable(package="sop_keras")
class NoisyLabelModel(
    ModelConfig, LabelLookup, SavedSeeds, LoadsRows, ExampleRows, InTurn
):
    """Trains a classifier on wrongly labelled data by any method, as a Keras model.

    Beside the backbone, every training example may own small variables, the rows of the
    method's tables. Only `fit` sees them: `evaluate`, `predict` and `model(x)` are the
    backbone alone, or the mean of two networks that predict together.

    Args:
        backbone: any `keras.Model` (or layer) with outputs `(batch_size, num_classes)`.
        num_examples: the number of training examples, the rows of the tables.
        num_classes: the number of classes, at least 2.
        method: one of `sop_keras.methods`, such as `methods.CrossEntropy()`, or your
            own (docs/methods.md).
        peer: the second network, for methods that train two. Defaults to `None`: a
            clone of the backbone with first weights of its own.
        from_logits: whether the networks give logits (True) or probabilities. Defaults
            to `True`.
        seed: seeds the tables' first values, and what the method draws in steps.
            Defaults to `None`: Keras' global seed, and 0.
        table_device: `"cpu"` keeps the tables in the host's memory, for such as are
            larger than the GPU's; `"disk"` in files, for such as are larger than any
            memory, on one device. Defaults to `None`: beside the network.
        table_folder: of these files, which nothing else may use: a model that is made
            with it starts them anew. Defaults to `None`, for tables in memory.
        table: how sparse tables, such as v of SOP, are stored: `"dense"`, an entry for
            each class; `"compact"`, `table_slots` of them, and the rest as it was
            at first (`compact_rows`); or `"auto"`, compact where the dense tables take
            more than 1 GB and that changes no result (`table_choice`). Defaults to
            `"dense"`.
        table_slots: how many entries of a row a compact table stores: at least 1, and
            fewer than half of the classes. Defaults to `8`.
        gradient_norms: whether the norms of gradients are metrics of `fit`. Defaults to
            `False`.
        weight_average: of which steps' weights the mean, BatchNormalization's moving
            ones too, predicts in the networks' place. `"ema:DECAY"`: of all, each by
            DECAY times the next one; `"last:EPOCHS"`: of the last epochs of `fit`,
            alike. Training is the same. Defaults to `"none"`: as they are now.

    Example:
    ```python
    method = methods.SOP(variant="reference")
    model = NoisyLabelModel(backbone, 50_000, 10, method=method)
    model.compile(keras.optimizers.SGD(0.02, momentum=0.9), metrics=["accuracy"])
    model.fit(x_train, y_noisy, validation_data=(x_test, y_test))
    model.backbone.save("clean.keras")
    ```

    Metrics of `fit`: `loss` is the method's objective (plus the backbone's own
    regularisation losses), and its parts are under the names that the method gives
    them. Of two views, the metrics of `compile` are those of the first. With
    `gradient_norms`, the norms of the rows' gradients (where a rate is `"auto"`, of
    their steps) and, on one device,
    `gradient_norm` (the network's) are means over batches; steps that float16 overflows
    in are left out. `evaluate` takes one view and reports the network's plain cross
    entropy as `loss`.

    Under a strategy of `tf.distribute` (`MirroredStrategy`,
    `MultiWorkerMirroredStrategy`), make and compile the model in its scope; k replicas
    then train like one device on the same batches. BatchNormalization does so where it
    has `synchronized=True`.
    """

    def __init__(
        self,
        backbone: keras.layers.Layer,
        num_examples: int,
        num_classes: int,
        method: Method,
        peer: keras.layers.Layer | None = None,
        from_logits: bool = True,
        seed: int | None = None,
        table_device: str | None = None,
        table: str = DENSE,
        table_slots: int = SLOTS,
        gradient_norms: bool = False,
        weight_average: str = "none",
        table_folder: str | os.PathLike[str] | None = None,
        **kwargs: Any,
    ):
        num_examples = check_integer("num_examples", num_examples, least=1)
        num_classes = check_integer("num_classes", num_classes, least=2)
        arguments.check_backbone(backbone, num_classes, from_logits)
        arguments.check_method(method, Method)
        method.check(num_classes)
        averaging = averaging_of(weight_average)
        folder = arguments.check_table_device(table_device, table_folder)
        self.table_device = table_device
        # The loss is scaled where the backbone, not this model, computes in float16.
        kwargs.setdefault("dtype", backbone.dtype_policy)
        super().__init__(num_examples, num_classes, **kwargs)
        self.method = method
        self.from_logits = bool(from_logits)
        self.seed = seed
        self._set_networks(backbone, peer, method.num_networks)
        for network in self.networks() if method.mixes_inputs else ():
            arguments.check_mixable(network, type(method).__name__)
        self._add_shared(method.state(num_classes))
        tables, rates = method.tables(num_classes), method.row_rates
        table = chosen_kind(table, tables, rates, table_slots, num_examples)
        self.table, self.table_slots = table, table_slots
        self.tables = method.tables_kind(
            stored(tables, table, table_slots),
            num_examples,
            seed=seed,
            device=table_device,
            folder=folder,
        )
        self.tables.write_first(method.first_rows())
        self.training_record = TrainingRecord(
            num_examples, table_device, folder, name="training_record"
        )
        self.gradient_norms = bool(gradient_norms)
        parts = [*method.loss_parts]
        if self.gradient_norms:
            parts += ["gradient_norm"]
            parts += [f"{name}_gradient_norm" for name in method.row_rates]
        self._parts = {name: keras.metrics.Mean(name=name) for name in parts}
        self.training_history = TrainingHistory(name="training_history")
        self._hooks = EpochHooks(self)
        self._add_pass_begin()
        if method.weight_average_decay(ops.ones((), "int64")) is not None:
            self.averages = WeightAverages(self, name="averages")
        if method.fresh_start(epochs=2) is not None:  # of the fewest, where it ever is
            self.fresh_start = FreshStart(self, name="fresh_start")
        self.weight_average = weight_average
        if averaging is not None:
            self.averaged = AveragedNetworks(self, averaging, name="averaged")
        self.doubt_watch = DoubtWatch(self)
        self.built = all(network.built for network in self.networks())

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """What predicts, as `predictor` has it: `(batch_size, num_classes)`.

        With `training=True`, the networks that are trained, never their averages.
        """
        # Nothing else sees what is predicted on, and a Sequential takes the weak view
        # of two without a word.
        self._check_view(inputs)
        # Keras hands `training` on to the backbone by itself, if that takes it.
        with explain_views(inputs, self.method.views_help):
            outputs = self._predicted(inputs, training)
        for one in outputs:
            arguments.check_outputs(one, self.num_classes)
        return outputs[0] if len(outputs) == 1 else mean_outputs(outputs)

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: None = None,
        *,
        row_rates: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Configure training.

        Args:
            optimizer: of the networks, any Keras optimizer; a second network has one
                of its own with the same settings. With `gradient_accumulation_steps`, k
                batches are one to the network, and rows move with every batch by its
                part of that. What an epoch leaves over counts in the next one.
            loss: must be left out; the objective is the method's own.
            row_rates: learning rates in place of the method's, by table: a float, a
                LearningRateSchedule or a plain `keras.optimizers.SGD`; `"auto"` where
                the method sets the rate by itself. Tables that are
                not named keep the optimizer of an earlier `compile`, its step counter
                included. Defaults to `None`: none is named; at first, the method's.
            **kwargs: `metrics`, `steps_per_execution`, `jit_compile` and whatever else
                `keras.Model.compile` takes.

        Raises:
            ValueError: for a loss, a row optimizer that would sweep the table, a
                strategy that is not the model's, or XLA where it cannot be had.
        """
        if loss is not None or "loss_weights" in kwargs:
            raise ValueError(
                f"{type(self).__name__} brings its own objective: leave `loss` and "
                f"`loss_weights` out of compile(). Received: loss={loss!r}"
            )
        rates = self.method.row_rates
        if unknown := [name for name in row_rates or {} if name not in rates]:
            raise ValueError(
                f"{type(self.method).__name__} has learning rates of "
                f"{', '.join(rates) or 'no table'}. Received row_rates of: "
                f"{', '.join(unknown)}"
            )
        optimizers = row_optimizers({**rates, **self._compiled(), **(row_rates or {})})
        auto = tuple(name for name, one in optimizers.items() if is_auto(one))
        if given := [name for name in auto if not is_auto(rates[name])]:
            raise ValueError(
                f"{type(self.method).__name__} was made with a learning rate of "
                f"{', '.join(given)} of {rates[given[0]]!r}. Make it with {AUTO!r} for "
                f"row_rates[{given[0]!r}] = {AUTO!r}."
            )
        optimizers = {n: None if n in auto else one for n, one in optimizers.items()}
        check_distinct({"optimizer": optimizer, **optimizers})
        super().compile(optimizer=optimizer, **kwargs)
        # Nothing of Keras' calls it, but keras.wrappers ask whether there is one.
        self.loss = self.method.loss
        for name, one in optimizers.items():
            setattr(self, f"{name}_optimizer", one)
        # A rate that sets itself compares how rows grow: draws would be noise in that.
        self.tables.set_level(auto)
        self._is_counted = False
        self._build_optimizer()

    # Methods, not properties: Keras would save what a property lists under its name.

    def row_optimizers(self) -> dict[str, keras.optimizers.SGD]:
        """What `compile` made of `row_rates`, by table; without those of `"auto"`."""
        optimizers = {n: getattr(self, f"{n}_optimizer") for n in self.method.row_rates}
        return {name: one for name, one in optimizers.items() if one is not None}

    def _compiled(self) -> dict[str, Any]:
        """The same, and `"auto"` where the method sets a rate; empty before that."""
        if getattr(self, "optimizer", None) is None:
            return {}
        return dict.fromkeys(self.tables.level, AUTO) | self.row_optimizers()

    def optimizers(self) -> list[Any]:
        """All that `compile` made: of the networks, and of the rows."""
        return [*self.network_optimizers(), *self.row_optimizers().values()]

    @after_data
    def train_step(self, data: Any) -> dict[str, Any]:
        """One step of the method on the networks and on the rows of the batch."""
        given, whole = self._unpacked(data)
        if self._resets_changed:
            self._reset_changed(given, whole)
        rows: Rows = self.tables.rows(given.ids)
        batch, whole = self._mixed(given, rows, whole)
        with tf.GradientTape(persistent=len(self._learning()) > 1) as tape:
            outputs = self._outputs(batch)
            if self.method.loss_sees_updated_rows:
                with tape.stop_recording():
                    rows = self._update_rows(outputs, rows, batch, given, whole)
            loss, parts = self.method.loss(outputs, rows, batch)
            loss = self._with_regularization(loss)
            scaled_losses = self._scaled(loss, whole)
        is_wanted = self.method.updates(outputs, rows, batch)
        self._step_networks(tape, scaled_losses, whole, is_wanted)
        self._update_averages()
        if not self.method.loss_sees_updated_rows:
            self._update_rows(outputs, rows, batch, given, whole)
        parts |= self.method.row_losses(outputs, rows, batch)
        self._track(loss, parts, batch)
        return self._logs(data, outputs, whole, batch, given)

    def test_step(self, data: Any) -> dict[str, Any]:
        """The network's plain cross entropy and metrics; rows play no part."""
        x, given_labels, _, sample_weight = unpack(data)
        outputs = self._checked_outputs(self(x, training=False))
        losses = self.method.evaluation_loss(
            ops.cast(outputs, "float32"),
            given_labels,
            self._one_hot(given_labels),
            self.from_logits,
        )
        loss = mean_loss(losses, column(sample_weight))
        self._track_loss(loss, ops.shape(losses)[0])
        logs = self.compute_metrics(x, given_labels, outputs, sample_weight)
        return {name: value for name, value in logs.items() if name not in self._parts}

    def export(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """`keras.Model.export` of the predictor: what serves gives the same.

        The rows of the training examples are not in the file.

        Args:
            filepath: as in Keras.
            *args: as in Keras: `format`, `verbose`, `input_signature`.
            **kwargs: likewise.

        Raises:
            ValueError: as in Keras, for a backbone that is not built.
        """
        export_network(self.predictor(), filepath, *args, **kwargs)

    def _update_rows(
        self, outputs: Any, rows: Rows, batch: Batch, given: Batch, whole: GlobalBatch
    ) -> Rows:
        """Update the rows of the whole batch, and the record; gives this part's."""
        self.assign_shared(self.method.updated_state(outputs, rows, batch))
        steps = self.method.row_steps(outputs, rows, batch)
        first = self._said(outputs, batch, given)
        said = record_rows(first.predictions, first.probs, given.labels, given.weights)
        ids = whole.gather(given.ids)
        *gathered, said = whole.gather_together(*steps.values(), said)
        if steps:
            brought = dict(zip(steps, gathered, strict=True))
            for name in self.method.row_rates:
                self._track_norm(f"{name}_gradient_norm", [brought[name]])
            self.tables.update(
                ids,
                brought,
                lambda old, brought: self.method.updated_rows(
                    old, brought, batch.rates
                ),
                average=self.method.averages_equal_ids,
                kept=self.training_record.is_trusted(ids),
            )
            for optimizer in self.row_optimizers().values():
                optimizer.iterations.assign_add(1)
        self.training_record.write(ids, said)
        self.training_history.add(said)
        if not self.method.loss_sees_updated_rows:
            return rows
        return self.tables.rows(given.ids)

    def _epoch_callbacks(
        self, scan_data: Any, x: Any, y: Any, epochs: int
    ) -> list[keras.callbacks.Callback]:
        if scan_data is None and y is not None:
            x = self._one_view(x)  # of arrays
        hooks = self._hooks.callbacks(scan_data, x, y, epochs)
        if int(self._num_batches()) == 0:
            self.tables.say_size()
        if self.averages is not None:
            self.averages.check(self)
            if self.training_record.is_empty():
                self.averages.start(self)
        if self.averaged is not None:
            first = self.method.fresh_start(epochs) or 0
            hooks.append(self.averaged.callback(epochs, first))
        if self.tables.level:
            logger.info(
                "The rates of %s set themselves, by what the network knows: %d classes,"
                " %d examples, %d epochs.",
                *(" and ".join(self.tables.level), self.num_classes),
                *(self.num_examples, epochs),
            )
        return [*hooks, self.doubt_watch.begin(x, epochs)]
