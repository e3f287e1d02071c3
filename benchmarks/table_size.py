"""What a training step costs as the noise table grows from 10,000 to 100,000,000 rows.

    python benchmarks/table_size.py

Times one SOP step (K = 50 classes, batch 64, a linear backbone, so that nothing hides
the table's part) in turns at all sizes, of dense tables up to 10,000,000 rows and of 8
slots a row as far as the machine's memory goes, beside the authors' way: a dense
gradient of the table's size and a dense update. Memory: the peak of a process of its
own at each size, less that at 10,000 rows, beside the bytes of u, v and the training
record (Linux).
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import time
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
SIZES = {
    "dense": [10_000, 100_000, 1_000_000, 10_000_000],
    "compact": [10_000, 100_000, 1_000_000, 10_000_000, 100_000_000],
}
# Of u and v, and of the training record with what says whose labels are confirmed.
ROW_BYTES = {"dense": 4 * (1 + CLASSES) + 16, "compact": 4 + 72 + 16}
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


def sop_step(num_examples: int, jit_compile: bool, table: str) -> Callable[[], object]:
    """A step of SOPModel's own train function."""
    model = SOPModel(backbone(), num_examples, CLASSES, table=table)
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


def sizes_of(table: str) -> list[int]:
    """Those that the machine has memory for now, all at once."""
    status = Path("/proc/meminfo").read_text()
    free = 1024 * int(re.search(r"MemAvailable:\s+(\d+) kB", status)[1])
    # Each is about ten times the one before, and all of those are held beside it.
    sizes = [n for n in SIZES[table] if 1.3 * n * ROW_BYTES[table] + 2e9 < free]
    for n in sorted(set(SIZES[table]) - set(sizes)):
        print(f"{table}, {n:>11,} rows: not run, {free / 1e9:.1f} GB are free")
    return sizes


def steps_at_all_sizes(table: str, arguments: argparse.Namespace) -> float:
    """Print what a step costs at each; gives the largest ratio over the least."""
    steps = {
        f"{table}, {n:>11,} rows": sop_step(n, arguments.jit_compile, table)
        for n in sizes_of(table)
    }
    seconds = take_turns(steps, arguments.rounds, 100, clock_of(arguments))
    base = next(iter(seconds.values()))
    ratios = []
    for name, values in seconds.items():
        median = 1e3 * statistics.median(values)
        ratios.append(median_ratio(values, base))
        print(f"{name}: {median:8.2f} ms a step, {ratios[-1]:.3f} of the smallest")
    spread = max(ratios) / min(ratios)
    print(f"{table}: largest / smallest time: {spread:.3f} (at most {LIMIT})")
    return spread


def clock_of(arguments: argparse.Namespace) -> Callable[[], float]:
    """What tells the seconds."""
    return time.process_time if arguments.processor_time else time.perf_counter


def peaks(table: str) -> None:
    """Print the memory at each size."""
    first, *others = sizes_of(table)
    least = peak_bytes(first, table)
    for n in others:
        more = peak_bytes(n, table) - least
        print(
            f"{table}, {n:>11,} rows: peak +{more / 1e6:8.0f} MB, "
            f"rows {n * ROW_BYTES[table] / 1e6:8.0f} MB"
        )


def peak_bytes(num_examples: int, table: str) -> int:
    """The peak memory of a fresh process that trains 100 steps at this size."""
    command = [sys.executable, __file__, f"--peak_of={num_examples}", f"--of={table}"]
    return int(subprocess.run(command, capture_output=True, check=True).stdout)


def main() -> None:
    """Print the tables; fail where a step depends on the number of rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jit_compile", action="store_true")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument(
        "--processor_time",
        action="store_true",
        help="seconds of the processors, where others use them as well",
    )
    parser.add_argument("--peak_of", type=int, help="for the processes that it starts")
    parser.add_argument("--of", choices=[*SIZES], help="likewise")
    arguments = parser.parse_args()
    if arguments.peak_of:
        step = sop_step(arguments.peak_of, jit_compile=False, table=arguments.of)
        for _ in range(100):
            step()
        # Not getrusage: on Linux it counts what the parent held when it forked.
        status = Path("/proc/self/status").read_text()
        print(1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]))
        return

    # First: what this process holds afterwards is not free again.
    for table in SIZES:
        peaks(table)

    spread = max(steps_at_all_sizes(table, arguments) for table in SIZES)
    dense = {
        f"dense gradients, {n:>9,} rows": dense_step(n) for n in SIZES["dense"][:3]
    }
    seconds = take_turns(dense, 3, 5, clock_of(arguments))
    for name, values in seconds.items():
        print(f"{name}: {1e3 * statistics.median(values):8.2f} ms a step")
    if spread > LIMIT:
        sys.exit("The cost of a step depends on the size of the table.")


if __name__ == "__main__":
    main()
