"""What `fit` and `evaluate` are given in a run, on any number of replicas.

Each is a function of the input context, as a model takes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from sop_keras.data.batches.pipelines import evaluation_batches, training_batches
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
        train = data.train
        batches = evaluation_batches(
            train,
            data.dataset,
            split="train",
            bad_images=bad_images,
            with_positions=True,
        )
        with tf.device("CPU"):
            labels = tf.constant(train.labels, tf.int64)
            ids = tf.constant(train.ids, tf.int64)

        def with_targets(images: tf.Tensor, places: tf.Tensor) -> Any:
            label, index = tf.gather(labels, places), tf.gather(ids, places)
            return images, {"label": label, "index": index}

        return batches.map(with_targets)

    return batches
