"""Images a second on one core: ours, Pillow's and Keras' augmentations.

    python benchmarks/augmentation.py --data_dir=DATA
    python benchmarks/augmentation.py --sizes=224,299 --rounds=5

All make batches as training is fed them, standardised float32, and take turns on one
core: ours inside `tf.data.map`, Pillow's (pillow_policy.py) an image at a time and
stacked, in a process of its own, as the workers of a loader are. A pair is a weak and a
strong view of the same image.

RandAugment of Keras, and of keras-cv where it is installed, is listed as what it is:
another policy, with its own operations and magnitudes, without crop, flip and Cutout.
Keras' draws its operations once for a whole batch, not for every image.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import multiprocessing
import os
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pillow_policy
import tensorflow as tf
from PIL import Image
from timing import median_ratio, take_turns

from sop_keras.augment.named import augmentation
from sop_keras.augment.standardize import standardize
from sop_keras.data.datasets.cifar import CIFAR10_MEAN, CIFAR10_STD, load_cifar10

VIEWS = (
    ("weak",),
    ("uda",),
    ("autoaugment",),
    ("weak", "uda"),
    ("weak", "autoaugment"),
)
TRAINED_WITH = ("weak", "autoaugment")
# How many times as fast as Pillow the pair that the authors trained with must be.
LIMITS = {32: 5.0, 224: 2.0}

PILLOW_DRAWS = {
    "weak": pillow_policy.weak_draws,
    "uda": pillow_policy.uda_draws,
    "autoaugment": pillow_policy.autoaugment_draws,
}


def stay_on_one_core() -> None:
    """Keep the process on one core, where the system can, and TensorFlow on one thread.

    Threads inherit the core, so this comes before TensorFlow starts any.
    """
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def pictures(size: int, count: int, data_dir: str | None) -> tuple[np.ndarray, str]:
    """Real images, uint8 `(count, size, size, 3)`, and what they are."""
    if size == 32 and data_dir:
        return load_cifar10(data_dir).train.images[:count], "CIFAR-10"
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    crops = []
    for photograph in itertools.islice(
        itertools.cycle(load_sample_images().images), count
    ):
        top, left = (rng.integers(0, s - size + 1) for s in photograph.shape[:2])
        crops.append(photograph[top : top + size, left : left + size])
    return np.stack(crops), "crops of scikit-learn's photographs"


def on_one_core(dataset: tf.data.Dataset) -> Callable[[], object]:
    """The next batch of a data set, all work done by the call that asks for it."""
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.threading.max_intra_op_parallelism = 1
    # tf.data would otherwise map in parallel and work ahead, in other programs' turns.
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    return iter(dataset.with_options(options)).__next__


def batches_of(
    images: np.ndarray, batch_size: int, views: Callable[..., object]
) -> tf.data.Dataset:
    """`views(images, ids, epoch)` of one batch after the other, for ever."""
    num_batches = len(images) // batch_size
    held = tf.constant(images)

    def batch(step: tf.Tensor) -> object:
        epoch, place = step // num_batches, step % num_batches
        ids = place * batch_size + tf.range(batch_size, dtype=tf.int64)
        return views(tf.gather(held, ids), ids, epoch)

    return tf.data.Dataset.counter().map(batch)


def ours(
    images: np.ndarray, batch_size: int, names: Sequence[str]
) -> Callable[[], object]:
    """Views by this package, as `training_batches` makes them."""
    chosen = [augmentation(name, CIFAR10_MEAN) for name in names]

    def views(batch: tf.Tensor, ids: tf.Tensor, epoch: tf.Tensor) -> tuple:
        augmented = (augment(batch, ids, epoch, 0) for augment in chosen)
        return tuple(standardize(a, CIFAR10_MEAN, CIFAR10_STD) for a in augmented)

    return on_one_core(batches_of(images, batch_size, views))


def by_layer(
    images: np.ndarray, batch_size: int, layer: keras.layers.Layer
) -> Callable[[], object]:
    """Whole batches through a Keras layer."""

    def views(batch: tf.Tensor, ids: tf.Tensor, epoch: tf.Tensor) -> tf.Tensor:
        augmented = tf.cast(layer(batch, training=True), tf.uint8)
        return standardize(augmented, CIFAR10_MEAN, CIFAR10_STD)

    return on_one_core(batches_of(images, batch_size, views))


def pillow(
    images: np.ndarray, batch_size: int, names: Sequence[str]
) -> Callable[[], object]:
    """Views by Pillow, an image at a time; crop and Cutout grow with the image."""
    uniform = random.Random(0).random
    size = images.shape[1]
    mean, std = np.float32(CIFAR10_MEAN), np.float32(CIFAR10_STD)
    batches = itertools.cycle(np.split(images, len(images) // batch_size))

    def integer(k: int, bound: int) -> int:
        return int(bound * uniform())

    def view(image: Image.Image, name: str) -> np.ndarray:
        draws = PILLOW_DRAWS[name](integer, size, size, size // 8)
        return pillow_policy.training_example(
            image, draws, mean, std, padding=size // 8, cutout_size=size // 2
        )

    def step() -> list[np.ndarray]:
        batch = [Image.fromarray(image) for image in next(batches)]
        return [np.stack([view(image, name) for image in batch]) for name in names]

    return step


def in_its_own_process(
    make: Callable[..., Callable[[], object]], *arguments: object
) -> Callable[[], object]:
    """What `make(*arguments)` gives, called in a process that lives for it alone."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    context.Process(target=serve, args=(there, make, arguments), daemon=True).start()

    def step() -> None:
        here.send(None)
        here.recv()

    step()  # it has started, when this comes back
    return step


