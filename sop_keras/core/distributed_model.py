"""A Keras model that trains alike on one device, several, and several machines."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sop_keras.core.compile_options import (
    check_jit_compile,
    check_replicable,
    check_scope,
    warn_of_unsynchronized,
)
from sop_keras.core.global_batch import GlobalBatch
from sop_keras.core.multi_worker import reducible_logs
from sop_keras.core.strategies import check_strategy, scope
from sop_keras.core.training_data import peek, unpack


class DistributedModel(keras.Model):
    """A `keras.Model` whose variables are made before `fit` needs them.

    Keras makes them in its first step, or from a batch that it takes from a first pass
    over the data. Under a strategy of tf.distribute neither will do. A subclass hands
    what `fit` and `evaluate` are given through `_build_for` and `_build_metrics_for`,
    then through `_distributed`; its `train_step` computes the replica's part of a
    batch's mean with `GlobalBatch`.

    Raises:
        ValueError: if it is made in the scope of a strategy that it cannot train under.
    """

    def __init__(self, **kwargs: Any):
        check_strategy(tf.distribute.get_strategy())
        super().__init__(**kwargs)
        # Keras takes a model that was made in no scope for one of whichever it is in.
        self._made_under = tf.distribute.get_strategy()

    def compile(self, optimizer: Any = "rmsprop", **kwargs: Any) -> None:
        """`keras.Model.compile`, in the scope that the model was made in.

        Raises:
            ValueError: in another scope, and for what fails there: XLA, several steps
                per execution, accumulated or clipped gradients with several replicas,
                XLA with a table in the host's memory.
        """
        check_scope(self._made_under)
        num_replicas = self._made_under.num_replicas_in_sync
        check_replicable(optimizer, kwargs.get("steps_per_execution", 1), num_replicas)
        if num_replicas > 1:
            warn_of_unsynchronized(self)
        jit_compile = kwargs.get("jit_compile", "auto")
        self._must_compile = jit_compile is True
        kwargs["jit_compile"] = check_jit_compile(
            jit_compile,
            num_replicas,
            getattr(self, "table_device", None),
            getattr(getattr(self, "method", None), "compiles", True),
        )
        super().compile(optimizer=optimizer, **kwargs)

    def load_weights(self, filepath: Any, **kwargs: Any) -> None:
        """`keras.Model.load_weights`, the optimizer's state included."""
        with scope(self.distribute_strategy):
            self._build_optimizer()
        super().load_weights(filepath, **kwargs)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """compile() with what `get_compile_config` gave."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self._build_optimizer()

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """The metrics of compile(), on the labels alone."""
        x, labels, _, sample_weight = unpack((x, y, sample_weight))
        # Keras makes the metrics' variables in the first call. XLA cannot, where they
        # are told to wait for the data like everything else of a step.
        with tf.control_dependencies(None):
            logs = super().compute_metrics(x, labels, y_pred, sample_weight)
        return reducible_logs(logs)

    def _build_for(self, x: Any, y: Any) -> Any:
        """Build what training needs before callbacks start; gives x back."""
        with scope(self.distribute_strategy):
            if not self.built:
                inputs, _, x = peek(x, y)
                self._build_on(self._one_view(inputs))
            self._build_optimizer()
        return self._build_metrics_for(x, y, training=True)

    def _build_on(self, inputs: Any) -> None:
        """Build the model for inputs like these KerasTensors."""
        # First: Keras would turn an error of an unbuilt backbone into a warning.
        self.call(inputs)
        self(inputs)

    def _build_metrics_for(self, x: Any, y: Any, training: bool) -> Any:
        """Build the metrics of compile() where a step cannot; gives x back.

        In the step of several replicas, their variables would have to be made in all
        replicas at once.
        """
        metrics = self._compile_metrics
        is_built = metrics is None or metrics.built
        if self.distribute_strategy.num_replicas_in_sync > 1 and not is_built:
            inputs, labels, x = peek(x, y)
            if training:
                inputs = self._one_view(inputs)
            with scope(self.distribute_strategy):
                self._symbolic_build(data_batch=(inputs, labels))
        return x

    def _one_view(self, inputs: Any) -> Any:
        """The inputs of the network, of those that training takes."""
        return inputs

    def _distributed(self, x: Any) -> Any:
        """What Keras takes for x: of a function of the input context, its data sets."""
        if not callable(x):
            return x
        return self.distribute_strategy.distribute_datasets_from_function(x)

    def _in_parts(self, batch: Any) -> Any:
        """A batch, cut into the parts of this process' replicas.

        Of one tensor Keras (3.15) would give each replica all: k visits of each example
        instead of one.

        Args:
            batch: tensors and arrays in any structure, with an entry an example.
        """
        strategy = self.distribute_strategy
        if strategy.num_replicas_in_sync == 1:
            return batch
        count = len(strategy.extended.worker_devices)
        if count == 1:  # of several machines: what each is given is its part
            return batch
        size = keras.tree.flatten(batch)[-1].shape[0]
        ends = np.linspace(0, size, count + 1).astype(int)

        def of_replica(context: Any) -> Any:
            place = context.replica_id_in_sync_group % count
            start, stop = ends[place], ends[place + 1]
            return keras.tree.map_structure(lambda one: _rows(one, start, stop), batch)

        return strategy.experimental_distribute_values_from_function(of_replica)

    def _maybe_symbolic_build(
        self, iterator: Any = None, data_batch: Any = None
    ) -> None:
        """Leave `fit` alone: `_build_for` has built the model and its metrics.

        Under a tf.distribute strategy, Keras would take a batch of a first pass to
        build on (as in keras-team/keras#20394), so that training would start in the
        second that `with_epoch` counts; it would give the network both views of SOP+;
        and on several machines it fails (`sop_keras.core.multi_worker`). This
        can go when Keras leaves built models alone.
        """
        if data_batch is not None:  # of train_on_batch or test_on_batch
            x, y, _ = data_batch
            self._build_metrics_for(x, y, training=False)

    def _get_metrics_result_or_logs(self, logs: Any) -> Any:
        """The metrics' results for what a step reports.

        Keras takes the last step's logs where those leave a metric out, as evaluation
        does; under a strategy they are means of the replicas' results, which is not
        the result of all examples.
        """
        results = self.get_metrics_result()
        if not set(logs) <= set(results):
            return logs
        return {name: results[name] for name in logs}

    def _build_optimizer(self) -> None:
        # Keras would find nothing to restore its state into, and drop it silently.
        if self.compiled and self.built and not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)

    def _apply_gradients(
        self,
        optimizer: keras.optimizers.Optimizer,
        gradients: list[Any],
        weights: list[keras.Variable],
        batch: GlobalBatch,
    ) -> None:
        """Step weights by the sum of all replicas' gradients."""
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            gradients = batch.agree_on_overflow(gradients)
        optimizer.apply_gradients(zip(gradients, weights, strict=True))

    def _track_loss(self, loss: Any, batch_size: Any) -> None:
        """Count a mean over `batch_size` examples, this replica's, in `loss`."""
        tracker = next(metric for metric in self.metrics if metric.name == "loss")
        tracker.update_state(loss, sample_weight=batch_size)


def _rows(values: Any, start: int, stop: int) -> Any:
    if not isinstance(values, tf.SparseTensor):
        return tf.convert_to_tensor(values[start:stop])
    rest = values.shape[1:]
    return tf.sparse.slice(values, [start, *(0 for _ in rest)], [stop - start, *rest])
