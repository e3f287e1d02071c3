"""What `fit` and `evaluate` are given in a run, on any number of replicas.

Each is a function of the input context, as a model takes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from sop_keras.core.example_source import Source
from sop_keras.core.passes import PlannedBatch
from sop_keras.data.batches.epoch_order import epoch_order
from sop_keras.data.batches.pipelines import evaluation_batches, training_batches
from sop_keras.data.batches.planned import PlannedBatches
from sop_keras.data.batches.shards import BatchShards
from sop_keras.data.datasets.dataset import Dataset, Examples
from sop_keras.data.images.bad_images import BadImages
from sop_keras.training.experiment import Experiment
from sop_keras.training.experiment_data import ExperimentData
from sop_keras.training.stretches import Stretch

Input = Callable[[tf.distribute.InputContext], tf.data.Dataset]


def training_input(
    experiment: Experiment,
    data: ExperimentData,
    stretch: Stretch,
    bad_images: BadImages,
) -> Input:
    """What is trained on in a stretch of a run."""

    def batches(context: tf.distribute.InputContext) -> tf.data.Dataset:
        return training_batches(
            data.train,
            data.dataset,
            batch_size=experiment.batch_size,
            epochs=stretch.stop,
            seed=experiment.seed,
            initial_epoch=stretch.epoch,
            initial_step=stretch.step,
            augment=experiment.augment,
            strong_augment=experiment.method.second_view,
            examples_per_class=experiment.examples_per_class,
            bad_images=bad_images,
            shards=BatchShards.of_pipeline(context),
        )

    return batches


def evaluation_input(
    examples: Examples, dataset: Dataset, split: str, bad_images: BadImages
) -> Input:
    """What a model is evaluated on."""

    def batches(context: tf.distribute.InputContext) -> tf.data.Dataset:
        return evaluation_batches(
            examples,
            dataset,
            split=split,
            bad_images=bad_images,
            shards=BatchShards.of_pipeline(context),
        )

    return batches


def scan_input(data: ExperimentData, bad_images: BadImages) -> Input:
    """All training examples once, for methods that look at them before an epoch."""

    def batches(context: tf.distribute.InputContext) -> tf.data.Dataset:
        return _scanned(data.train, data.dataset, bad_images)

    return batches


class RunSource(Source):
    """The training examples of a run, for methods that choose those of each batch.

    Args:
        experiment: the settings.
        data: the data.
        bad_images: what images that cannot be read are reported to.
    """

    def __init__(
        self, experiment: Experiment, data: ExperimentData, bad_images: BadImages
    ):
        train = data.train
        self._planned = PlannedBatches(
            train,
            data.dataset,
            experiment.seed,
            experiment.augment,
            experiment.method.second_view,
            bad_images,
        )
        super().__init__(train.labels, train.ids)
        self._experiment, self._data = experiment, data
        self._bad_images = bad_images
        self._scan: tf.data.Dataset | None = None

    def places(self, epoch: int) -> np.ndarray:
        """All, or what is drawn of each class for an epoch."""
        experiment, train = self._experiment, self._data.train
        if not experiment.examples_per_class:
            return super().places(epoch)
        order = epoch_order(
            experiment.seed,
            tf.constant(epoch, tf.int64),
            tf.constant(train.ids, tf.int64),
            tf.constant(train.labels, tf.int64),
            experiment.examples_per_class,
        )
        return np.sort(order.numpy())

    def batches(self, planned: Sequence[PlannedBatch]) -> tf.data.Dataset:
        """The batches of a plan, augmented and standardised."""
        return self._planned.pipeline(
            [one.number for one in planned], [one.places for one in planned]
        )

    def scan(self, epoch: int) -> tf.data.Dataset:
        """The examples of an epoch, as they are evaluated on."""
        train, dataset = self._data.train, self._data.dataset
        if self._experiment.examples_per_class:
            return _scanned(train.take(self.places(epoch)), dataset, self._bad_images)
        if self._scan is None:  # once: it holds all images
            self._scan = _scanned(train, dataset, self._bad_images)
        return self._scan


def _scanned(
    examples: Examples, dataset: Dataset, bad_images: BadImages
) -> tf.data.Dataset:
    """Examples once, with their labels and ids."""
    batches = evaluation_batches(
        examples,
        dataset,
        split="train",
        bad_images=bad_images,
        with_positions=True,
    )
    with tf.device("CPU"):
        labels = tf.constant(examples.labels, tf.int64)
        ids = tf.constant(examples.ids, tf.int64)

    def with_targets(images: tf.Tensor, places: tf.Tensor) -> Any:
        label, index = tf.gather(labels, places), tf.gather(ids, places)
        return images, {"label": label, "index": index}

    return batches.map(with_targets)
