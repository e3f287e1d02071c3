"""The optimizer and the learning-rate schedules of the paper's experiments."""

from sop_keras.optimizers.schedules import cosine_decay, step_decay
from sop_keras.optimizers.sgd import SGD

__all__ = ["SGD", "cosine_decay", "step_decay"]
