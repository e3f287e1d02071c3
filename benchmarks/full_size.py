r"""Images a second of a training step, as shares of what the machine can do.

    python benchmarks/full_size.py --rounds=5
    python benchmarks/full_size.py --backbones=fast_cnn --methods=ce --rounds=9
    python benchmarks/full_size.py --processor_time --rounds=3
    python benchmarks/full_size.py --backbones=fast_cnn,fast_cnn_wide --methods=ce \
        --precisions=float32,mixed_bfloat16 --batch_norms=keras,fused

All take turns in one process: a float32 product of two square matrices; of each
backbone, its convolutions alone, forward and both gradients, through TensorFlow's own
operations; and a training step of each method, on one batch of CIFAR-sized images that
costs nothing to make. Batches are those of the flagfiles, 512 for fast_cnn and 128 for
the rest. An image of SOP+ is two views of it.

Multiply-adds are those of convolutions and dense layers: once forward, once for the
gradient of a kernel that trains, and once for that of the input where something before
it trains. Each is two float operations. Shares are of the rate of the matrix product;
that of the convolutions is their seconds over those of a step, once for each view. With
--processor_time, seconds are those of all processors together: where other programs
use them too, a product that waits for one of its threads is no measure. With several
--precisions or --batch_norms, each row says how its images a second are to those of the
first of them; the product is of float32 always, the convolutions alone are of the
row's. Fused is what the launcher trains with on CPUs (backbones/fused_batch_norm.py).
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import numpy as np
import tensorflow as tf
from timing import median_ratio, take_turns

from sop_keras import NoisyLabelModel, methods
from sop_keras.backbones.build import build_backbone
from sop_keras.backbones.fused_batch_norm import fuse_batch_norm
from sop_keras.optimizers.sgd import SGD
from sop_keras.training.precision import precision

SHAPE, CLASSES, EXAMPLES = (32, 32, 3), 10, 50_000
BATCHES = {"fast_cnn": 512, "fast_cnn_wide": 512}  # those of others are of 128
SIDE = 2048
MATRIX = "matrix product"
# What a step of one view is to reach, of its convolutions alone.
TARGET = {"fast_cnn": 0.6}


class Product(NamedTuple):
    """A layer that multiplies: a convolution, or a dense layer.

    Args:
        layer: of Keras.
        multiply_adds: of an image, forward.
        trains: whether its kernel does.
        hands_back: whether something before it does, which needs its input's gradient.
    """

    layer: keras.layers.Layer
    multiply_adds: int
    trains: bool
    hands_back: bool

    @property
    def passes(self) -> int:
        """How often a training step multiplies so."""
        return 1 + self.trains + self.hands_back


def products(network: keras.Model) -> list[Product]:
    """The convolutions and dense layers of a network, in its order."""
    found, something_trains = [], False
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            places = int(np.prod(layer.output.shape[1:-1]))  # 1 of a dense layer
            count = places * int(np.prod(layer.kernel.shape))
            trains = bool(layer.trainable_weights)
            found.append(Product(layer, count, trains, something_trains))
        something_trains |= bool(layer.trainable_weights)
    return found


def multiply_adds(network: keras.Model, training: bool = False) -> int:
    """Of an image: forward, or in a training step of one view."""
    return sum(
        one.multiply_adds * (one.passes if training else 1) for one in products(network)
    )


def matrix_product() -> Callable[[], object]:
    """A product of two square matrices of float32."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, SIDE, SIDE)).astype(np.float32)
    first, second = tf.Variable(first), tf.Variable(second)  # no constants to fold

    @tf.function
    def product() -> tf.Tensor:
        return tf.matmul(first, second)[0, 0]

    return lambda: float(product())


def convolutions(network: keras.Model, batch_size: int) -> Callable[[], object]:
    """All convolutions of a training step, each on tensors of its own."""
    rng = np.random.default_rng(0)
    parts = [one for one in products(network) if len(one.layer.kernel.shape) == 4]

    def variable(shape: Any) -> tf.Variable:
        values = rng.standard_normal(shape, np.float32)
        return tf.Variable(tf.cast(values, parts[0].layer.compute_dtype))

    tensors = [
        (
            variable((batch_size, *one.layer.input.shape[1:])),
            variable(tuple(one.layer.kernel.shape)),
            variable((batch_size, *one.layer.output.shape[1:])),
        )
        for one in parts
    ]

    @tf.function
    def step() -> list[tf.Tensor]:
        ends = []
        for part, (x, kernel, gradient) in zip(parts, tensors, strict=True):
            how = {
                "strides": [1, *part.layer.strides, 1],
                "padding": part.layer.padding.upper(),
            }
            made = [tf.nn.conv2d(x, kernel, **how)]
            if part.trains:
                made.append(
                    tf.raw_ops.Conv2DBackpropFilter(
                        input=x,
                        filter_sizes=kernel.shape,
                        out_backprop=gradient,
                        **how,
                    )
                )
            if part.hands_back:
                made.append(
                    tf.raw_ops.Conv2DBackpropInput(
                        input_sizes=x.shape,
                        filter=kernel,
                        out_backprop=gradient,
                        **how,
                    )
                )
            ends += [one[0, 0, 0, 0] for one in made]
        return ends

    return lambda: [float(one) for one in step()]


