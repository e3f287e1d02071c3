"""Small models on replicas, their data, and what comes of them."""

import contextlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from sop_keras import NoisyLabelModel, SOPModel, methods
from sop_keras.core.method import Method
from sop_keras.core.strategies import make_strategy

NUM_EXAMPLES, NUM_FEATURES, NUM_CLASSES = 23, 6, 4
BATCH_SIZE, EPOCHS = 8, 3
PRIOR = [0.1, 0.2, 0.3, 0.4]
PLUS = {"consistency_weight": 0.9, "balance_weight": 0.4, "class_prior": PRIOR}


class Replicas:
    """The strategy of this process, and what its trainings came to."""

    def __init__(self, number: int):
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * number
        )
        self.number = number
        self.strategy = make_strategy("mirrored") if number > 1 else None
        self.results: dict[str, Any] = {}

    def scope(self) -> Any:
        return self.strategy.scope() if self.strategy else contextlib.nullcontext()

    def copies(self, variable: keras.Variable) -> np.ndarray:
        """The values of all replicas, `(number or 1, ...)`."""
        strategy = self.strategy or tf.distribute.get_strategy()
        local = strategy.experimental_local_results(variable.value)
        return np.stack([copy.numpy() for copy in local])

    def add_state(self, name: str, model: NoisyLabelModel) -> None:
        """Add all that a training changes."""
        groups = {
            "network": [one for net in model.networks() for one in net.variables],
            "optimizer": [
                one for each in model.network_optimizers() for one in each.variables
            ],
            **{
                f"{name}_optimizer": one.variables
                for name, one in model.row_optimizers().items()
            },
            **{name: [one] for name, one in model.tables.by_name().items()},
            **{name: [one] for name, one in model.shared.items()},
            "record": [model.training_record.table, model.training_record.trusted],
            "averaged": model.averaged.variables if model.averaged else [],
        }
        for group, variables in groups.items():
            for place, variable in enumerate(variables):
                key = f"{name}/state/{group} {place}"
                self.results[key] = self.copies(variable)

    def train(
        self, name: str, model: NoisyLabelModel, *data: Any, **options: Any
    ) -> None:
        """Add what a training comes to."""
        options = {"epochs": EPOCHS, "shuffle": False, "verbose": 0, **options}
        history = model.fit(*data, **options).history
        self.add_state(name, model)
        if isinstance(model, SOPModel):
            ids = np.arange(10)
            noise = model.estimate_noise(ids, ids % model.num_classes)
            self.results[f"{name}/noise"] = noise
        self.add(f"{name}/history", history)

    def add(self, name: str, values: Mapping[str, Any]) -> None:
        """Add values by their names."""
        for key, value in values.items():
            self.results[f"{name} {key}"] = np.asarray(value)

    def model(
        self,
        synchronized: bool = False,
        rate: float = 0.0,
        distributed: bool = True,
        **options: Any,
    ) -> SOPModel:
        """A compiled model of a small network."""
        with self.scope() if distributed else contextlib.nullcontext():
            backbone = network(synchronized, rate)
            options = {"init_std": 0.1, "seed": 2, **options}
            model = SOPModel(backbone, NUM_EXAMPLES, NUM_CLASSES, **options)
            compile_model(model)
        return model

    def model_of(self, method: Method, built: bool = True) -> NoisyLabelModel:
        """A compiled model of any method."""
        with self.scope():
            backbone = network()
            if not built:
                backbone = keras.Sequential([layers.Dense(NUM_CLASSES)])
            model = NoisyLabelModel(
                backbone,
                NUM_EXAMPLES,
                NUM_CLASSES,
                method=method,
                peer=network(seed=2) if method.num_networks > 1 else None,
                seed=2,
            )
            optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
            model.compile(optimizer, metrics=["accuracy"])
        return model


def network(
    synchronized: bool = False,
    rate: float = 0.0,
    seed: int = 1,
    num_classes: int = NUM_CLASSES,
) -> keras.Sequential:
    keras.utils.set_random_seed(seed)
    hidden = layers.Dense(
        10,
        # Its gradient would be nothing but rounding before normalization.
        use_bias=not synchronized,
        kernel_regularizer=keras.regularizers.L2(1e-2),
    )
    between: list[Any] = [layers.ReLU()]
    if synchronized:
        between.insert(0, layers.BatchNormalization(synchronized=True))
    if rate:
        between.append(layers.Dropout(rate))
    return keras.Sequential(
        [keras.Input((NUM_FEATURES,)), hidden, *between, layers.Dense(num_classes)]
    )


