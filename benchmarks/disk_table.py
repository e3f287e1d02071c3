"""What rows on disk cost: the time of a step, memory, and what a checkpoint writes.

    python benchmarks/disk_table.py FOLDER
    python benchmarks/disk_table.py FOLDER --rows 50000000
    python benchmarks/disk_table.py FOLDER --turns

SOP at 1,000 classes with 8 slots a row, batches of 128 and a linear backbone of 64
inputs, so that nothing hides the table's part. FOLDER is on the disk in question; the
tables there are removed afterwards. Each line is a process of its own, of which the
memory is its peak, with what it has mapped of files (Linux). Its 500 steps are of
examples anywhere in the table, no two batches alike, or, with "near", of 4,096 that
follow each other, as where a shuffle stays within shards. "cold": the system has
forgotten the files before, so that every row is read from the disk. Then the rows are
marked, which is what a checkpoint does to them.

--turns compares the processors' time of a step on disk with one in memory, in turns:
for a machine that others use as well.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from timing import median_ratio, take_turns

from sop_keras import SOPModel
from sop_keras.core.disk_rows import rows_on_disk

CLASSES, BATCH, FEATURES, STEPS = 1_000, 128, 64, 500
NEAR = 4_096
SIZES = (100_000, 1_000_000, 10_000_000)
MARKS = ("0" * 16, "1" * 16)


def batches(num_examples: int, near: bool) -> Iterator[Any]:
    """Batches of random examples, for ever."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(BATCH, FEATURES)).astype("float32")

    def batch(number: tf.Tensor) -> Any:
        seed = tf.stack([0, tf.cast(number, tf.int32)])
        size = NEAR if near else num_examples
        index = tf.random.stateless_uniform((BATCH,), seed, 0, size, tf.int64)
        if near:  # a shard after the other
            index += tf.cast(number, tf.int64) // (NEAR // BATCH) * NEAR
        label = tf.random.stateless_uniform((BATCH,), seed, 0, CLASSES, tf.int64)
        return x, {"label": label, "index": index % num_examples}

    return iter(tf.data.Dataset.range(2**40).map(batch).prefetch(2))


def peak() -> float:
    """Megabytes of memory of this process, at most."""
    # Not getrusage: on Linux it counts what the parent held when it forked.
    status = Path("/proc/self/status").read_text("utf-8")
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1e3  # type: ignore[index]


def forget(folder: Path) -> None:
    """Have the system forget the files' content."""
    os.sync()
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def model_of(folder: Path, num_examples: int, where: str) -> tuple[SOPModel, float]:
    """A model that is ready to train, and how long its tables took."""
    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.Input((FEATURES,)), keras.layers.Dense(CLASSES)])
    disk = {"table_device": "disk", "table_folder": folder} if "disk" in where else {}
    began = time.monotonic()
    model = SOPModel(network, num_examples, CLASSES, table="compact", seed=0, **disk)
    made = time.monotonic() - began
    model.compile(keras.optimizers.SGD(0.1))
    model.make_train_function()
    return model, made


def take_turns_at(folder: Path, num_examples: int) -> str:
    """What a step on disk takes of the processors, beside one in memory."""
    steps = {}
    for where in ("memory", "disk"):
        model, _ = model_of(folder, num_examples, where)
        for rows in rows_on_disk(model):
            rows.mark(MARKS[0])
        iterator = batches(num_examples, near=False)
        function = model.train_function
        steps[where] = partial(
            lambda f, data: float(f(data)["loss"]), function, iterator
        )
    seconds = take_turns(steps, rounds=15, repeats=40, clock=time.process_time)
    ratio = median_ratio(seconds["disk"], seconds["memory"])
    memory, disk = (1e3 * statistics.median(seconds[one]) for one in steps)
    return (
        f"{num_examples:,} rows: {disk:.2f} ms of the processors a step on disk, "
        f"{memory:.2f} in memory: {ratio:.2f}"
    )


def measure(folder: Path, num_examples: int, where: str) -> str:
    """A line of the table."""
    model, made = model_of(folder, num_examples, where)
    iterator = batches(num_examples, "near" in where)

    def train(steps: int) -> float:
        began = time.monotonic()
        for _ in range(steps):
            float(model.train_function(iterator)["loss"])
        return time.monotonic() - began

    train(20)
    files = rows_on_disk(model)
    for rows in files:
        rows.mark(MARKS[0])
    if "cold" in where:
        forget(folder)
    step = 1e3 * train(STEPS) / STEPS
    began = time.monotonic()
    for rows in files:
        rows.mark(MARKS[1])
    marked = time.monotonic() - began
    size = sum(path.stat().st_size for path in folder.iterdir())
    journals = sum(path.stat().st_size for path in folder.glob(f"*{MARKS[0]}"))
    return (
        f"| {num_examples:,} | {where} | {size / 1e6:,.0f} | {made:.1f} | {step:.2f} | "
        f"{marked:.2f} | {journals / 1e6:.1f} | {peak():,.0f} |"
    )


def main() -> None:
    """Print the table, a process a line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, nargs="*", default=SIZES)
    parser.add_argument("--turns", action="store_true")
    parser.add_argument("--where", help="for the processes that it starts")
    values = parser.parse_args()
    if values.turns:
        with tempfile.TemporaryDirectory(dir=values.folder) as name:
            print(take_turns_at(Path(name), 1_000_000))
        return
    if values.where:
        print(measure(values.folder, values.rows[0], values.where))
        return
    print(
        "| rows | where | MB of files | s to make | ms a step | s to mark | MB of "
        "journals | MB of memory |"
    )
    print("|" + " --- |" * 8)
    for num_examples in values.rows:
        # What fits into memory, there too.
        kinds = ["memory"] if num_examples <= max(SIZES) else []
        for where in (*kinds, "disk", "disk, near", "disk, cold", "disk, near, cold"):
            with tempfile.TemporaryDirectory(dir=values.folder) as folder:
                command = [sys.executable, __file__, folder]
                command += [f"--rows={num_examples}", f"--where={where}"]
                done = subprocess.run(
                    command, stdout=subprocess.PIPE, encoding="utf-8", check=True
                )
            print(done.stdout.splitlines()[-1], flush=True)


if __name__ == "__main__":
    main()
