"""The cells of the safety grid: a design that covers every pair of values.

Seven things make a training: the optimizer with its rate, the noise, epochs, batch,
number of examples, number of classes, imbalance and backbone. All combinations would be
54,432 trainings; `cells` holds a part in which every pair of values that can occur
together does, and of the triples as many as cost little.

What cannot be (`why_void`):

- a batch of more examples than there are ("all" is one batch an epoch);
- 200 examples of 100 classes;
- a class of less than 5 examples, or of 2 classes less than 2: most means nothing;
- `cnn` on 10,000 images for more than 30 epochs, or all of them in one batch.

Noise of two classes is never void: symmetric noise redraws the true class, too, so that
80% leaves 40% of the labels wrong; asymmetric noise takes the second class for the
first alone (40% both ways would be the symmetric 80%).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

ALL = 0
"""A batch of all examples."""

FACTORS: dict[str, tuple[Any, ...]] = {
    "optimizer": (
        *(("sgd", 1e-3), ("sgd", 0.02), ("sgd", 0.1)),
        *(("adam", 1e-4), ("adam", 1e-3), ("adamw", 3e-4), ("rmsprop", 1e-3)),
    ),
    "noise": (
        *(("none", 0.0), ("symmetric", 0.2), ("symmetric", 0.4)),
        *(("symmetric", 0.6), ("symmetric", 0.8), ("asymmetric", 0.4)),
    ),
    "epochs": (5, 10, 30, 100),
    "batch_size": (32, 128, 512, ALL),
    "num_examples": (200, 1437, 10_000),
    "num_classes": (2, 10, 100),
    "imbalance": (1, 20, 100),
    "backbone": ("mlp", "cnn", "linear"),
}

NUM_CELLS = 126

# Seconds: what every arm costs, whatever the cell.
_EVERY_CELL = 15.0

# Examples of every class that the data sets have; of CIFAR-10's two, the 4,000 vehicles
# are the rare ones.
_OF_A_CLASS = {
    ("digits", 2): 710,
    ("digits", 10): 143,
    ("cifar10", 2): 6000,
    ("cifar10", 10): 1000,
    ("cifar100", 100): 100,
}


@dataclass(frozen=True)
class Cell:
    """A training.

    Args:
        optimizer: its name and learning rate.
        noise: its kind and rate.
        epochs: how often each example is visited.
        batch_size: `ALL` for one batch.
        num_examples: N, of which an imbalance may leave less.
        num_classes: K.
        imbalance: r: the last class has 1/r of the examples of another.
        backbone: `"mlp"`, `"cnn"` or `"linear"` (on fixed features).
    """

    optimizer: tuple[str, float]
    noise: tuple[str, float]
    epochs: int
    batch_size: int
    num_examples: int
    num_classes: int
    imbalance: int
    backbone: str

    @property
    def name(self) -> str:
        """All of it, in a word."""
        (optimizer, rate), (noise, noise_rate) = self.optimizer, self.noise
        wrong = f"{noise[:4]}{100 * noise_rate:.0f}" if noise_rate else "clean"
        return (
            f"{optimizer}{rate:g}-{wrong}-e{self.epochs}-b{self.batch_size or 'all'}-"
            f"n{self.num_examples}-k{self.num_classes}-i{self.imbalance}-"
            f"{self.backbone}"
        )

    @property
    def dataset(self) -> str:
        """Where the examples are from."""
        if self.num_classes == 100:
            return "cifar100"
        return "cifar10" if self.num_examples == 10_000 else "digits"

    @property
    def class_sizes(self) -> tuple[int, int]:
        """With an imbalance: examples of each class but the last, and of the last."""
        others = min(
            self.num_examples / (self.num_classes - 1 + 1 / self.imbalance),
            _OF_A_CLASS[self.dataset, self.num_classes],
        )
        return int(others), round(others / self.imbalance)

    @property
    def steps(self) -> int:
        """Training steps, of all examples."""
        size = self.batch_size or self.num_examples
        return self.epochs * -(-self.num_examples // size)


def why_void(cell: Cell) -> str | None:
    """Why a cell cannot be, or None if it can."""
    if cell.batch_size > cell.num_examples:
        return "a batch of more examples than there are"
    if (cell.num_examples, cell.num_classes) == (200, 100):
        return "200 examples of 100 classes"
    least = 2 if cell.num_classes == 2 else 5
    if cell.imbalance > 1 and cell.class_sizes[1] < least:
        return "a class of hardly any examples"
    if cell.backbone == "cnn" and cell.num_examples == 10_000:
        if cell.epochs > 30:
            return "a cnn on 10,000 images for more than 30 epochs"
        if cell.batch_size == ALL:
            return "a cnn on 10,000 images in one batch"
    return None


def possible_cells() -> list[Cell]:
    """All that are not void."""
    cells = (Cell(*values) for values in itertools.product(*FACTORS.values()))
    return [cell for cell in cells if why_void(cell) is None]


def seconds(cell: Cell) -> float:
    """About what an arm of a cell costs on one core, beside what every arm costs.

    Measured: 45 ms an epoch, 1.2 ms a step, and what its examples cost.
    """
    small = cell.dataset == "digits"
    microseconds = {
        "mlp": 3 if small else 8,
        "linear": 3,
        "cnn": 25 if small else 70,
    }[cell.backbone]
    return (
        0.045 * cell.epochs
        + 1.2e-3 * cell.steps
        + 1e-6 * microseconds * cell.epochs * cell.num_examples
    )


def covering_cells(number: int = NUM_CELLS, seed: int = 0) -> list[Cell]:
    """The design: every possible pair, then triples.

    Greedy: the cell with most new pairs for its price, until there are none; then
    likewise by triples, up to `number`. What an arm costs in any cell is in the price:
    cheap cells alone would all be small. Values that came often count less, so that
    200 examples of 2 classes, of which most is possible, are not most of the cells.
    Equally good ones are drawn, always alike.

    Args:
        number: how many cells; more if the pairs need them.
        seed: of the draws.
    """
    candidates = possible_cells()
    Random(seed).shuffle(candidates)
    price = np.array([_EVERY_CELL + seconds(cell) for cell in candidates])
    values = _numbered(candidates, 1)
    times_chosen = np.zeros(values.max() + 1)
    chosen: list[int] = []
    for size in (2, 3):
        held = _numbered(candidates, size)
        is_left = np.zeros(held.max() + 1, bool)
        is_left[held] = True
        is_left[held[chosen]] = False
        while is_left.any() and (size == 2 or len(chosen) < number):
            common = times_chosen[values].mean(axis=1) + 1
            new = is_left[held].sum(axis=1)
            best = int(np.argmax(new / (price * common)))
            chosen.append(best)
            is_left[held[best]] = False
            times_chosen[values[best]] += 1
    return [candidates[place] for place in chosen]


def _numbered(cells: list[Cell], size: int) -> np.ndarray:
    """A number for each combination of `size` values in each cell, `(cells, n)`."""
    places = np.array(
        [
            [FACTORS[name].index(getattr(cell, name)) for name in FACTORS]
            for cell in cells
        ]
    )
    counts = [len(values) for values in FACTORS.values()]
    numbers, first = [], 0
    for some in itertools.combinations(range(len(FACTORS)), size):
        of_each = [counts[factor] for factor in some]
        number = np.ravel_multi_index(tuple(places[:, some].T), of_each)
        numbers.append(first + number)
        first += math.prod(of_each)
    return np.stack(numbers, axis=-1)
