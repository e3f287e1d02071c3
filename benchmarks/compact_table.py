"""What a training step costs with rows of slots, by examples, classes and rates.

    python benchmarks/compact_table.py
    python benchmarks/compact_table.py --classes=1000 --rounds=9 --processor_time

Times one SOP step (batch 128, a linear backbone of 64 inputs, so that nothing hides
the table's part) in turns: dense at 10,000 rows, and compact from there to 10,000,000
(1,000 classes) or 14,000,000 (21,000 classes), with rates that set themselves (unstored
entries are init_std) and with numbers (they are drawn). Ratios are to the dense step of
the same rates; the script fails where compact steps differ by more than 1.15 between
the smallest and the largest table. With --processor_time, seconds are those of the
processors, where other programs use them as well.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from timing import median_ratio, take_turns

from sop_keras import SOPModel

BATCH, FEATURES = 128, 64
MOST = {1_000: 10_000_000, 21_000: 14_000_000}
LEAST = 10_000
LIMIT = 1.15


def batches(num_examples: int, classes: int) -> Iterator[Any]:
    """64 batches of random examples, held in memory, for ever."""
    rng = np.random.default_rng(0)
    n = 64 * BATCH
    x = rng.normal(size=(n, FEATURES)).astype("float32")
    y = {
        "label": rng.integers(0, classes, n),
        "index": rng.integers(0, num_examples, n),
    }
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH)
    return iter(data.cache().repeat())


def step_of(
    num_examples: int, classes: int, table: str, rate: Any
) -> tuple[Callable[[], object], SOPModel]:
    """A step of SOPModel's own train function, and the model."""
    network = keras.Sequential([keras.Input((FEATURES,)), keras.layers.Dense(classes)])
    model = SOPModel(network, num_examples, classes, table=table, seed=0)
    model.compile(keras.optimizers.SGD(0.1), u_optimizer=rate, v_optimizer=rate)
    model.make_train_function()
    iterator = batches(num_examples, classes)
    return lambda: float(model.train_function(iterator)["loss"]), model


def main() -> None:
    """Print the table; fail where a step depends on the number of examples."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--classes", type=int, choices=[*MOST], default=1_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--processor_time", action="store_true")
    values = parser.parse_args()
    classes = values.classes
    spreads = []
    print("| rates | table | rows | bytes of v | ms a step | over dense |")
    print("| --- | --- | --- | --- | --- | --- |")
    for rate in ("auto", 10.0):
        cases = [("dense", LEAST)]
        cases += [("compact", n) for n in (LEAST, 1_000_000, MOST[classes])]
        made = {f"{table} {n}": step_of(n, classes, table, rate) for table, n in cases}
        steps = {name: step for name, (step, _) in made.items()}
        clock = time.process_time if values.processor_time else time.perf_counter
        seconds = take_turns(steps, values.rounds, repeats=3, clock=clock)
        for name, turns in seconds.items():
            table, rows = name.split()
            variable = made[name][1].tables.by_name()["v"]
            ratio = median_ratio(turns, seconds[f"dense {LEAST}"])
            print(
                f"| {rate} | {table} | {int(rows):,} | "
                f"{4 * int(np.prod(variable.shape)):,} | "
                f"{1e3 * statistics.median(turns):.2f} | {ratio:.2f} |"
            )
        ends = seconds[f"compact {MOST[classes]}"], seconds[f"compact {LEAST}"]
        spreads.append(median_ratio(*ends))
    print(f"largest / smallest compact table: {max(spreads):.3f} (at most {LIMIT})")
    if max(spreads) > LIMIT:
        sys.exit("The cost of a step depends on the size of the table.")


if __name__ == "__main__":
    main()
