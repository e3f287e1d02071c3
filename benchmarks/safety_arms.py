"""The arms of the safety grid: how a cell is trained, and what came of it.

All arms of a cell and seed have the same first weights and the same batches. The fixed
ones share one compiled model, whose variables start again for each: what a rate is is
no part of the compiled step.
"""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

import keras
import numpy as np
from safety_cells import Cell
from safety_data import CellData
from safety_report import AUTO, CROSS_ENTROPY, PAPER, SUGGESTED

from sop_keras import NoisyLabelModel, SOPModel, methods, suggest_uv_rates
from sop_keras.label_issues.detection import auroc

# Steps that are one call of TensorFlow. They change no number, and save 1.3 of 2.5 ms a
# step where epochs have many; in short epochs they save nothing.
_STEPS_AT_ONCE = 32
_IMAGES_AT_ONCE = 2_000
_ISSUE = 0.5  # of label_quality, below which a label is marked


class Rates(NamedTuple):
    """Numbers for SOP: alpha_u, alpha_v, init_std."""

    u: float
    v: float
    init_std: float


def suggested(cell: Cell, share: float = 1.0) -> Rates:
    """Those of `suggest_uv_rates`, the rates times a share."""
    batch_size = cell.batch_size or cell.num_examples
    u, v, init_std = suggest_uv_rates(cell.epochs, batch_size, cell.num_classes)
    return Rates(share * u, share * v, init_std)


FIXED: dict[str, Callable[[Cell], Rates]] = {
    PAPER: lambda cell: Rates(10.0, 10.0, 1e-8),
    SUGGESTED: suggested,
    "gentle": lambda cell: suggested(cell, 0.1),
    "slow": lambda cell: Rates(1.0, 1.0, 1e-4),
}
"""The grid of four: the library's defaults of old (Table A.1's CIFAR-10), the proposal
of `suggest_uv_rates`, a tenth of its rates, and 1 from 1e-4."""

ARMS = (CROSS_ENTROPY, AUTO, *FIXED)


def make_optimizer(cell: Cell) -> keras.optimizers.Optimizer:
    """The cell's; SGD has a momentum of 0.9."""
    name, rate = cell.optimizer
    if name == "sgd":
        return keras.optimizers.SGD(rate, momentum=0.9)
    kinds = {"adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop"}
    return getattr(keras.optimizers, kinds[name])(rate)


def make_network(cell: Cell, input_shape: tuple[int, ...]) -> keras.Model:
    """The cell's backbone, small: what a step costs beside it is most of a run."""
    layers = [keras.Input(input_shape)]
    if cell.backbone == "cnn":
        for filters in (16, 32, 64):
            layers += [
                keras.layers.Conv2D(filters, 3, padding="same", activation="relu"),
                keras.layers.MaxPooling2D(),
            ]
    layers += [keras.layers.Flatten()] * (cell.backbone != "linear")
    if cell.backbone == "mlp":
        layers += [keras.layers.Dense(128, activation="relu")]
    return keras.Sequential([*layers, keras.layers.Dense(cell.num_classes)])


def make_model(cell: Cell, arm: str, data: CellData, seed: int) -> NoisyLabelModel:
    """The compiled model of an arm."""
    keras.utils.set_random_seed(seed)
    network = make_network(cell, data.x_train.shape[1:])
    sizes = len(data.x_train), cell.num_classes
    if arm == CROSS_ENTROPY:
        model = NoisyLabelModel(
            network, *sizes, method=methods.CrossEntropy(), seed=seed
        )
    elif arm == AUTO:
        model = SOPModel(network, *sizes, init_std="auto", seed=seed)
    else:
        model = SOPModel(network, *sizes, init_std=1.0, seed=seed)
    rates = {"u_optimizer": 1.0, "v_optimizer": 1.0} if arm in FIXED else {}
    steps = len(data.x_train) // batch_size_of(cell, data)
    at_once = _STEPS_AT_ONCE if steps >= _STEPS_AT_ONCE else 1
    model.compile(make_optimizer(cell), steps_per_execution=at_once, **rates)
    return model


def batch_size_of(cell: Cell, data: CellData) -> int:
    """Of "all", as many as an imbalance left."""
    return cell.batch_size or len(data.x_train)


