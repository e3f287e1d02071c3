"""Label issues of a million examples: seconds, and memory beyond the noise table.

    python benchmarks/label_issues.py --file=FILE.parquet

1,000,000 examples of 32 features and 14 classes, a network of one hidden layer (so that
nothing hides what is measured), trained for one epoch. Beside `SOPModel.label_issues`,
`predict` on the same examples is timed: nobody can have labels judged for less.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

from sop_keras import SOPModel
from sop_keras.label_issues.export import write_label_issues

EXAMPLES, FEATURES, CLASSES = 1_000_000, 32, 14


def peak_megabytes() -> float:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Train, find, write; print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--file", required=True, help="to write: .parquet, .csv, .json")
    parser.add_argument("--batch_size", type=int, default=128)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(EXAMPLES, FEATURES)).astype(np.float32)
    y = rng.integers(0, CLASSES, EXAMPLES)
    layers = [keras.layers.Dense(64, "relu"), keras.layers.Dense(CLASSES)]
    backbone = keras.Sequential([keras.Input((FEATURES,)), *layers])
    model = SOPModel(backbone, EXAMPLES, CLASSES, seed=0)
    model.compile("sgd")
    model.fit(x, y, batch_size=8192, verbose=0)
    start = time.perf_counter()
    for first in range(0, EXAMPLES, args.batch_size):
        model.predict_on_batch(x[first : first + args.batch_size])
    print(f"predictions alone: {time.perf_counter() - start:.1f} s", flush=True)
    before, start = peak_megabytes(), time.perf_counter()
    issues = model.label_issues(x, y, batch_size=args.batch_size)
    print(f"label_issues: {time.perf_counter() - start:.1f} s", flush=True)
    start = time.perf_counter()
    write_label_issues(issues, args.file)
    size = Path(args.file).stat().st_size / 2**20
    print(f"written: {time.perf_counter() - start:.1f} s, {size:.0f} MB")
    print(f"peak memory: +{peak_megabytes() - before:.0f} MB")


if __name__ == "__main__":
    main()