def serve(
    asked: Connection,
    make: Callable[..., Callable[[], object]],
    arguments: tuple[object, ...],
) -> None:
    """Make a step, and take it as often as asked."""
    step = make(*arguments)
    with contextlib.suppress(EOFError):  # the other end is gone: the end
        while True:
            asked.recv()
            step()
            asked.send(None)


def other_layers() -> dict[str, keras.layers.Layer]:
    """Keras' RandAugment, and keras-cv's where it is installed."""
    layers = {"Keras' RandAugment": keras.layers.RandAugment(value_range=(0, 255))}
    try:
        import keras_cv
    except ImportError:
        return layers
    layers["keras-cv's RandAugment"] = keras_cv.layers.RandAugment(value_range=(0, 255))
    return layers


def compare(size: int, rounds: int, data_dir: str | None) -> float:
    """Print a table for one size; how many times as fast as Pillow our pair is."""
    batch_size = 128 if size == 32 else 32
    images, kind = pictures(size, 8 * batch_size, data_dir)
    steps: dict[str, Callable[[], object]] = {}
    for names in VIEWS:
        steps[f"ours: {names}"] = ours(images, batch_size, names)
        steps[f"Pillow: {names}"] = in_its_own_process(
            pillow, images, batch_size, names
        )
    others = other_layers()
    for name, other in others.items():
        steps[name] = by_layer(images, batch_size, other)
    seconds = take_turns(steps, rounds, repeats=1)

    def rate(name: str) -> str:
        return f"{batch_size / statistics.median(seconds[name]):,.0f}"

    print(f"\n{size}x{size} pixels ({kind}), batches of {batch_size}, {rounds} turns\n")
    print("| views | sop_keras, images/s | Pillow, images/s | ratio |")
    print("| --- | --- | --- | --- |")
    ratios = {}
    for names in VIEWS:
        here, there = f"ours: {names}", f"Pillow: {names}"
        ratios[names] = median_ratio(seconds[there], seconds[here])
        title = " + ".join(names)
        print(f"| {title} | {rate(here)} | {rate(there)} | {ratios[names]:.1f} |")
    for name in others:
        print(f"{name}, a policy of its own: {rate(name)} images/s")
    return ratios[TRAINED_WITH]


def main() -> None:
    """Print a table for each size, and check the limits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", help="has cifar10/3.0.2/; photographs without")
    parser.add_argument("--sizes", default="32,224,299")
    parser.add_argument("--rounds", type=int, default=21)
    arguments = parser.parse_args()
    stay_on_one_core()
    slow = []
    for size in map(int, arguments.sizes.split(",")):
        ratio = compare(size, arguments.rounds, arguments.data_dir)
        if ratio < LIMITS.get(size, 0.0):
            slow.append(f"{ratio:.1f} times Pillow at {size}, not {LIMITS[size]}")
    if slow:
        sys.exit(f"{' + '.join(TRAINED_WITH)}: {'; '.join(slow)}.")


if __name__ == "__main__":
    main()
