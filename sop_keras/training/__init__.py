"""Whole experiments: settings, runs in a folder, checkpoints, figures."""

from sop_keras.training.checkpoint import CheckpointError
from sop_keras.training.execution import STRATEGIES, Execution
from sop_keras.training.experiment import METHODS, NOISES, SCHEDULES, Experiment
from sop_keras.training.guard import DivergenceError
from sop_keras.training.output import OutputError
from sop_keras.training.precision import PRECISIONS
from sop_keras.training.preemption import Preempted
from sop_keras.training.run import Run
from sop_keras.training.run_folder import RunFolderError

__all__ = [
    "METHODS",
    "NOISES",
    "PRECISIONS",
    "SCHEDULES",
    "STRATEGIES",
    "CheckpointError",
    "DivergenceError",
    "Execution",
    "Experiment",
    "OutputError",
    "Preempted",
    "Run",
    "RunFolderError",
]
