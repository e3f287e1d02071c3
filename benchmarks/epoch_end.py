"""How late an epoch ends where tf.data tunes its input, and where it does not.

    python benchmarks/epoch_end.py
    python benchmarks/epoch_end.py --steps=160 --rounds=9

Epochs of `fit` on the same batches, the backbone `cnn` and random images, in turns: the
data set as tf.data gives it, which tunes it, and by `without_autotuning`, as in all of
this project's pipelines. The tuner may sleep on after the last batch, and `fit` waits
until it has: 2.55 s, 5.11 s or 10.23 s after the epoch began.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from timing import median_ratio, take_turns

from sop_keras.backbones.cnn import cnn
from sop_keras.data.batches.tensors import without_autotuning
from sop_keras.optimizers.sgd import SGD

SHAPE, CLASSES, BATCH = (32, 32, 3), 10, 64
TUNED, UNTUNED = "tuned", "not tuned"


def epochs(steps: int) -> dict[str, Callable[[], object]]:
    """An epoch on either data set."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(steps * BATCH, *SHAPE)).astype(np.float32)
    labels = rng.integers(0, CLASSES, steps * BATCH)
    batches = tf.data.Dataset.from_tensor_slices((images, labels)).batch(BATCH)
    network = cnn(SHAPE, CLASSES, seed=0)
    network.compile(
        SGD(0.02, momentum=0.9), keras.losses.SparseCategoricalCrossentropy(True)
    )

    def epoch(dataset: tf.data.Dataset) -> Callable[[], object]:
        return lambda: network.fit(dataset, verbose=0)

    return {TUNED: epoch(batches), UNTUNED: epoch(without_autotuning(batches))}


def main() -> None:
    """Print the seconds of either, and how often the tuned one ended late."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=40, help="in an epoch")
    parser.add_argument("--rounds", type=int, default=21)
    values = parser.parse_args()
    seconds = take_turns(epochs(values.steps), values.rounds, repeats=1)
    for name, taken in seconds.items():
        print(
            f"{name:>9}: {statistics.median(taken):6.2f} s, mean "
            f"{statistics.mean(taken):6.2f}, {min(taken):.2f} to {max(taken):.2f}"
        )
    ratio = median_ratio(seconds[TUNED], seconds[UNTUNED])
    mean_ratio = statistics.mean(seconds[TUNED]) / statistics.mean(seconds[UNTUNED])
    long = 1.2 * statistics.median(seconds[UNTUNED])
    late = sum(one > long for one in seconds[TUNED])
    print(f"tuned / not tuned: {ratio:.2f}, of means {mean_ratio:.2f}")
    print(f"{late} of {values.rounds} tuned epochs took 1.2 times as long, or longer")


if __name__ == "__main__":
    main()