def batches(batch_size: int, num_views: int) -> Iterator[Any]:
    """The same random batch for ever."""
    rng = np.random.default_rng(0)
    views = tuple(
        rng.standard_normal((batch_size, *SHAPE), np.float32) for _ in range(num_views)
    )
    targets = {
        "label": rng.integers(0, CLASSES, batch_size),
        "index": rng.choice(EXAMPLES, batch_size, replace=False),
    }
    batch = (views if num_views > 1 else views[0], targets)
    return iter(tf.data.Dataset.from_tensors(batch).cache().repeat())


def network_of(backbone: str, policy: str = "float32") -> keras.Model:
    """The network of this name, which sees random images where it must see some."""
    images = np.random.default_rng(1).standard_normal((100, *SHAPE), np.float32)
    with precision(policy):
        return build_backbone(backbone, SHAPE, CLASSES, seed=0, images=images)


def training_step(
    backbone: str, method: str, policy: str, batch_norm: str
) -> tuple[Callable[[], object], int]:
    """A step of a method under its default settings, and its number of views."""
    record = methods.record(method)
    arguments = record.settings().arguments(np.arange(CLASSES), CLASSES, False)
    made = record.load()(**arguments)
    network = network_of(backbone, policy)
    if batch_norm == "fused":
        fuse_batch_norm(network)
    model = NoisyLabelModel(network, EXAMPLES, CLASSES, method=made)
    model.compile(SGD(0.1, 0.85, nesterov=True, l2=1e-3), metrics=["accuracy"])
    model.make_train_function()
    fixed = batches(BATCHES.get(backbone, 128), made.num_views)
    return lambda: float(model.train_function(fixed)["loss"]), made.num_views


def main() -> None:
    """Print the table; fail where a target is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name, default in (
        ("backbones", "fast_cnn,cnn,resnet34"),
        ("methods", "ce,sop,sop_plus"),
        ("precisions", "float32"),
        ("batch_norms", "fused"),
    ):
        parser.add_argument(
            f"--{name}", type=lambda text: text.split(","), default=default.split(",")
        )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processor_time", action="store_true")
    values = parser.parse_args()

    steps, views = {MATRIX: matrix_product()}, {}
    for backbone, policy in itertools.product(values.backbones, values.precisions):
        batch_size = BATCHES.get(backbone, 128)
        alone = convolutions(network_of(backbone, policy), batch_size)
        steps[f"{backbone} {policy}"] = alone
        rest = itertools.product(values.batch_norms, values.methods)
        for batch_norm, method in rest:
            name = (backbone, policy, batch_norm, method)
            step, views[name] = training_step(backbone, method, policy, batch_norm)
            steps[" ".join(name)] = step
    clock = time.process_time if values.processor_time else time.perf_counter
    seconds = take_turns(steps, values.rounds, repeats=1, clock=clock)

    rate = 2 * SIDE**3 / statistics.median(seconds[MATRIX])
    second = "processor s" if values.processor_time else "s"
    print(f"{MATRIX} of {SIDE}: {rate / 1e9:.0f} GFLOP/{second}\n")
    first = f"{values.precisions[0]} {values.batch_norms[0]}"
    print(
        f"| backbone | precision | BatchNorm | method | images/{second} | over {first} "
        f"| GFLOP/{second} | of the product's | convolutions |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    missed = []
    for name in views:
        backbone, policy, batch_norm, method = name
        count = multiply_adds(network_of(backbone), training=True)
        batch_size = BATCHES.get(backbone, 128)
        operations = 2 * count * batch_size * views[name]
        turns = seconds[" ".join(name)]
        taken = statistics.median(turns)
        gain = median_ratio(seconds[f"{backbone} {first} {method}"], turns)
        share = median_ratio(seconds[MATRIX], turns)
        share *= operations / (2 * SIDE**3)
        of_step = median_ratio(seconds[f"{backbone} {policy}"], turns) * views[name]
        print(
            f"| {backbone} | {policy} | {batch_norm} | {methods.record(method).title} "
            f"| {batch_size / taken:.0f} | {gain:.2f} "
            f"| {operations / taken / 1e9:.0f} | {share:.2f} | {of_step:.2f} |"
        )
        is_judged = views[name] == 1 and policy == "float32"
        if is_judged and of_step < TARGET.get(backbone, 0):
            missed.append(f"{backbone} {method}: {of_step:.2f}")
    if missed:
        sys.exit(f"Below the target, {TARGET}: {', '.join(missed)}.")


if __name__ == "__main__":
    main()
