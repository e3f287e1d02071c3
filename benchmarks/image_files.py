"""Images a second from JPEG files to standardised batches, and the memory they take.

    python benchmarks/image_files.py
    python benchmarks/image_files.py --size=4000x3000 --batches=4
    python benchmarks/image_files.py --size=341x256
    python benchmarks/image_files.py --memory

The files: JPEGs made of scikit-learn's two photographs, 500x375 unless --size says
otherwise. Every program reads, decodes, makes the shorter side 256 pixels long, cuts a
random 227x227 crop out, flips half of them, standardises and batches (A.4 of the
paper), and gives float32 batches of 32. They take turns in one process, each free to
use all cores:

- exact, fast: `training_batches` under `decode="exact"` (Pillow's antialiased resize)
  and `decode="fast"`; every draw keyed by seed, epoch and id; with --deterministic
  under TensorFlow's op determinism, where training runs;
- bmp, jpeg: the same of a data set that was stored at its training size before
  (launch/prepare.py), which is not timed;
- plain tf.data: the usual loop of `decode_jpeg`, `tf.image.resize`, `random_crop`,
  `random_flip_left_right`, with and without antialias in the resize;
- Pillow: the loop of an image at a time;
- decode: reading and decoding alone.

With `--processor_time`, seconds are those of the processors, all threads together,
where other programs use them as well.

With `--memory`: the peak memory of a process that passes an epoch of 100,000 such
images (files repeat), beside that of one that passes 1,000, in each mode.
"""

from __future__ import annotations

import argparse
import collections
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from PIL import Image
from timing import median_ratio, take_turns

from sop_keras.data.batches.pipelines import training_batches
from sop_keras.data.datasets.dataset import Dataset, Examples
from sop_keras.data.datasets.prepare import prepare_dataset
from sop_keras.data.datasets.prepared import load_prepared
from sop_keras.data.images.encoded_images import IMAGENET_MEAN, IMAGENET_STD, ImageFiles

MODES = ("exact", "fast", "bmp", "jpeg")
RESIZE, SIZE, BATCH = 256, 227, 32
NUM_FILES = 64
LIMIT = 1.3


def make_files(folder: Path, size: tuple[int, int]) -> list[bytes]:
    """Write `NUM_FILES` JPEGs, a different piece of a photograph each."""
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    photographs = [Image.fromarray(image) for image in load_sample_images().images]
    names = []
    for number in range(NUM_FILES):
        image = photographs[number % len(photographs)]
        left, top = rng.integers(0, image.width - 520), rng.integers(0, 37)
        box = (int(left), int(top), int(left) + 520, int(top) + 390)
        piece = image.resize(size, Image.Resampling.LANCZOS, box=box)
        names.append(f"{number}.jpg".encode())
        piece.save(folder / f"{number}.jpg", quality=90)
    return names


def ours(folder: Path, names: list[bytes], count: int, mode: str) -> tf.data.Dataset:
    """Training batches as the launcher makes them; `mode` is one of `MODES`."""
    stored = np.arange(len(names))
    images = ImageFiles(folder, np.array(names), RESIZE, SIZE)
    dataset = _dataset(Examples(stored, images, stored), len(names))
    if mode in ("bmp", "jpeg"):
        # Made in a turn that is not timed, and found there later.
        prepare_dataset(dataset, folder / mode, image_format=mode)
        images = load_prepared(folder / mode).train.images
    else:
        images.decoding = mode
    ids = np.arange(count)
    examples = Examples(ids, images[ids % len(names)], ids % 50)
    return training_batches(
        examples,
        _dataset(examples, count),
        batch_size=BATCH,
        epochs=1,
        seed=0,
        augment="flip",
    )


def _dataset(examples: Examples, count: int) -> Dataset:
    classes = tuple(str(number) for number in range(NUM_FILES))
    return Dataset("files", classes, count, examples, None, IMAGENET_MEAN, IMAGENET_STD)


