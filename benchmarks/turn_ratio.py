"""What an epoch costs where two networks learn in turn, over plain cross entropy.

    python benchmarks/turn_ratio.py --backbone=cnn --examples=6400
    python benchmarks/turn_ratio.py --backbone=preact_resnet18 --examples=640 --rounds=2

Whole epochs of `fit` on CIFAR-sized arrays, in turns, the looks at all examples and
the mixture included: a plain keras.Model with SparseCategoricalCrossentropy in batches
of 128, ELR+ in batches of 128, and DivideMix with 64 labelled and 64 unlabelled
examples a step, of which a share is labelled that is fixed here (0.55, as with 50% of
symmetric noise on CIFAR-10), whatever the mixture says.

By arithmetic, in passes of an example through a network, of which cross entropy takes 3
(one forward, two backward): ELR+ 2 (3 + 1) of them, 8 / 3 = 2.67; DivideMix 18 for each
of 2 X / B steps of B and 2 in looks: 12 X / N + 0.67.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from timing import median_ratio, take_turns

from sop_keras import NoisyLabelModel, methods
from sop_keras.backbones.build import build_backbone
from sop_keras.methods.dividemix import DivideMix
from sop_keras.optimizers.sgd import SGD

SHAPE, CLASSES = (32, 32, 3), 10
PLAIN, ELR_PLUS, DIVIDEMIX = "cross entropy", "ELR+", "DivideMix"
SHARE = 0.55
# The most that may be measured; and hours on a V100 by the paper's Table 5.
LIMITS = {ELR_PLUS: 2.75, DIVIDEMIX: 1.1 * (12 * SHARE + 2 / 3)}
HOURS = {ELR_PLUS: 2.3 / 0.9, DIVIDEMIX: 5.4 / 0.9}


@dataclass(frozen=True)
class Divided(DivideMix):
    """With a share of labelled examples that is given."""

    def before_epoch(self, look: Any) -> dict[str, np.ndarray]:
        """The mixture's division is made, and another one taken."""
        written = dict(super().before_epoch(look))
        count = round(SHARE * len(look.ids))
        clean_prob = (np.arange(len(look.ids)) < count).astype(np.float32)
        written |= {"clean_prob": clean_prob, "peer_clean_prob": clean_prob}
        return {**written, "num_labeled": np.full(2, count)}


def epochs(
    model: keras.Model, x: Any, y: np.ndarray, size: int
) -> Callable[[], object]:
    """A function that trains the next epoch."""
    number = iter(range(1, 1_000))  # after the warm-up of one

    def train() -> object:
        epoch = next(number)
        span = {"initial_epoch": epoch, "epochs": epoch + 1}
        return model.fit(x, y, batch_size=size, verbose=0, **span)

    return train


def main() -> None:
    """Print the medians and their ratios; fail where a ratio is above its limit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--backbone", default="cnn")
    parser.add_argument("--examples", type=int, default=6400)
    parser.add_argument("--rounds", type=int, default=3)
    values = parser.parse_args()

    rng = np.random.default_rng(0)
    views = rng.normal(size=(2, values.examples, *SHAPE)).astype(np.float32)
    labels = rng.integers(0, CLASSES, values.examples)

    def network(seed: int) -> keras.Model:
        return build_backbone(values.backbone, SHAPE, CLASSES, seed=seed)

    plain = network(0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    plain.compile(SGD(0.02, momentum=0.9, l2=5e-4), loss, metrics=["accuracy"])
    trained = {PLAIN: epochs(plain, views[0], labels, 128)}
    for name, method, x, size in (
        (ELR_PLUS, methods.ELRPlus(), views[0], 128),
        (DIVIDEMIX, Divided(warm_up=1), (views[0], views[1]), 64),
    ):
        model = NoisyLabelModel(
            network(0), values.examples, CLASSES, method=method, peer=network(1)
        )
        model.compile(SGD(0.02, momentum=0.9, l2=5e-4), metrics=["accuracy"])
        trained[name] = epochs(model, x, labels, size)
    seconds = take_turns(trained, values.rounds, repeats=1)
    for name, taken in seconds.items():
        print(f"{name:>14}: {statistics.median(taken):9.2f} s an epoch")
    failed = []
    for name, limit in LIMITS.items():
        ratio = median_ratio(seconds[name], seconds[PLAIN])
        print(
            f"{values.backbone}: {name} / {PLAIN} = {ratio:.3f} (median of turns; at "
            f"most {limit:.2f}; the paper's hours: {HOURS[name]:.2f})"
        )
        if ratio > limit:
            failed.append(name)
    if failed:
        sys.exit(f"Above the limit: {', '.join(failed)}.")


if __name__ == "__main__":
    main()
