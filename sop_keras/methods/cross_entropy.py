"""Plain cross entropy on the same examples, ids and batches as every other method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from sop_keras.core.batch import Batch, Outputs, Tensor
from sop_keras.core.method import Method


@keras.saving.register_keras_serializable(package="sop_keras")
@dataclass(frozen=True)
class CrossEntropy(Method):
    """-log p_y, the mean over the batch: what wrong labels are learnt by heart with.

    It has no tables, and finds no label issues. A comparison with another method
    differs in the objective alone.

    Example:
    ```python
    model = NoisyLabelModel(backbone, 50_000, 10, method=methods.CrossEntropy())
    model.compile(keras.optimizers.SGD(0.02, momentum=0.9))
    model.fit(x_train, y_noisy)
    ```
    """

    def loss(
        self, outputs: Outputs, rows: Any, batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean of -log p_y."""
        losses = self.evaluation_loss(
            outputs.views[0], batch.given_labels, batch.labels, outputs.from_logits
        )
        return batch.mean_loss(losses), {}

    def evaluation_loss(
        self, outputs: Tensor, given_labels: Tensor, labels: Tensor, from_logits: bool
    ) -> Tensor:
        """-log p_y of each example, by Keras' function for labels of this kind."""
        if len(given_labels.shape) == 2 and given_labels.shape[1] > 1:
            return keras.losses.categorical_crossentropy(
                labels, outputs, from_logits=from_logits
            )
        # Of integer labels, as Keras' own training takes it, to the last bit.
        return keras.losses.sparse_categorical_crossentropy(
            keras.ops.reshape(given_labels, (-1,)), outputs, from_logits=from_logits
        )
