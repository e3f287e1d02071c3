"""Whole experiments: settings, runs in a folder, checkpoints, figures."""

from sop_keras.training.checkpoint import CheckpointError
from sop_keras.training.experiment import METHODS, NOISES, SCHEDULES, Experiment
from sop_keras.training.history import DivergenceError
from sop_keras.training.run import Run, RunFolderError

__all__ = [
    "METHODS",
    "NOISES",
    "SCHEDULES",
    "CheckpointError",
    "DivergenceError",
    "Experiment",
    "Run",
    "RunFolderError",
]
