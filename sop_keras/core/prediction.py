"""Outputs of a model for one batch, on one device, whatever its strategy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def batch_predictor(model: keras.Model) -> Callable[[Any], np.ndarray]:
    """A function from a batch of inputs to what the model predicts."""
    if model.distribute_strategy.num_replicas_in_sync == 1:
        return model.predict_on_batch
    # Keras would have every replica predict the whole batch, and give all they say.
    return network_predictor(model.predictor())


def network_predictors(model: keras.Model) -> list[Callable[[Any], np.ndarray]]:
    """As `batch_predictor`, for each of the model's networks, as it is trained."""
    networks = model.networks()
    if len(networks) == 1 and model.averaged is None:
        return [batch_predictor(model)]
    return [network_predictor(network) for network in networks]


def network_predictor(network: keras.layers.Layer) -> Callable[[Any], np.ndarray]:
    """A function from a batch of inputs to a network's outputs."""
    function = tf.function(network, reduce_retracing=True)
    return lambda inputs: function(inputs, training=False).numpy()
