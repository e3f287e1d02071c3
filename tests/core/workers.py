"""Train small models as a worker of TF_CONFIG: FOLDER.

What came out is written to FOLDER/INDEX-of-NUMBER.npz: arrays by name. All models share
one strategy, as in `train_on_replicas.py`.
"""

import contextlib
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from sop_keras import NoisyLabelModel, SOPModel, methods, with_index
from sop_keras.core.strategies import make_strategy
from sop_keras.data.batches.pipelines import (
    evaluation_batches,
    steps_per_epoch,
    training_batches,
)
from sop_keras.data.batches.shards import BatchShards
from sop_keras.data.datasets.digits import load_digits

NUM_EXAMPLES, NUM_FEATURES, NUM_CLASSES = 23, 6, 4
BATCH_SIZE, EPOCHS = 8, 3
PRIOR = [0.1, 0.2, 0.3, 0.4]
PLUS = {"consistency_weight": 0.9, "balance_weight": 0.4}


class Worker:
    """This process, and what its trainings came to.

    Args:
        strategy: of the cluster; None for a process alone.
    """

    def __init__(self, strategy: tf.distribute.Strategy | None):
        self.strategy = strategy
        self.number = strategy.num_replicas_in_sync if strategy else 1
        self.index = strategy.cluster_resolver.task_id if strategy else 0
        self.results: dict[str, Any] = {}

    def scope(self) -> Any:
        return self.strategy.scope() if self.strategy else contextlib.nullcontext()

    def data(self, function: Any) -> Any:
        """What `fit` takes: a function; alone, plain batches."""
        return function if self.strategy else function(tf.distribute.InputContext())

    def train(
        self, name: str, model: keras.Model, data: Any, evaluation: Any, **options: Any
    ) -> None:
        """Add what a training comes to."""
        options = {"epochs": EPOCHS, "shuffle": False, "verbose": 0, **options}
        history = model.fit(*data, **options).history
        for place, value in enumerate(state(model)):
            self.results[f"{name}/state/{place}"] = value
        found = model.evaluate(*evaluation, verbose=0, return_dict=True)
        found.update({f"history {key}": values for key, values in history.items()})
        for key, value in found.items():
            self.results[f"{name}/found/{key}"] = np.asarray(value)


def state(model: keras.Model) -> list[np.ndarray]:
    """All that a training changes: the network, u and v, the optimizers."""
    variables = list(model.weights)
    for name in ("optimizer", "u_optimizer", "v_optimizer"):
        if hasattr(model, name):
            variables += getattr(model, name).variables
    return [variable.numpy() for variable in variables]


def network(
    shape: tuple[int, ...], num_classes: int, synchronized: bool
) -> keras.Sequential:
    between: list[Any] = [layers.ReLU()]
    if synchronized:
        between.insert(0, layers.BatchNormalization(synchronized=True))
    # A bias would be nothing but rounding before normalization.
    hidden = layers.Dense(10, use_bias=not synchronized)
    return keras.Sequential(
        [
            keras.Input(shape),
            layers.Flatten(),
            hidden,
            *between,
            layers.Dense(num_classes),
        ]
    )


def compile_sop(model: SOPModel) -> SOPModel:
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        u_optimizer=5.0,
        v_optimizer=3.0,
        metrics=["accuracy"],
    )
    return model


def digits_model(seed: int) -> SOPModel:
    """A compiled model of the digits for pairs of views, with normalization."""
    keras.utils.set_random_seed(seed)
    backbone = network((8, 8, 1), 10, synchronized=True)
    num_examples = load_digits().num_examples
    return compile_sop(
        SOPModel(backbone, num_examples, 10, init_std=0.1, seed=seed, **PLUS)
    )


def digits(worker: Worker, folder: Path) -> None:
    """Pipelines that read this worker's parts of the batches; weights are saved."""
    dataset = load_digits()
    train = dataset.train.take(np.arange(97))  # batches of 33, 33 and 31
    test = dataset.test.take(np.arange(51))  # of 25, 25 and 1: a worker has no image

    def pairs(context: Any) -> tf.data.Dataset:
        return training_batches(
            train,
            dataset,
            batch_size=33,
            epochs=EPOCHS,
            seed=5,
            strong_augment="weak",
            shards=BatchShards.of_pipeline(context),
        )

    def test_batches(context: Any) -> tf.data.Dataset:
        parts = BatchShards.of_pipeline(context)
        return evaluation_batches(test, dataset, batch_size=25, shards=parts)

    with worker.scope():
        # The first worker's initial values become those of all, whatever the seeds.
        model = digits_model(seed=worker.index)
    worker.train(
        "digits",
        model,
        [worker.data(pairs)],
        [worker.data(test_batches)],
        steps_per_epoch=steps_per_epoch(97, 33),
        validation_data=worker.data(test_batches),
    )
    if worker.index == 0:
        model.save_weights(folder / f"{worker.number}.weights.h5")


