"""A Keras model that knows which training example is which."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from sop_keras.distribution.multi_worker import reducible_logs
from sop_keras.distribution.strategies import scope
from sop_keras.indexing.data_errors import clear_data_errors
from sop_keras.indexing.training_data import (
    TrainingData,
    fixed_order,
    peek,
    unpack,
)


class IndexedModel(keras.Model):
    """A `keras.Model` whose training examples have ids.

    `fit` takes what Keras' takes, gives arrays their positions as ids, and checks ids
    and labels before a step could use them. A `train_step` finds them with
    `unpack_x_y_sample_weight`: `y = {"label": labels, "index": ids}`. Evaluation and
    prediction take plain `(x, y)`.

    Args:
        num_examples: ids are in `[0, num_examples)`.
        num_classes: labels are in `[0, num_classes)`.
        **kwargs: `name`, `dtype`, as in Keras.
    """

    def __init__(self, num_examples: int, num_classes: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_examples = num_examples
        self.num_classes = num_classes
        self._training_data = TrainingData(
            num_examples, num_classes, self._check_inputs
        )

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Any = None,
        sample_weight: Any = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """`keras.Model.fit`, on data whose examples have ids.

        Args:
            x: arrays (an example's position is its id), or a tf.data.Dataset,
                `keras.utils.PyDataset` or generator of batches
                `(x, {"label": y, "index": i}[, sample_weight])`; see `with_index`. Or a
                function that gives, for a `tf.distribute.InputContext`, a
                tf.data.Dataset of the batches of its replicas, in turn.
            y: for arrays: labels, integers `(n,)` or one-hot `(n, num_classes)`, or
                `{"label": labels, "index": ids}`.
            batch_size: as in Keras.
            epochs: as in Keras.
            verbose: as in Keras.
            callbacks: as in Keras.
            validation_split: as in Keras.
            validation_data: plain `(x, y[, sample_weight])`, or a stream of it.
            shuffle: as in Keras.
            class_weight: a dict of class to weight, for any kind of data.
            sample_weight: for arrays: a factor on each example's losses, shape `(n,)`,
                finite and not negative.
            **kwargs: as in Keras.

        Raises:
            ValueError: for data that cannot be trained on: ids or labels out of range,
                soft labels, a missing index, more examples than `num_examples`, ...
                Arrays are checked before the first step, the batches of a stream each
                before the step that would use it.
        """
        x, y, sample_weight = self._training_data.for_fit(
            x, y, sample_weight, class_weight
        )
        with clear_data_errors():
            # Before the validation data: only a built model knows what inputs it takes.
            x = self._distributed(self._build_for(x, y))
            if validation_data is not None:
                x_val, *rest = self._training_data.for_evaluation(
                    *keras.utils.unpack_x_y_sample_weight(validation_data)
                )
                validation_data = (self._distributed(x_val), *rest)
            self._before_training(y and y["label"], validation_split)
            return super().fit(
                x,
                y,
                batch_size=batch_size,
                epochs=epochs,
                verbose=verbose,
                callbacks=callbacks,
                validation_split=validation_split,
                validation_data=validation_data,
                # Keras warns about its own default where the order is not its own.
                shuffle=shuffle and not fixed_order(x),
                sample_weight=sample_weight,
                **kwargs,
            )

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Any = "auto",
        sample_weight: Any = None,
        **kwargs: Any,
    ) -> Any:
        """`keras.Model.evaluate` of the network on plain `(x, y)`."""
        if not kwargs.get("_use_cached_eval_dataset"):  # else: checked by fit
            x, y, sample_weight = self._training_data.for_evaluation(
                x, y, sample_weight
            )
            x = self._distributed(self._build_metrics_for(x, y, training=False))
        with clear_data_errors():
            return super().evaluate(
                x,
                y,
                batch_size=batch_size,
                verbose=verbose,
                sample_weight=sample_weight,
                **kwargs,
            )

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """`keras.Model.train_on_batch`, with `y = {"label": labels, "index": ids}`."""
        x, y, sample_weight = self._training_data.for_batch(
            x, y, sample_weight, class_weight
        )
        self._before_training(None)
        self._build_for(x, y)
        return super().train_on_batch(x, y, sample_weight, return_dict=return_dict)

    def test_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """`keras.Model.test_on_batch` on plain `(x, y)`."""
        x, y, sample_weight = self._training_data.for_evaluation(x, y, sample_weight)
        return super().test_on_batch(x, y, sample_weight, return_dict=return_dict)

    def load_weights(self, filepath: Any, **kwargs: Any) -> None:
        """`keras.Model.load_weights`, the optimizer's state included."""
        with scope(self.distribute_strategy):
            self._build_optimizer()
        super().load_weights(filepath, **kwargs)

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

    def _check_inputs(self, x: Any, training: bool) -> Any:
        """Give back inputs that the model can take; a DataError for others.

        Args:
            x: the inputs, arrays or the symbolic tensors of an input pipeline.
            training: whether they are to be trained on.
        """
        return x

    def _before_training(self, labels: Any, validation_split: float = 0.0) -> None:
        """Look at all labels before they are trained on, None where they are unknown.

        Of arrays, those of `fit` are known; the last part of them, `validation_split`,
        is not trained on.
        """

    def _build_for(self, x: Any, y: Any) -> Any:
        """Build what training needs before callbacks start; gives x back."""
        with scope(self.distribute_strategy):
            if not self.built:
                inputs, _, x = peek(x, y)
                self._build_on(inputs)
            self._build_optimizer()
        return self._build_metrics_for(x, y, training=True)

    def _build_on(self, inputs: Any) -> None:
        """Build the model for inputs like these KerasTensors."""
        self(inputs)

    def _build_metrics_for(self, x: Any, y: Any, training: bool) -> Any:
        """Build the metrics of compile() where a step cannot; gives x back.

        In the step of several replicas, their variables would have to be made in all
        replicas at once.
        """
        if self.distribute_strategy.num_replicas_in_sync > 1:
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

    def _maybe_symbolic_build(
        self, iterator: Any = None, data_batch: Any = None
    ) -> None:
        """Do nothing: `_build_for` has built the model, steps build the metrics.

        Under a tf.distribute strategy, Keras would take a batch of a first pass to
        build on (as in keras-team/keras#20394), so that training would start in the
        second that `with_epoch` counts; it would give the network both views of SOP+;
        and on several machines it fails (`sop_keras.distribution.multi_worker`). This
        can go when Keras leaves built models alone.
        """

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
