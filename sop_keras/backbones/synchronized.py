"""BatchNorm over the whole batch, where several replicas share it."""

from __future__ import annotations

import keras


def synchronize_batch_norm(model: keras.Model) -> None:
    """Have every BatchNormalization average over the batches of all replicas.

    Each would otherwise normalise by its own part of the batch, and k replicas would
    not train like one device. On one device nothing changes but the last digits.

    Args:
        model: changed in place, with all layers within its layers.
    """
    # Keras' own walk, of nested models, wrappers and layers within layers.
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True