def examples(num_examples: int) -> tuple[np.ndarray, ...]:
    """Two views, labels, ids and weights."""
    rng = np.random.default_rng(3)
    weak = rng.normal(size=(num_examples, NUM_FEATURES)).astype(np.float32)
    strong = weak + rng.normal(0, 0.3, weak.shape).astype(np.float32)
    ids = rng.integers(0, NUM_EXAMPLES, num_examples)
    # Of the first batch, halved by two workers: repeated on one, and on both.
    ids[:BATCH_SIZE] = [3, 3, 5, 3, 7, 3, 5, 1]
    weights = rng.uniform(0.5, 1.5, num_examples).astype(np.float32)
    return weak, strong, ids * 7 % NUM_CLASSES, ids, weights


def parts_of(element: Any, num_examples: int) -> Any:
    """A function of the input context that cuts the batches of some arrays."""

    def batches(context: Any) -> tf.data.Dataset:
        parts = BatchShards.of_pipeline(context)
        bounds = []
        for start in range(0, num_examples, BATCH_SIZE):
            size = min(BATCH_SIZE, num_examples - start)
            begin, end = parts.bounds(size, parts.first)
            bounds.append((start + begin, start + end))

        def part(bound: Any) -> Any:
            return tf.nest.map_structure(
                lambda array: tf.constant(array)[bound[0] : bound[1]], element
            )

        return tf.data.Dataset.from_tensor_slices(bounds).map(part)

    return batches


def small_model(worker: Worker, **options: Any) -> SOPModel:
    with worker.scope():
        # All workers shuffle what they divide, so all need the same seed.
        keras.utils.set_random_seed(1)
        backbone = network((NUM_FEATURES,), NUM_CLASSES, synchronized=False)
        options = {"init_std": 0.1, "seed": 2, **options}
        return compile_sop(SOPModel(backbone, NUM_EXAMPLES, NUM_CLASSES, **options))


def repeated(worker: Worker) -> None:
    """Ids that both workers meet in a batch; the last batch has one example."""
    weak, strong, labels, ids, weights = examples(33)
    element = ((weak, strong), {"label": labels, "index": ids}, weights)
    worker.train(
        "repeated",
        small_model(worker, variant="reference", class_prior=PRIOR, **PLUS),
        [worker.data(parts_of(element, 33))],
        [worker.data(parts_of((weak[:19], labels[:19], weights[:19]), 19))],
    )


def plain(worker: Worker) -> None:
    """Data sets and arrays that Keras divides itself; the baseline, and SOP."""
    weak, _, labels, _, weights = examples(NUM_EXAMPLES)
    with worker.scope():
        keras.utils.set_random_seed(1)
        backbone = network((NUM_FEATURES,), NUM_CLASSES, synchronized=False)
        method = methods.CrossEntropy()
        model = NoisyLabelModel(backbone, NUM_EXAMPLES, NUM_CLASSES, method)
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9), metrics=["accuracy"])
    dataset = tf.data.Dataset.from_tensor_slices((weak, labels))
    dataset = with_index(dataset).shuffle(NUM_EXAMPLES, seed=4).batch(BATCH_SIZE)
    worker.train("with_index", model, [dataset], (weak, labels))
    worker.train(
        "arrays",
        small_model(worker, table_device="cpu"),
        (weak, labels),
        (weak, labels),
        batch_size=BATCH_SIZE,
        shuffle=True,
        sample_weight=weights,
        validation_data=(weak[:9], labels[:9]),
        validation_batch_size=BATCH_SIZE,  # 8 and 1
    )


def train(worker: Worker, folder: Path) -> None:
    """Train all models, and write what came out."""
    digits(worker, folder)
    repeated(worker)
    plain(worker)
    np.savez(folder / f"{worker.index}-of-{worker.number}.npz", **worker.results)


if __name__ == "__main__":
    train(Worker(make_strategy("multi_worker")), Path(sys.argv[1]))
