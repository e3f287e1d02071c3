"""What NoiseMonitor adds to a training, and how long a look at a large table takes.

    python benchmarks/monitor.py --data_dir=DATA
    python benchmarks/monitor.py --data_dir=DATA --epochs=10 --rows=0

The first part trains the small CNN on 10,000 images of CIFAR-10 under 40% symmetric
noise, with a validation pass after each epoch, as a run does. The seconds inside
NoiseMonitor and those of the rest are taken in the same epochs of one training. The
second part looks at a table of a million examples and 14 classes (Clothing1M).

Seconds are those that processors spent on all threads of this process
(`time.process_time`): what else the machine does hardly changes them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import numpy as np

from sop_keras import SOPModel
from sop_keras.backbones.build import build_backbone
from sop_keras.core.table_scan import scan_tables
from sop_keras.data.datasets.by_name import load_dataset
from sop_keras.label_noise.symmetric import symmetric
from sop_keras.monitoring.noise_monitor import NoiseMonitor
from sop_keras.optimizers.sgd import SGD

NUM_TRAIN, NUM_VALIDATION, CLASSES = 10_000, 2_000, 10
# The most that the monitor may take of a training.
LIMIT = 0.01


class TimedMonitor(NoiseMonitor):
    """A monitor that knows its processor seconds."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.seconds: list[float] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Time it."""
        started = time.process_time()
        super().on_epoch_end(epoch, logs)
        self.seconds.append(time.process_time() - started)


def training(data_dir: str | None, epochs: int) -> tuple[list[float], float]:
    """Processor seconds of the monitor by epoch, and of the whole training."""
    dataset = load_dataset("cifar10", data_dir)
    train = dataset.train.take(np.arange(NUM_TRAIN))
    validation = dataset.test.take(np.arange(NUM_VALIDATION))
    noisy = symmetric(train.labels, rate=0.4, num_classes=CLASSES, seed=0)
    model = SOPModel(
        build_backbone("cnn", train.image_shape, CLASSES, seed=0),
        NUM_TRAIN,
        CLASSES,
        init_std=1e-4,
        gradient_norms=True,
    )
    model.compile(SGD(0.02, momentum=0.9, l2=5e-4), metrics=["accuracy"])
    with tempfile.TemporaryDirectory() as folder:
        monitor = TimedMonitor(
            folder,
            noisy.labels,
            clean_labels=train.labels,
            class_names=dataset.class_names,
            images=train.images,
            hparams={"epochs": epochs},
            text=" ".join(sys.argv),
        )
        started = time.process_time()
        model.fit(
            train.images.astype("float32") / 255,
            noisy.labels,
            batch_size=128,
            epochs=epochs,
            validation_data=(
                validation.images.astype("float32") / 255,
                validation.labels,
            ),
            callbacks=[monitor],
            verbose=0,
        )
        return monitor.seconds, time.process_time() - started


def scan_seconds(rows: int, classes: int, rounds: int) -> float:
    """The median processor time of a look at a table."""
    backbone = keras.Sequential([keras.Input((1,)), keras.layers.Dense(classes)])
    model = SOPModel(backbone, rows, classes)
    labels = np.random.default_rng(0).integers(0, classes, rows)
    ids, seconds = np.arange(rows), []
    for _ in range(rounds):
        started = time.process_time()
        scan_tables(model, labels, ids)
        seconds.append(time.process_time() - started)
    return statistics.median(seconds)


def main() -> None:
    """Print both; fail where the monitor takes more than its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", help="of CIFAR-10")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--rows", type=int, default=1_000_000, help="0: leave it out")
    parser.add_argument("--classes", type=int, default=14)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()

    if arguments.rows:
        seconds = scan_seconds(arguments.rows, arguments.classes, arguments.rounds)
        print(
            f"a look at {arguments.rows:,} x {arguments.classes}: {seconds:.2f} s of "
            f"processors (median of {arguments.rounds})"
        )
    of_monitor, whole = training(arguments.data_dir, arguments.epochs)
    rest = whole - sum(of_monitor)
    share = sum(of_monitor) / rest
    print(
        f"{arguments.epochs} epochs of {NUM_TRAIN:,} images: {rest:.1f} s of "
        f"processors without the monitor, {sum(of_monitor):.2f} s in it; in the median "
        f"epoch {1e3 * statistics.median(of_monitor):.0f} ms, in the first one "
        f"{1e3 * of_monitor[0]:.0f} ms"
    )
    print(f"monitor / rest = {share:.4f} (at most {LIMIT})")
    if share > LIMIT:
        sys.exit("Above the limit.")


if __name__ == "__main__":
    main()