class FixedModel:
    """One compiled model for all fixed rates of a cell and seed."""

    def __init__(self, cell: Cell, data: CellData, seed: int):
        self._model = make_model(cell, next(iter(FIXED)), data, seed)
        self._first = [(one, np.array(one)) for one in self._variables()]

    def start_again(self, rates: Rates) -> SOPModel:
        """The model as it was made, with these rates."""
        model = self._model
        for variable, value in self._first:
            variable.assign(value)
        for table in model.tables.by_name().values():
            table.assign(rates.init_std * table)  # drawn from N(0, 1)
        model.u_optimizer.learning_rate = rates.u
        model.v_optimizer.learning_rate = rates.v
        return model

    def _variables(self) -> Iterator[keras.Variable]:
        yield from self._model.variables
        for optimizer in self._model.optimizers():
            yield from optimizer.variables


class Heard(logging.Handler):
    """Warnings that the library logs or gives."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        self.texts.append(record.getMessage())

    def __enter__(self) -> Heard:
        self._logger = logging.getLogger("sop_keras")
        self._logger.addHandler(self)
        self._caught = warnings.catch_warnings(record=True)
        self._given = self._caught.__enter__()
        warnings.simplefilter("always", UserWarning)
        return self

    def __exit__(self, *error: object) -> None:
        self.texts += [str(one.message) for one in self._given]
        self._caught.__exit__(*error)
        self._logger.removeHandler(self)


def figures(
    cell: Cell, model: NoisyLabelModel, data: CellData, seed: int
) -> dict[str, object]:
    """Train, test, and look for wrong labels.

    Returns:
        `accuracy`, `balanced_accuracy`, `last_recall` (of the class that an imbalance
        makes rare) on clean test labels; `wrong`, the share of wrong labels;
        `least_right`, the share of right ones among those of the class with least; of
        wrong ones `found_wrong`, of right ones `flagged_right`, those whose quality is
        below 1/2, which makes them issues unless a warning withholds that;
        `auroc` of `label_quality` (cross entropy: of the given label's probability);
        `seconds` of processors; `warnings`. Shares in [0, 1], None where 0 / 0.
    """
    start = time.process_time()
    is_wrong = data.labels != data.clean_labels
    with Heard() as heard:
        # Again: the same batches for every arm.
        keras.utils.set_random_seed(seed)
        model.fit(
            data.x_train,
            data.labels,
            batch_size=batch_size_of(cell, data),
            epochs=cell.epochs,
            verbose=0,
        )
        quality, is_issue = _judged(model, data, heard)
    predicted = _outputs(model, data.x_test).argmax(axis=-1)
    is_right = predicted == data.test_labels
    recalls = [
        is_right[data.test_labels == label].mean() for label in range(cell.num_classes)
    ]
    return {
        "accuracy": float(is_right.mean()),
        "balanced_accuracy": float(np.mean(recalls)),
        "last_recall": float(recalls[-1]),
        "wrong": float(is_wrong.mean()),
        "least_right": min(
            1 - float(is_wrong[data.labels == label].mean())
            for label in np.unique(data.labels)
        ),
        "flagged_right": _share(is_issue, ~is_wrong),
        "found_wrong": _share(is_issue, is_wrong),
        "auroc": auroc(-quality, is_wrong),
        "seconds": time.process_time() - start,
        "warnings": " | ".join(dict.fromkeys(heard.texts)),
    }


def _judged(
    model: NoisyLabelModel, data: CellData, heard: Heard
) -> tuple[np.ndarray, np.ndarray]:
    """The quality of each label, and which are issues."""
    if not model.method.finds_label_issues:
        log_probs = keras.ops.log_softmax(_outputs(model, data.x_train))
        quality = np.array(log_probs)[np.arange(len(data.labels)), data.labels]
        return quality, np.zeros(len(quality), bool)
    try:
        issues = model.label_issues(
            data.x_train, data.labels, batch_size=_IMAGES_AT_ONCE
        )
    except ValueError as error:  # the training diverged, and it says so
        heard.texts.append(str(error))
        return np.full(len(data.labels), math.nan), np.zeros(len(data.labels), bool)
    quality = issues["label_quality"].to_numpy()
    # Not `is_label_issue`: where the library warns it may mark nothing, and a setting
    # that is no good would look harmless.
    return quality, quality < _ISSUE


def _outputs(model: NoisyLabelModel, x: np.ndarray) -> np.ndarray:
    # Eagerly: to compile it would take longer.
    starts = range(0, len(x), _IMAGES_AT_ONCE)
    pieces = [
        model.backbone(x[first : first + _IMAGES_AT_ONCE], training=False)
        for first in starts
    ]
    return np.concatenate([np.array(one) for one in pieces])


def _share(is_issue: np.ndarray, among: np.ndarray) -> float | None:
    return float(is_issue[among].mean()) if among.any() else None
