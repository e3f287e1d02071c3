"""Plain cross entropy on the same data as SOP: the rows "CE" of the paper's tables."""

from __future__ import annotations

import copy
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from sop_keras.core.after_data import after_data
from sop_keras.core.distributed_model import DistributedModel
from sop_keras.core.global_batch import GlobalBatch
from sop_keras.core.saved_seeds import SavedSeeds
from sop_keras.core.training_data import fixed_order, unpack
from sop_keras.core.views import check_view, explain_views

_VIEWS = (
    "CrossEntropyModel takes one, such as the weak one of each pair: "
    "dataset.map(lambda x, y: (x[0], y))."
)
# Of the loss of a batch, those that the replicas' parts make up.
_REDUCTIONS = ("sum_over_batch_size", "mean")


@keras.saving.register_keras_serializable(package="sop_keras")
class CrossEntropyModel(SavedSeeds, DistributedModel):
    """A classifier trained with cross entropy on `(x, {"label": y, "index": i})`.

    The ids are ignored, plain `(x, y)` will do. Everything else is Keras' own training,
    so that a comparison with `SOPModel` differs in the objective alone.

    Under a strategy of `tf.distribute`, make and compile the model in its scope; as
    with `SOPModel`, k replicas then train like one device. (Keras' own training gives
    all replicas the same weight, however few of a batch's examples one has.)

    Args:
        backbone: any `keras.Model` with outputs `(batch_size, num_classes)`.

    Example:
    ```python
    model = CrossEntropyModel(backbone)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.02, momentum=0.9), loss)
    model.fit(with_index(dataset).shuffle(50_000).batch(128))
    ```
    """

    def __init__(self, backbone: keras.Model, **kwargs: Any):
        # The loss is scaled where the backbone, not this model, computes in float16.
        kwargs.setdefault("dtype", backbone.dtype_policy)
        super().__init__(**kwargs)
        self.backbone = backbone
        self.built = backbone.built

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The network: `(batch_size, num_classes)`."""
        check_view(inputs, self.backbone, _VIEWS)
        # Keras hands `training` on to the backbone by itself, if that takes it.
        with explain_views(inputs, _VIEWS):
            return self.backbone(inputs)

    def compile(
        self, optimizer: Any = "rmsprop", loss: Any = None, **kwargs: Any
    ) -> None:
        """`keras.Model.compile`.

        Args:
            optimizer: as in Keras.
            loss: as in Keras; with several replicas, a mean over the examples.
            **kwargs: as in Keras.

        Raises:
            ValueError: for a strategy that is not the model's, XLA where it cannot be
                had, or a loss that several replicas cannot compute.
        """
        strategy = self._made_under
        reduction = getattr(loss, "reduction", _REDUCTIONS[0])
        if strategy.num_replicas_in_sync > 1 and reduction not in _REDUCTIONS:
            raise ValueError(
                f"With {strategy.num_replicas_in_sync} replicas, the loss must be a "
                f"mean over the examples: a loss of reduction={_REDUCTIONS[0]!r}. "
                f"Received: a {type(loss).__name__} of reduction={reduction!r}."
            )
        super().compile(optimizer=optimizer, loss=loss, **kwargs)

    def fit(
        self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any
    ) -> keras.callbacks.History:
        """`keras.Model.fit`.

        x, and `validation_data`, may also be a function that gives, for a
        `tf.distribute.InputContext`, a tf.data.Dataset of the batches of its replicas,
        in turn; Keras cannot count them: let it repeat without end, and give
        `steps_per_epoch`.
        """
        x = self._distributed(self._build_for(x, y))
        if callable(kwargs.get("validation_data")):
            kwargs["validation_data"] = self._distributed(kwargs["validation_data"])
        if fixed_order(x):  # Keras warns about its own default there
            kwargs.setdefault("shuffle", False)
        return super().fit(x, y, *args, **kwargs)

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """`keras.Model.evaluate`; x may be a function as in `fit`."""
        if not kwargs.get("_use_cached_eval_dataset"):  # else: fit has built them
            x = self._distributed(self._build_metrics_for(x, y, training=False))
        return super().evaluate(x, y, *args, **kwargs)

    @after_data
    def train_step(self, data: Any) -> dict[str, Any]:
        """Keras' own, but for the weight of this replica's part of the batch."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        _, labels, _, _ = unpack(data)
        batch_size = ops.shape(labels)[0]
        batch = GlobalBatch(batch_size)
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.compute_loss(x, y, y_pred, sample_weight)
            # Keras has divided it by their number.
            loss = loss * batch.num_replicas
            self._track_loss(loss, batch_size)
            scaled_loss = self.optimizer.scale_loss(batch.share(loss))
        if self.trainable_weights:
            gradients = tape.gradient(scaled_loss, self.trainable_weights)
            self._apply_gradients(gradients, batch)
        return self.compute_metrics(x, y, y_pred, sample_weight)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The loss of compile() on the labels alone."""
        x, labels, _, sample_weight = unpack((x, y, sample_weight))
        return super().compute_loss(x, labels, y_pred, sample_weight, training)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        backbone = keras.saving.serialize_keras_object(self.backbone)
        return {**super().get_config(), "backbone": backbone}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """A model of these arguments."""
        config = copy.deepcopy(config)  # Keras empties what it deserializes
        config["backbone"] = keras.saving.deserialize_keras_object(
            config["backbone"], custom_objects=custom_objects
        )
        return cls(**config)
