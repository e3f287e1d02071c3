"""The place that a run goes on from."""

from __future__ import annotations

import logging

import keras
import tensorflow as tf

from sop_keras.core.agreement import is_common
from sop_keras.training.checkpoint import CheckpointError, Checkpoints
from sop_keras.training.experiment import Experiment
from sop_keras.training.experiment_data import ExperimentData
from sop_keras.training.progress import Progress

logger = logging.getLogger(__name__)


def restored(
    checkpoints: Checkpoints,
    model: keras.Model,
    experiment: Experiment,
    data: ExperimentData,
    steps: int,
    strategy: tf.distribute.Strategy,
) -> Progress:
    """Load the last checkpoint of a run into its model.

    Args:
        checkpoints: of the run.
        model: compiled.
        experiment: the settings.
        data: what they train on.
        steps: of an epoch.
        strategy: of the model.

    Returns:
        How far it had come; the start where there is no checkpoint.

    Raises:
        CheckpointError: if the machines find others than each other, or the last one is
            of another run, or none of them is whole.
    """
    seed = experiment.seed
    progress = checkpoints.restore(model) or Progress(seed)
    place = progress.epoch * 1_000_000 + progress.step
    if not is_common(strategy, place):
        raise CheckpointError(
            f"The machines find other checkpoints in {checkpoints.folder} than each "
            "other. They must share that folder: put the output where all of them can "
            "read it."
        )
    if not place:
        return progress
    if progress.seed != seed:
        raise CheckpointError(
            f"The checkpoints in {checkpoints.folder} are of another run, of "
            f"seed={progress.seed}; this one has seed={seed}. Remove that folder to "
            "train from the start."
        )
    columns = {"epoch", "seconds", *(f"{name}_accuracy" for name in data.tests)}
    if not progress.is_within(experiment.total_epochs, steps, columns):
        raise CheckpointError(
            f"The checkpoints in {checkpoints.folder} are not of this run: it has no "
            f"place {progress} with the history that they have. Remove that folder to "
            "train from the start."
        )
    logger.info("Resuming after %s.", progress)
    return progress