def plain(paths: list[str], count: int, antialias: bool) -> tf.data.Dataset:
    """The usual loop of an image at a time."""

    def view(path: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        shape = tf.cast(tf.shape(image)[:2], tf.float32)
        size = tf.cast(shape * RESIZE / tf.reduce_min(shape), tf.int32)
        image = tf.image.resize(image, size, antialias=antialias)
        image = tf.image.random_crop(image, (SIZE, SIZE, 3))
        image = tf.image.random_flip_left_right(image)
        return (image / 255 - IMAGENET_MEAN) / IMAGENET_STD

    dataset = tf.data.Dataset.from_tensor_slices(paths).repeat().take(count)
    dataset = dataset.shuffle(len(paths)).map(view, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.batch(BATCH).prefetch(tf.data.AUTOTUNE)


def decode(paths: list[str], count: int) -> tf.data.Dataset:
    """Reading and decoding alone."""

    def image(path: tf.Tensor) -> tf.Tensor:
        return tf.io.decode_jpeg(tf.io.read_file(path), channels=3)

    dataset = tf.data.Dataset.from_tensor_slices(paths).repeat().take(count)
    dataset = dataset.map(image, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.batch(BATCH).prefetch(tf.data.AUTOTUNE)


def pillow_batches(paths: list[str], count: int) -> Iterator[np.ndarray]:
    """Pillow, an image at a time, in one thread."""
    rng = np.random.default_rng(0)
    mean, std = np.float32(IMAGENET_MEAN), np.float32(IMAGENET_STD)
    for start in range(0, count, BATCH):
        batch = []
        for position in range(start, start + BATCH):
            image = Image.open(paths[position % len(paths)])
            scale = RESIZE / min(image.size)
            size = (int(image.width * scale), int(image.height * scale))
            image = image.resize(size, Image.Resampling.BILINEAR)
            left = int(rng.integers(0, size[0] - SIZE + 1))
            top = int(rng.integers(0, size[1] - SIZE + 1))
            image = image.crop((left, top, left + SIZE, top + SIZE))
            if rng.random() < 0.5:
                image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            batch.append((np.float32(image) / 255 - mean) / std)
        yield np.stack(batch)


def speed(
    rounds: int,
    count: int,
    size: tuple[int, int],
    clock: Callable[[], float],
) -> float:
    """Print images a second of all; exact's ratio to the loop with the same resize."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        names = make_files(folder, size)
        paths = [str(folder / name.decode()) for name in names]
        # Each turn passes all of its data set: nobody works ahead in another's turn.
        programs: dict[str, Callable[[], Iterable[object]]] = {
            **{mode: _program(folder, names, count, mode) for mode in MODES},
            "plain tf.data": lambda: plain(paths, count, antialias=False),
            "plain tf.data, antialias": lambda: plain(paths, count, antialias=True),
            "Pillow": lambda: pillow_batches(paths, count),
            "decode alone": lambda: decode(paths, count),
        }

        def turn(program: Callable[[], Iterable[object]]) -> Callable[[], object]:
            return lambda: collections.deque(program(), maxlen=0)

        steps = {name: turn(program) for name, program in programs.items()}
        seconds = take_turns(steps, rounds, repeats=1, clock=clock)
    print(f"{'':>26}  images/s; how many times that: " + ", ".join(MODES))
    for name, values in seconds.items():
        rate = count / statistics.median(values)
        ratios = [median_ratio(values, seconds[mode]) for mode in MODES]
        shown = "  ".join(f"{ratio:5.2f}" for ratio in ratios)
        print(f"{name:>26}  {rate:8.0f}  {shown}")
    return median_ratio(seconds["plain tf.data, antialias"], seconds["exact"])


def _program(
    folder: Path, names: list[bytes], count: int, mode: str
) -> Callable[[], tf.data.Dataset]:
    return lambda: ours(folder, names, count, mode)


def peak_bytes(count: int, mode: str) -> int:
    """The peak memory of a fresh process that passes one epoch of `count` images."""
    command = [sys.executable, __file__, "--peak_of", str(count), "--mode", mode]
    return int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def pass_epoch(count: int, size: tuple[int, int], mode: str) -> int:
    """Pass an epoch; the peak memory of this process so far."""
    with tempfile.TemporaryDirectory() as name:
        names = make_files(Path(name), size)
        for images, _ in ours(Path(name), names, count, mode):
            assert images.shape[1:] == (SIZE, SIZE, 3)
    # Not getrusage: on Linux it counts what the parent held when it forked.
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])


def main() -> None:
    """Print the table, or the memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batches", type=int, default=60, help="in a turn")
    parser.add_argument("--size", default="500x375", help="of the files, WIDTHxHEIGHT")
    parser.add_argument("--deterministic", action="store_true")
    parser.add_argument("--processor_time", action="store_true")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--peak_of", type=int, help="for the processes that it starts")
    parser.add_argument("--mode", choices=MODES, default="exact", help="the same")
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    if arguments.peak_of:
        print(pass_epoch(arguments.peak_of, (width, height), arguments.mode))
    elif arguments.memory:
        for mode in MODES:
            few, many = peak_bytes(1_000, mode), peak_bytes(100_000, mode)
            print(
                f"{mode}: peak of 1,000 images: {few / 1e6:.0f} MB; of 100,000: "
                f"{many / 1e6:.0f}"
            )
    else:
        if arguments.deterministic:
            tf.config.experimental.enable_op_determinism()
            tf.random.set_seed(0)
        clock = time.process_time if arguments.processor_time else time.perf_counter
        count = BATCH * arguments.batches
        if speed(arguments.rounds, count, (width, height), clock) < LIMIT:
            sys.exit(f"Less than {LIMIT} times the plain loop that does the same.")


if __name__ == "__main__":
    main()
