"""The calls of `fit` that are left of a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from sop_keras.core.model import NoisyLabelModel
from sop_keras.data.images.bad_images import BadImages
from sop_keras.training.execution import Execution
from sop_keras.training.experiment import Experiment
from sop_keras.training.experiment_data import ExperimentData
from sop_keras.training.inputs import RunSource, scan_input, training_input
from sop_keras.training.network import rate_of_epochs
from sop_keras.training.progress import Progress
from sop_keras.training.stretches import stretches


def fit_calls(
    model: NoisyLabelModel,
    experiment: Experiment,
    execution: Execution,
    data: ExperimentData,
    progress: Progress,
    steps: int,
    bad_images: BadImages,
) -> Iterator[dict[str, Any]]:
    """The arguments of each call, in turn, but for validation and the run's callback.

    Args:
        model: compiled.
        experiment: the settings.
        execution: how it is computed.
        data: what is trained on.
        progress: how far the run has come.
        steps: batches in an epoch; where networks learn in turn, at most.
        bad_images: what images that cannot be read are reported to.

    Raises:
        ValueError: for data that cannot be given in batches.
    """
    epochs = experiment.total_epochs
    shared = {"total_epochs": epochs, "callbacks": []}
    rate = rate_of_epochs(experiment)
    if rate is not None:  # networks that learn in turn
        if progress.epoch < epochs:
            yield {
                **shared,
                "x": RunSource(experiment, data, bad_images),
                "batch_size": experiment.batch_size,
                "epochs": epochs,
                "initial_epoch": progress.epoch,
                "initial_step": progress.step,
                "callbacks": [keras.callbacks.LearningRateScheduler(rate)],
            }
        return
    for stretch in stretches(
        progress.epoch,
        progress.step,
        epochs=epochs,
        steps_per_epoch=steps,
        steps_per_execution=execution.steps_per_execution,
    ):
        batches = training_input(experiment, data, stretch, bad_images)
        batches(tf.distribute.InputContext())  # which refuses what it cannot give
        yield {
            **shared,
            "x": batches,
            "epochs": stretch.stop,
            "initial_epoch": stretch.epoch,
            "steps_per_epoch": steps - stretch.step,
            "scan_data": scan_input(data, bad_images),
            "shuffle": False,  # the batches come shuffled; Keras warns if asked to
        }
