"""Plain cross entropy on the same data as SOP: the rows "CE" of the paper's tables."""

from __future__ import annotations

import copy
from typing import Any

import keras

from sop_keras.indexing.training_data import fixed_order, unpack
from sop_keras.randomness.saved_seeds import SavedSeeds
from sop_keras.sop.inputs import check_view, explain_views

_VIEWS = (
    "CrossEntropyModel takes one, such as the weak one of each pair: "
    "dataset.map(lambda x, y: (x[0], y))."
)


@keras.saving.register_keras_serializable(package="sop_keras")
class CrossEntropyModel(SavedSeeds, keras.Model):
    """A classifier trained with cross entropy on `(x, {"label": y, "index": i})`.

    The ids are ignored, plain `(x, y)` will do. Everything else is Keras' own training,
    so that a comparison with `SOPModel` differs in the objective alone.

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

    def fit(self, x: Any = None, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """`keras.Model.fit`."""
        if fixed_order(x):  # Keras warns about its own default there
            kwargs.setdefault("shuffle", False)
        return super().fit(x, *args, **kwargs)

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

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """The metrics of compile() on the labels alone."""
        x, labels, _, sample_weight = unpack((x, y, sample_weight))
        return super().compute_metrics(x, labels, y_pred, sample_weight)

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
