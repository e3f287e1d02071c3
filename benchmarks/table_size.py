"""What a training step costs as the noise table grows from 10,000 to 10,000,000 rows.

    python benchmarks/table_size.py

Times one SOP step (K = 50 classes, batch 64, a linear backbone, so that nothing hides
the table's part) in turns at all sizes, beside the authors' way: a dense gradient of
the table's size and a dense update. Memory: the peak of a process of its own at each
size, less that at 10,000 rows, beside the table's bytes (Linux).
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from timing import median_ratio, take_turns

from sop_keras import SOPModel
from sop_keras.methods import sop_objective as sop

CLASSES, BATCH, FEATURES = 50, 64, 64
LIMIT = 1.15


def batches(num_examples: int) -> tf.data.Dataset:
    """64 batches of random examples, held in memory, for ever."""
    rng = np.random.default_rng(0)
    n = 64 * BATCH
    x = rng.normal(size=(n, FEATURES)).astype("float32")
    y = {
        "label": rng.integers(0, CLASSES, n),
        "index": rng.integers(0, num_examples, n),
    }
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH).cache().repeat()


def backbone() -> keras.Model:
    """One dense layer."""
    return keras.Sequential([keras.Input((FEATURES,)), keras.layers.Dense(CLASSES)])


def sop_step(num_examples: int, jit_compile: bool) -> Callable[[], object]:
    """A step of SOPModel's own train function."""
    model = SOPModel(backbone(), num_examples, CLASSES)
    model.compile(keras.optimizers.SGD(0.1), jit_compile=jit_compile)
    model.make_train_function()
    iterator = iter(batches(num_examples))
    return lambda: float(model.train_function(iterator)["loss"])


def dense_step(num_examples: int) -> Callable[[], object]:
    """The same step with dense gradients and updates of u and v."""
    network = backbone()
    u = tf.Variable(tf.random.normal((num_examples, 1), stddev=1e-8))
    v = tf.Variable(tf.random.normal((num_examples, CLASSES), stddev=1e-8))
    iterator = iter(batches(num_examples))

    @tf.function
    def step(x: tf.Tensor, y: dict[str, tf.Tensor]) -> tf.Tensor:
        labels = tf.one_hot(y["label"], CLASSES)
        with tf.GradientTape() as tape:
            outputs = network(x, training=True)
            rows = tf.gather(u, y["index"]), tf.gather(v, y["index"])
            noise = sop.estimated_noise(*rows, labels, "paper")
            constant = sop.estimated_noise(
                rows[0], tf.stop_gradient(rows[1]), labels, "paper"
            )
            observed = sop.observed_probabilities(
                tf.nn.softmax(outputs), constant, "paper"
            )
            ce = tf.reduce_mean(sop.cross_entropy_loss(observed, labels))
            predictions = tf.one_hot(tf.argmax(outputs, -1), CLASSES)
            mse = sop.squared_error_loss(predictions, noise, labels)
            loss = ce + tf.reduce_mean(mse)
        variables = network.trainable_variables
        *gradients, by_u, by_v = tape.gradient(
            loss, [*(w.value for w in variables), u, v]
        )
        for variable, gradient in zip(variables, gradients, strict=True):
            variable.value.assign_sub(0.1 * gradient)
        u.assign_sub(10.0 * tf.convert_to_tensor(by_u))
        v.assign_sub(10.0 * tf.convert_to_tensor(by_v))
        return loss

    return lambda: float(step(*next(iterator)))


def peak_bytes(num_examples: int) -> int:
    """The peak memory of a fresh process that trains 100 steps at this size."""
    command = [sys.executable, __file__, "--peak_of", str(num_examples)]
    return int(subprocess.run(command, capture_output=True, check=True).stdout)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jit_compile", action="store_true")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--peak_of", type=int, help="for the processes that it starts")
    arguments = parser.parse_args()
    if arguments.peak_of:
        step = sop_step(arguments.peak_of, jit_compile=False)
        for _ in range(100):
            step()
        # Not getrusage: on Linux it counts what the parent held when it forked.
        status = Path("/proc/self/status").read_text()
        print(1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]))
        return

    sizes = [10_000, 100_000, 1_000_000, 10_000_000]
    steps = {f"SOP, {n:>10,} rows": sop_step(n, arguments.jit_compile) for n in sizes}
    seconds = take_turns(steps, arguments.rounds, repeats=100)
    base = seconds[f"SOP, {sizes[0]:>10,} rows"]
    medians = []
    for name, values in seconds.items():
        medians.append(statistics.median(values))
        ratio = median_ratio(values, base)
        print(
            f"{name}: {1e3 * medians[-1]:8.2f} ms a step, {ratio:.3f} of the smallest"
        )
    spread = max(medians) / min(medians)
    print(f"largest / smallest time: {spread:.3f} (at most {LIMIT})")
    del steps

    dense = {f"dense, {n:>9,} rows": dense_step(n) for n in sizes[:3]}
    seconds = take_turns(dense, 3, repeats=5)
    for name, values in seconds.items():
        print(f"{name}: {1e3 * statistics.median(values):8.2f} ms a step")
    del dense

    least = peak_bytes(sizes[0])
    for n in sizes[1:]:
        table = 4 * n * (CLASSES + 1)
        more = peak_bytes(n) - least
        print(f"{n:>10,} rows: peak +{more / 1e6:8.0f} MB, table {table / 1e6:8.0f} MB")
    if spread > LIMIT:
        sys.exit("The cost of a step depends on the size of the table.")


if __name__ == "__main__":
    main()
