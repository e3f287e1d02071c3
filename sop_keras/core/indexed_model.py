"""A Keras model that knows which training example is which."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import tensorflow as tf
from keras import ops
from keras.src.utils.python_utils import pythonify_logs

from sop_keras.core.data_errors import clear_data_errors
from sop_keras.core.distributed_model import DistributedModel
from sop_keras.core.held_out import trained_on
from sop_keras.core.label_changes import OnceBegun, check_changed_labels
from sop_keras.core.sparse_inputs import as_tensors, in_row_order
from sop_keras.core.strategies import scope
from sop_keras.core.training_data import TrainingData, fixed_order, is_stream, unpack


class IndexedModel(DistributedModel):
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

    train_function: Any
    _initial_epoch: Any

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
        scan_data: Any = None,
        total_epochs: int | None = None,
        changed_labels: str = "refuse",
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """`keras.Model.fit`, on data whose examples have ids.

        Args:
            x: arrays (an example's position is its id), or a tf.data.Dataset,
                `keras.utils.PyDataset` or generator of batches
                `(x, {"label": y, "index": i}[, sample_weight])`; see `with_index`. Or a
                function that gives, for a `tf.distribute.InputContext`, a
                tf.data.Dataset of the batches of its replicas, in turn; Keras cannot
                count them: let it repeat without end, and give `steps_per_epoch`. Or a
                PyTorch DataLoader, a Grain data set or DataLoader of such batches.
            y: for arrays: labels, integers `(n,)` or one-hot `(n, num_classes)`, or
                `{"label": labels, "index": ids}`.
            batch_size: as in Keras.
            epochs: as in Keras.
            verbose: as in Keras.
            callbacks: as in Keras.
            validation_split: as in Keras.
            validation_data: plain `(x, y[, sample_weight])`, or a stream of it.
            shuffle: as in Keras.
            class_weight: a dict of class to weight, or an array `(num_classes,)`, for
                any kind of data; for arrays also `"balanced"`, which weights each class
                by n / (K n_c), n_c of the n labels trained on being of it.
            sample_weight: for arrays: a factor on each example's losses, shape `(n,)`,
                finite and not negative. Of weight 0 an example is not trained on, and
                its label stays unknown to `label_issues`; of a class, likewise.
            scan_data: for methods that look at all examples before an epoch, what they
                look at: a stream of `(x, {"label": y, "index": i})`, each example
                once, in one view, unaugmented. Defaults to `None`: the arrays that are
                trained on; a stream must be given.
            total_epochs: of the whole training, for schedules by epoch, where this
                call does a part of it. Defaults to `None`: `epochs`.
            changed_labels: what to do about an example that comes with another label
                than it was trained on under: `"refuse"` it, `"reset"` its rows, as
                `reset_examples` does, before it is trained on, or `"keep"` them as they
                are. Defaults to `"refuse"`.
            **kwargs: as in Keras.

        Raises:
            ValueError: for data that cannot be trained on: ids or labels out of range,
                soft labels, a missing index, more examples than `num_examples`, another
                label than before, an id that comes with two labels, ...
                Arrays are checked before the first step, the batches of a stream each
                before the step that would use it.
        """
        self._assert_compile_called("fit")  # before what looks at the optimizer
        check_changed_labels(changed_labels)
        if validation_data is not None:
            validation_split = 0.0  # of both, Keras takes the data and splits nothing
        check_ids, watchers = (
            self._stream_check(changed_labels) if y is None else (None, [])
        )
        x, y, sample_weight = self._training_data.for_fit(
            x, y, sample_weight, class_weight, validation_split, check_ids
        )
        trained = trained_on(x, y, validation_split)
        settle = partial(self._settle_changed, changed_labels, trained[1])
        hooks = [
            *watchers,
            OnceBegun(settle),
            *self._epoch_callbacks(scan_data, *trained, total_epochs or epochs),
        ]
        with self._refusable():
            # Before the validation data: only a built model knows what inputs it takes.
            x = self._check_first_outputs(self._build_for(x, y), y)
            x = self._distributed(x)
            if validation_data is not None:
                x_val, *rest = self._training_data.for_evaluation(
                    *keras.utils.unpack_x_y_sample_weight(validation_data)
                )
                validation_data = (self._distributed(x_val), *rest)
            settle()
            self._before_training(
                y and y["label"], validation_split, sample_weight=sample_weight
            )
            return self._fit(
                x,
                y,
                batch_size=batch_size,
                epochs=epochs,
                verbose=verbose,
                callbacks=[*hooks, *_as_list(callbacks)],
                validation_split=validation_split,
                validation_data=validation_data,
                # Keras warns about its own default where the order is not its own.
                shuffle=shuffle and not fixed_order(x),
                sample_weight=sample_weight,
                **kwargs,
            )

    def _fit(self, x: Any, y: Any, **kwargs: Any) -> keras.callbacks.History:
        """Keras' `fit`, of data that are checked."""
        return super().fit(x, y, **kwargs)

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

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """`keras.Model.predict`, of inputs that are looked at before."""
        if not is_stream(x):
            # Of an error within a call, Keras would show all inputs.
            x = in_row_order(self._check_inputs(x, False))
        return super().predict(x, *args, **kwargs)

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """`keras.Model.train_on_batch`, with `y = {"label": labels, "index": ids}`.

        Raises:
            ValueError: as `fit`; of examples whose labels changed, until
                `reset_examples`.
        """
        self._assert_compile_called("train_on_batch")
        x, y, sample_weight = self._training_data.for_batch(
            x, y, sample_weight, class_weight
        )
        self._settle_changed("refuse", y)
        self._before_training(None, per_batch=True)
        self._build_for(x, y)
        x = as_tensors(x)
        with self._refusable():
            self._check_first_outputs(x, y)
            batch = (x, y) if sample_weight is None else (x, y, sample_weight)
            logs = super().train_on_batch(*self._in_parts(batch), return_dict=True)
        logs = pythonify_logs(self._get_metrics_result_or_logs(logs))
        return logs if return_dict else self._flatten_metrics_in_order(logs)

    def test_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """`keras.Model.test_on_batch` on plain `(x, y)`."""
        x, y, sample_weight = self._training_data.for_evaluation(x, y, sample_weight)
        x = as_tensors(x)
        return super().test_on_batch(x, y, sample_weight, return_dict=return_dict)

    def compile(self, optimizer: Any = "rmsprop", **kwargs: Any) -> None:
        """As `DistributedModel.compile`."""
        self._metrics_take_one_hot: bool | None = None
        super().compile(optimizer=optimizer, **kwargs)

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """The metrics of compile(), on labels of the form that they first came in.

        Keras chooses what `"accuracy"` means by the first labels: of others, integers
        after one-hot rows, it would give a wrong number.
        """
        x, labels, _, sample_weight = unpack((x, y, sample_weight))
        is_one_hot = self._is_one_hot(labels)
        if self._metrics_take_one_hot is None:
            self._metrics_take_one_hot = is_one_hot
        if is_one_hot and not self._metrics_take_one_hot:
            labels = ops.argmax(labels, axis=-1)
        elif not is_one_hot and self._metrics_take_one_hot:
            integers = ops.cast(ops.reshape(labels, (-1,)), "int32")
            labels = ops.one_hot(integers, self.num_classes, dtype="float32")
        return super().compute_metrics(x, labels, y_pred, sample_weight)

    def _is_one_hot(self, labels: Any) -> bool:
        return len(labels.shape) == 2 and labels.shape[1] == self.num_classes

    def _build_metrics_for(self, x: Any, y: Any, training: bool) -> Any:
        """Build the metrics of compile() before the first step; gives x back.

        TensorFlow traces a step a second time in which variables were made, which takes
        as long as the first. Only of what need not be read to know its labels' shape.
        """
        x = super()._build_metrics_for(x, y, training)
        metrics = self._compile_metrics
        labels = _label_spec(x, y)
        if metrics is not None and not metrics.built and labels is not None:
            self._metrics_take_one_hot = self._is_one_hot(labels)
            with scope(self.distribute_strategy):
                metrics.build(labels, keras.KerasTensor((None, self.num_classes)))
        return x

    def indexed_data(self, x: Any, y: Any = None) -> tuple[Any, Any]:
        """Check data that are to be looked at by id, not trained on.

        Args:
            x: as of `fit`, but with the inputs that `predict` takes.
            y: as of `fit`.

        Returns:
            For arrays x and `{"label": labels, "index": ids}`; for a stream, one of
            such batches, and None.

        Raises:
            ValueError: as in `fit`; and for arrays without ids that are not as many as
                there are examples, whose positions would be the ids of others.
        """
        return self._training_data.for_lookup(x, y)

    def _check_inputs(self, x: Any, training: bool) -> Any:
        """Give back inputs that the model can take; a DataError for others.

        Args:
            x: the inputs, arrays or the symbolic tensors of an input pipeline.
            training: whether they are to be trained on.
        """
        return x

    def _refusable(self) -> contextlib.AbstractContextManager[None]:
        """Where data may be refused in training."""
        return clear_data_errors()

    def _check_first_outputs(self, x: Any, y: Any) -> Any:
        """Look at what the built model gives for the first examples; gives x back.

        Args:
            x: arrays, or a stream.
            y: for arrays, `{"label": labels, "index": ids}`; None for streams.
        """
        return x

    def _stream_check(
        self, changed_labels: str
    ) -> tuple[Callable[[Any, Any], Any] | None, list[keras.callbacks.Callback]]:
        """What checks the labels of a stream's ids, batch by batch, before its step.

        Args:
            changed_labels: as of `fit`.

        Returns:
            What takes checked ids and labels and gives the ids back, None for no
            check; and what is to be called at epochs.
        """
        return None, []

    def _settle_changed(self, changed_labels: str, y: Any) -> None:
        """Deal with examples whose labels changed, as the last before training.

        Args:
            changed_labels: as of `fit`.
            y: what is trained on, `{"label": labels, "index": ids}`; None for streams.
        """

    def _before_training(
        self,
        labels: Any,
        validation_split: float = 0.0,
        per_batch: bool = False,
        sample_weight: Any = None,
    ) -> None:
        """Look at all labels before they are trained on, None where they are unknown.

        Of arrays, those of `fit` are known; the last part of them, `validation_split`,
        is not trained on, nor those of `sample_weight` 0. `per_batch`: before each
        batch of a loop of one's own, too.
        """

    def _epoch_callbacks(
        self, scan_data: Any, x: Any, y: Any, epochs: int
    ) -> list[keras.callbacks.Callback]:
        """What `fit` calls before any other callback.

        Args:
            scan_data: as of `fit`.
            x: what is trained on: arrays, or a stream.
            y: for arrays, `{"label": labels, "index": ids}`; None for streams.
            epochs: of the whole training.
        """
        return []


def _as_list(callbacks: Any) -> list[keras.callbacks.Callback]:
    if callbacks is None:
        return []
    return list(getattr(callbacks, "callbacks", keras.tree.flatten(callbacks)))


def _label_spec(x: Any, y: Any) -> Any:
    """What the labels of a batch look like, where that is known without reading one.

    Args:
        x: what `for_fit` or `for_evaluation` returned as x.
        y: what it returned as y.

    Returns:
        A KerasTensor for arrays and for a data set; None for anything else.
    """
    is_dataset = isinstance(x, tf.data.Dataset)
    if y is None and not is_dataset:
        return None
    batch: Any = x.element_spec if is_dataset else (x, y)
    _, labels, _, _ = unpack(batch)
    shape = getattr(labels, "shape", None)
    if shape is None or getattr(shape, "rank", 0) is None:
        return None
    return keras.KerasTensor((None, *shape[1:]))