# In place of the settings of a run.
ARGUMENTS = {
    "truncated_gce": {"k": 0.25, "start": 2, "every": 1},  # which looks twice
    "coteaching": {"noise_rate": 0.4, "num_gradual": 2},
    "coteaching_plus": {"noise_rate": 0.4, "num_gradual": 1, "init_epochs": 1},
}


def method_named(name: str) -> Method:
    """A method with its `ARGUMENTS`, or the settings of a run by default."""
    record = methods.record(name)
    if name in ARGUMENTS:
        return record.load()(**ARGUMENTS[name])
    labels = labels_of(np.arange(NUM_EXAMPLES))
    arguments = record.settings().arguments(labels, NUM_CLASSES, False)
    return record.load()(**arguments)


def compile_model(model: SOPModel, **options: Any) -> None:
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        u_optimizer=5.0,
        v_optimizer=3.0,
        metrics=["accuracy"],
        **options,
    )


def examples(num_examples: int) -> tuple[np.ndarray, ...]:
    """Two views, ids, their labels and weights."""
    rng = np.random.default_rng(3)
    weak = rng.normal(size=(num_examples, NUM_FEATURES)).astype(np.float32)
    strong = weak + rng.normal(0, 0.3, weak.shape).astype(np.float32)
    ids = rng.integers(0, NUM_EXAMPLES, num_examples)
    # Of the first batch: repeated on a replica and on several, of 2 and of 4.
    ids[:BATCH_SIZE] = [3, 3, 5, 3, 7, 3, 5, 1]
    weights = rng.uniform(0.5, 1.5, num_examples).astype(np.float32)
    return weak, strong, ids, labels_of(ids), weights


def labels_of(ids: np.ndarray) -> np.ndarray:
    return ids * 7 % NUM_CLASSES


def stream(num_examples: int, pairs: bool) -> tf.data.Dataset:
    weak, strong, ids, labels, weights = examples(num_examples)
    x = (weak, strong) if pairs else weak
    element = (x, {"label": labels, "index": ids}, weights)
    return tf.data.Dataset.from_tensor_slices(element).batch(BATCH_SIZE)


def weighted_test_batches() -> tf.data.Dataset:
    weak, _, _, labels, weights = examples(19)
    return tf.data.Dataset.from_tensor_slices((weak, labels, weights)).batch(8)


def averaged(replicas: Replicas) -> None:
    """An average of weights, which evaluates, judges labels and is deployed."""
    weak, _, _, _, _ = examples(NUM_EXAMPLES)
    labels = labels_of(np.arange(NUM_EXAMPLES))
    # Of the last 2 epochs of 3: it begins on all replicas at once.
    model = replicas.model(synchronized=True, weight_average="last:2")
    options = {"validation_data": (weak, labels), "batch_size": BATCH_SIZE}
    replicas.train("averaged", model, weak, labels, **options)
    issues = model.label_issues(weak, labels)
    replicas.add("averaged/issues", issues.drop(columns="is_label_issue"))
    deployed = model.predictor().predict(weak, verbose=0)
    replicas.add("averaged/deployed", {"outputs": deployed})


def slots(replicas: Replicas) -> None:
    """v in three slots of twelve classes, which are too few for some rows."""
    with replicas.scope():
        backbone = network(num_classes=12)
        model = SOPModel(
            *(backbone, NUM_EXAMPLES, 12),
            table="compact",
            table_slots=3,
            init_std=1e-2,
            seed=2,
            consistency_weight=0.9,
            balance_weight=0.4,
        )
        compile_model(model)
    weak, strong, ids, _, weights = examples(33)
    element = ((weak, strong), {"label": ids * 7 % 12, "index": ids}, weights)
    data = tf.data.Dataset.from_tensor_slices(element).batch(BATCH_SIZE)
    replicas.train("slots", model, data)
    replicas.add("slots/rows", model.tables.rows(np.arange(NUM_EXAMPLES)))
    replicas.add("slots/tables", {"evicted": model.tables.num_evicted()})
