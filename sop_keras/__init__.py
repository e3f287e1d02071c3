"""Robust training under label noise by over-parameterisation (SOP), for Keras 3."""

import keras

if keras.config.backend() != "tensorflow":
    raise ImportError(
        "sop_keras needs Keras' TensorFlow backend. Set KERAS_BACKEND=tensorflow "
        f"before keras is imported. The backend is: {keras.config.backend()}"
    )

# The classes that saved models name: imported, they can be loaded.
from sop_keras import augment, baselines, optimizers
from sop_keras.indexing.with_epoch import with_epoch
from sop_keras.indexing.with_index import with_index
from sop_keras.sop import SOPModel, suggest_noise_rates

__version__ = "0.1.0"

__all__ = [
    "SOPModel",
    "augment",
    "baselines",
    "optimizers",
    "suggest_noise_rates",
    "with_epoch",
    "with_index",
]
