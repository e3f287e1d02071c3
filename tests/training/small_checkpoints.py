"""Checkpoints of a small network, whose weights all have one value."""

from pathlib import Path

import keras
import numpy as np

from sop_keras.training.checkpoint import Checkpoints
from sop_keras.training.progress import Progress


def network(value: float) -> keras.Model:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    model.optimizer.build(model.trainable_variables)
    for weight in model.weights:
        weight.assign(np.full(weight.shape, value, "float32"))
    return model


def kernel_value(model: keras.Model) -> float:
    return float(model.weights[0].numpy()[0, 0])


def progress(epoch: int, step: int = 0, **values) -> Progress:
    return Progress(seed=5, epoch=epoch, step=step, **values)


# In the order of training: after one epoch, in the second, and after it.
PLACES = [(1, 0), (1, 7), (2, 0)]
NAMES = [f"epoch-{epoch:05d}-step-{step:06d}" for epoch, step in PLACES]
FILES = ["model.weights.h5", "metrics.npz", "state.json", "SHA256SUMS"]


def saved(folder: Path) -> Checkpoints:
    """Three were saved, of networks whose weights are 1, 2 and 3."""
    checkpoints = Checkpoints(folder)
    for value, (epoch, step) in enumerate(PLACES, start=1):
        checkpoints.save(network(value), progress(epoch, step))
    return checkpoints


def names(checkpoints: Checkpoints) -> list[str]:
    return sorted(path.name for path in checkpoints.folder.iterdir())
