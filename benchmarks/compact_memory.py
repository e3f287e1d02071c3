"""What rows of slots take beside a training, of 14 million examples and 21,841 classes.

    python benchmarks/compact_memory.py
    python benchmarks/compact_memory.py --examples=100000 --classes=1000

A linear backbone of 64 inputs, batches of 128, 300 steps: SOP with 8 slots a row, the
same training with cross entropy in place of SOP, and by Keras alone, each in a process
of its own.
Prints the peak of the process' memory after each stage, and seconds; fails where SOP
takes more than 1.5 GB above cross entropy at the start, in training or in saving, 2 GB
with what follows (weights are loaded, and the first 100,000 examples are judged), or
more than 60 s to start.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

BATCH, FEATURES, STEPS, SLOTS, JUDGED = 128, 64, 300, 8, 100_000
KERAS, CE, SOP = "keras", "ce", "sop"
FIRST = ("start", "training", "saving")
"""What cross entropy does as well; of what follows, its last peak is taken."""
MOST_BYTES = {**dict.fromkeys(FIRST, 1.5e9), "loading": 2e9, "label issues": 2e9}
MOST_SECONDS = 60


def stages(
    of: str, num_examples: int, classes: int, jit_compile: bool, folder: Path
) -> None:
    """Do one after the other, and print seconds and peak after each."""
    import keras
    import numpy as np
    import tensorflow as tf

    from sop_keras import NoisyLabelModel, SOPModel, methods

    def batches(ids: Iterator[np.ndarray], count: int) -> tf.data.Dataset:
        def examples():
            for some in ids:
                rng = np.random.default_rng(int(some[0]))
                x = rng.normal(size=(len(some), FEATURES)).astype("float32")
                labels = some % classes
                yield x, labels if is_plain else {"label": labels, "index": some}

        id_spec = tf.TensorSpec([None], tf.int64)
        y_spec = id_spec if is_plain else {"label": id_spec, "index": id_spec}
        spec = (tf.TensorSpec([None, FEATURES], tf.float32), y_spec)
        data = tf.data.Dataset.from_generator(examples, output_signature=spec)
        return data.apply(tf.data.experimental.assert_cardinality(count))

    is_plain = of == KERAS

    def make() -> keras.Model:
        network = keras.Sequential(
            [keras.Input((FEATURES,)), keras.layers.Dense(classes)]
        )
        optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
        if is_plain:
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            network.compile(optimizer, loss, jit_compile=jit_compile)
            return network
        sizes = num_examples, classes
        if of == CE:
            model = NoisyLabelModel(network, *sizes, method=methods.CrossEntropy())
        else:
            model = SOPModel(
                network, *sizes, table="compact", table_slots=SLOTS, seed=0
            )
        model.compile(optimizer, jit_compile=jit_compile)
        return model

    def stage(name: str, do: Callable[[], object]) -> object:
        start = time.perf_counter()
        done = do()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(f"{name}: {time.perf_counter() - start:.1f} s {peak}", flush=True)
        return done

    rng = np.random.default_rng(0)
    trained = [rng.integers(0, num_examples, BATCH) for _ in range(STEPS)]
    model = stage("start", make)
    stage("training", lambda: model.fit(batches(trained, STEPS), verbose=0))
    stage("saving", lambda: model.save(folder / "model.keras"))
    if of != SOP:
        return
    weights = folder / "model.weights.h5"
    model.save_weights(weights)
    stage("loading", lambda: model.load_weights(weights))
    some = np.arange(min(JUDGED, num_examples)).reshape(-1, 125)
    judged = stage("label issues", lambda: model.label_issues(batches(some, len(some))))
    assert len(judged) == some.size


def measure(of: str, values: argparse.Namespace) -> dict[str, tuple[float, int]]:
    """Seconds and peak of every stage of a process."""
    with tempfile.TemporaryDirectory(dir=values.folder) as folder:
        command = [sys.executable, __file__, f"--of={of}", f"--folder={folder}"]
        command += [f"--examples={values.examples}", f"--classes={values.classes}"]
        command += ["--jit_compile"] * values.jit_compile
        said = subprocess.run(command, check=True, capture_output=True, text=True)
    lines = re.findall(r"^([a-z ]+): ([\d.]+) s (\d+)$", said.stdout, re.MULTILINE)
    return {name: (float(seconds), int(peak)) for name, seconds, peak in lines}


def main() -> None:
    """Print a row for each stage; fail where one takes more than it may."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--examples", type=int, default=14_000_000)
    parser.add_argument("--classes", type=int, default=21_841)
    parser.add_argument("--jit_compile", action="store_true", help="XLA")
    parser.add_argument("--folder", help="for the files. Defaults to the system's own")
    parser.add_argument("--of", help=argparse.SUPPRESS)
    values = parser.parse_args()
    if values.of:
        sizes = values.examples, values.classes
        stages(values.of, *sizes, values.jit_compile, Path(values.folder))
        return
    plain, ce, sop = (measure(of, values) for of in (KERAS, CE, SOP))
    print("| stage | Keras, MB | cross entropy, MB | SOP, MB | above, MB | SOP, s |")
    print("| --- | --- | --- | --- | --- | --- |")
    too_much = sop["start"][0] > MOST_SECONDS
    for name, (seconds, peak) in sop.items():
        base = ce[name if name in ce else FIRST[-1]][1]
        too_much |= peak - base > MOST_BYTES[name]
        others = (
            f"{one[name][1] / 1e6:,.0f}" if name in one else "" for one in (plain, ce)
        )
        print(
            f"| {name} | {' | '.join(others)} | {peak / 1e6:,.0f} "
            f"| {(peak - base) / 1e6:,.0f} | {seconds:.1f} |"
        )
    if too_much:
        sys.exit("More than it may be.")


if __name__ == "__main__":
    main()
