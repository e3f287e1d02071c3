"""What SOP adds to a step of plain cross entropy.

    python benchmarks/step_ratio.py --backbone=cnn --rounds=31
    python benchmarks/step_ratio.py --backbone=resnet34 --rounds=7

Both train the same backbone on the same batches of 128 CIFAR-sized images, num_examples
50,000, the one as SOPModel and the other as a plain keras.Model with
SparseCategoricalCrossentropy, in turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import numpy as np
import tensorflow as tf
from timing import median_ratio, take_turns

from sop_keras import SOPModel
from sop_keras.backbones import build_backbone
from sop_keras.optimizers import SGD

SHAPE, CLASSES, EXAMPLES = (32, 32, 3), 10, 50_000
LIMIT = 1.03


def step(model: keras.Model, batch: object) -> Callable[[], object]:
    """A step of the model's own train function on one batch."""
    model.make_train_function()
    iterator = iter(tf.data.Dataset.from_tensors(batch).cache().repeat())
    return lambda: float(model.train_function(iterator)["loss"])


def main() -> None:
    """Print the two medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="cnn")
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--repeats", type=int, default=1, help="steps in a turn")
    arguments = parser.parse_args()

    rng = np.random.default_rng(0)
    n = arguments.batch_size
    images = rng.normal(size=(n, *SHAPE)).astype("float32")
    labels = rng.integers(0, CLASSES, n)
    ids = rng.choice(EXAMPLES, n, replace=False)

    def network() -> keras.Model:
        return build_backbone(arguments.backbone, SHAPE, CLASSES, seed=0)

    def optimizer() -> SGD:
        return SGD(0.02, momentum=0.9, l2=5e-4)

    sop = SOPModel(network(), EXAMPLES, CLASSES)
    sop.compile(optimizer(), metrics=["accuracy"])
    plain = network()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    plain.compile(optimizer(), loss, metrics=["accuracy"])
    steps = {
        "cross entropy": step(plain, (images, labels)),
        "SOP": step(sop, (images, {"label": labels, "index": ids})),
    }
    seconds = take_turns(steps, arguments.rounds, arguments.repeats)
    for name, values in seconds.items():
        print(f"{name:>14}: {1e3 * statistics.median(values):9.2f} ms a step")
    ratio = median_ratio(seconds["SOP"], seconds["cross entropy"])
    print(f"{arguments.backbone}: SOP / cross entropy = {ratio:.3f} (median of turns)")
    if ratio > LIMIT:
        sys.exit(f"More than {LIMIT}.")


if __name__ == "__main__":
    main()
