"""What an epoch costs where two networks learn in turn, over plain cross entropy.

    python benchmarks/turn_ratio.py --backbone=cnn --rounds=31 --repeats=2
    python benchmarks/turn_ratio.py --backbone=preact_resnet18 --rounds=5

Steps of one network on CIFAR-sized images, in turns: a plain keras.Model with
SparseCategoricalCrossentropy and ELR+ on batches of 128, and DivideMix on 64 labelled
and 64 unlabelled examples. Epochs are made of them by arithmetic: of ELR+ two passes,
of DivideMix two of X / 64 steps, with a share X / N of 0.55 that is labelled (as with
50% of symmetric noise on CIFAR-10), and two looks, each a third of an epoch.

Counted in passes of an example through a network, of which cross entropy takes 3 (one
forward, two backward), an epoch of ELR+ is 2 (3 + 1) of them, 8 / 3 = 2.67; of
DivideMix, 18 for each labelled example and network, and 2 in looks: 12 X / N + 0.67.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from timing import median_ratio, take_turns

from sop_keras import NoisyLabelModel, methods
from sop_keras.backbones.build import build_backbone
from sop_keras.core.passes import EpochPlan, PlannedBatch
from sop_keras.optimizers.sgd import SGD

SHAPE, CLASSES, EXAMPLES, BATCH = (32, 32, 3), 10, 50_000, 128
PLAIN, ELR_PLUS, DIVIDEMIX = "cross entropy", "ELR+", "DivideMix"
SHARE = 0.55
# The most that may be measured; and hours on a V100 by the paper's Table 5.
LIMITS = {ELR_PLUS: 2.75, DIVIDEMIX: 1.1 * (12 * SHARE + 2 / 3)}
HOURS = {ELR_PLUS: 2.3 / 0.9, DIVIDEMIX: 5.4 / 0.9}


def epoch_ratio(name: str, step_ratio: float) -> float:
    """An epoch over one of cross entropy, by a step over a step of as many examples."""
    if name == ELR_PLUS:
        return 2 * step_ratio
    steps = 2 * SHARE * EXAMPLES / (BATCH / 2)
    return steps / (EXAMPLES / BATCH) * step_ratio + 2 / 3


def steps(backbone: str) -> dict[str, Callable[[], object]]:
    """A step of each, by name, of the model's own train function."""
    rng = np.random.default_rng(0)
    views = rng.normal(size=(2, BATCH, *SHAPE)).astype(np.float32)
    labels = rng.integers(0, CLASSES, BATCH)
    ids = rng.choice(EXAMPLES, BATCH, replace=False)
    targets = {"label": labels, "index": ids}

    def network(seed: int) -> keras.Model:
        return build_backbone(backbone, SHAPE, CLASSES, seed=seed)

    def step(model: keras.Model, batch: Any) -> Callable[[], object]:
        model.make_train_function()
        batches = iter(tf.data.Dataset.from_tensors(batch).cache().repeat())
        return lambda: float(model.train_function(batches)["loss"])

    plain = network(0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    plain.compile(SGD(0.02, momentum=0.9, l2=5e-4), loss, metrics=["accuracy"])
    found = {PLAIN: step(plain, (views[0], labels))}
    for name, method, x in (
        (ELR_PLUS, methods.ELRPlus(), views[0]),
        (DIVIDEMIX, methods.DivideMix(warm_up=1), (views[0], views[1])),
    ):
        model = NoisyLabelModel(
            network(0), EXAMPLES, CLASSES, method=method, peer=network(1)
        )
        model.compile(SGD(0.02, momentum=0.9, l2=5e-4), metrics=["accuracy"])
        # As `fit` would: all that is left of an epoch is the backbone's.
        model.epoch_plan = EpochPlan("", [PlannedBatch(0, ids)] * 1_000_000, [])
        model._batch_size = BATCH // 2
        for table in model.tables.by_name().keys() & {"clean_prob", "peer_clean_prob"}:
            is_labeled = np.arange(BATCH) < BATCH // 2
            model.tables.write(table, ids, is_labeled.astype(np.float32))
        found[name] = step(model, (x, targets))
    return found


def main() -> None:
    """Print the medians and their ratios; fail where a ratio is above its limit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--backbone", default="cnn")
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--repeats", type=int, default=1, help="steps in a turn")
    values = parser.parse_args()
    seconds = take_turns(steps(values.backbone), values.rounds, values.repeats)
    for name, taken in seconds.items():
        print(f"{name:>14}: {1e3 * statistics.median(taken):9.2f} ms a step")
    failed = []
    for name, limit in LIMITS.items():
        step_ratio = median_ratio(seconds[name], seconds[PLAIN])
        ratio = epoch_ratio(name, step_ratio)
        print(
            f"{values.backbone}: a step of {name} / {PLAIN} = {step_ratio:.3f}, an "
            f"epoch {ratio:.3f} (medians of turns; at most {limit:.2f}; the paper's "
            f"hours: {HOURS[name]:.2f})"
        )
        if ratio > limit:
            failed.append(name)
    if failed:
        sys.exit(f"Above the limit: {', '.join(failed)}.")


if __name__ == "__main__":
    main()
