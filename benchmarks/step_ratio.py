"""What each method adds to a step of plain cross entropy (the paper's Table 5).

    python benchmarks/step_ratio.py --backbone=cnn --rounds=61 --repeats=5
    python benchmarks/step_ratio.py --backbone=preact_resnet18 --rounds=7
    python benchmarks/step_ratio.py --backbone=cnn --pipeline --data_dir=DATA
    python benchmarks/step_ratio.py --backbone=cnn --methods=coteaching,coteaching_plus

All train the same backbone on batches of 128 CIFAR-sized images, num_examples 50,000,
in turns: a plain keras.Model with SparseCategoricalCrossentropy, and NoisyLabelModel
with every method of one network under its default settings, or with --methods, of two
networks too. Without --pipeline every step gets the same batch, which costs nothing.
With it, batches come from the launcher's input pipeline, on real CIFAR-10 images: weak
views, and pairs of weak and strong views for methods that take two. The pipeline then
has a thread of its own, and the network the other one.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable, Iterator
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import numpy as np
import tensorflow as tf
from timing import median_ratio, take_turns

from sop_keras import NoisyLabelModel, methods
from sop_keras.backbones.build import build_backbone
from sop_keras.data.batches.pipelines import training_batches
from sop_keras.data.datasets.by_name import load_dataset
from sop_keras.optimizers.sgd import SGD

SHAPE, CLASSES, EXAMPLES = (32, 32, 3), 10, 50_000
PLAIN = "cross entropy"
# The most that may be measured, by how many passes through a network an example takes,
# of two views or two networks; and hours on a V100 by the paper's Table 5.
LIMITS = {1: 1.03, 2: 2.1}
HOURS = {"SOP": 1.0 / 0.9, "SOP+": 2.1 / 0.9, "Co-teaching+": 4.4 / 0.9}


def step(model: keras.Model, batches: Iterator[Any]) -> Callable[[], object]:
    """A step of the model's own train function on the next batch."""
    model.make_train_function()
    return lambda: float(model.train_function(batches)["loss"])


def fixed_batches(batch_size: int) -> dict[int, Iterator[Any]]:
    """The same random batch for ever: 0 for plain training, else by number of views."""
    rng = np.random.default_rng(0)
    weak, strong = rng.normal(size=(2, batch_size, *SHAPE)).astype("float32")
    labels = rng.integers(0, CLASSES, batch_size)
    targets = {
        "label": labels,
        "index": rng.choice(EXAMPLES, batch_size, replace=False),
    }

    def forever(batch: Any) -> Iterator[Any]:
        return iter(tf.data.Dataset.from_tensors(batch).cache().repeat())

    return {
        0: forever((weak, labels)),
        1: forever((weak, targets)),
        2: forever(((weak, strong), targets)),
    }


def pipeline_batches(batch_size: int, data_dir: str | None) -> dict[int, Iterator[Any]]:
    """The launcher's batches of CIFAR-10, made by one thread."""
    dataset = load_dataset("cifar10", data_dir)
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.threading.max_intra_op_parallelism = 1

    def batches(strong_augment: str | None) -> tf.data.Dataset:
        return training_batches(
            dataset.train,
            dataset,
            batch_size=batch_size,
            epochs=1000,
            seed=0,
            strong_augment=strong_augment,
        ).with_options(options)

    plain = batches(None).map(lambda x, y: (x, y["label"]))
    return {
        0: iter(plain.with_options(options)),
        1: iter(batches(None)),
        2: iter(batches("uda")),
    }


def models(backbone: str, names: list[str] | None) -> dict[str, keras.Model]:
    """Plain Keras, and these methods, or every one of one network, compiled."""

    def network(seed: int = 0) -> keras.Model:
        return build_backbone(backbone, SHAPE, CLASSES, seed=seed)

    def optimizer() -> SGD:
        return SGD(0.02, momentum=0.9, l2=5e-4)

    plain = network()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    plain.compile(optimizer(), loss, metrics=["accuracy"])
    compiled = {PLAIN: plain}
    labels = np.arange(CLASSES)
    for record in map(methods.record, names or methods.names()):
        arguments = record.settings().arguments(labels, CLASSES, False)
        method = record.load()(**arguments)
        has_peer = method.num_networks > 1
        if has_peer and names is None:
            continue
        peer = network(seed=1) if has_peer else None
        model = NoisyLabelModel(network(), EXAMPLES, CLASSES, method=method, peer=peer)
        model.compile(optimizer(), metrics=["accuracy"])
        compiled[record.title] = model
    return compiled


def main() -> None:
    """Print the medians and their ratios; fail where a ratio is above its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="cnn")
    parser.add_argument(
        "--methods",
        type=lambda text: text.split(","),
        help="names with commas between them; all of one network if unset",
    )
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--repeats", type=int, default=1, help="steps in a turn")
    parser.add_argument(
        "--pipeline", action="store_true", help="the input pipeline included"
    )
    parser.add_argument("--data_dir", help="of CIFAR-10, for --pipeline")
    arguments = parser.parse_args()

    if arguments.pipeline:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        batches = pipeline_batches(arguments.batch_size, arguments.data_dir)
    else:
        batches = fixed_batches(arguments.batch_size)
    all_models = models(arguments.backbone, arguments.methods)
    views = {
        name: 0 if name == PLAIN else model.method.num_views
        for name, model in all_models.items()
    }
    steps = {
        name: step(model, batches[views[name]]) for name, model in all_models.items()
    }
    seconds = take_turns(steps, arguments.rounds, arguments.repeats)
    for name, values in seconds.items():
        print(f"{name:>14}: {1e3 * statistics.median(values):9.2f} ms a step")
    failed = []
    for name, model in all_models.items():
        if name == PLAIN:
            continue
        passes = model.method.num_views * model.method.num_networks
        ratio, limit = median_ratio(seconds[name], seconds[PLAIN]), LIMITS[passes]
        paper = f"; the paper's hours: {HOURS[name]:.2f}" if name in HOURS else ""
        print(
            f"{arguments.backbone}: {name} / {PLAIN} = {ratio:.3f} (median of turns; "
            f"at most {limit}{paper})"
        )
        if ratio > limit:
            failed.append(name)
    if failed:
        sys.exit(f"Above the limit: {', '.join(failed)}.")


if __name__ == "__main__":
    main()
