"""Outputs of a model for one batch, on one device, whatever its strategy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def batch_predictor(model: keras.Model) -> Callable[[Any], np.ndarray]:
    """A function from a batch of inputs to the outputs of `model.backbone`."""
    if model.distribute_strategy.num_replicas_in_sync == 1:
        return model.predict_on_batch
    # Keras would have every replica predict the whole batch, and give all they say.
    network = tf.function(model.backbone, reduce_retracing=True)
    return lambda inputs: network(inputs, training=False).numpy()
