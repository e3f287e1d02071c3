"""Images a second of SOPModel on one device, on two replicas and on two workers.

    python benchmarks/replicas.py --rounds=7

The small CNN, 32x32 images, batches of 128, num_examples 50,000, on two cores of this
machine: one device with both; two replicas of a MirroredStrategy, which share them; and
two processes of a MultiWorkerMirroredStrategy, a core each, which talk through the
loopback interface. One device with one core is what a worker has of its own.
Each turn is a process (or two) of its own, and they take turns. Replicas on the same
cores bring no new power: what is measured is what their exchange costs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from typing import Any

from timing import median_ratio

IMAGE, CLASSES, BATCH, EXAMPLES = (32, 32, 3), 10, 128, 50_000
ONE_CORE, TWO_CORES = "one device, one core", "one device, two cores"
REPLICAS, WORKERS = "two replicas, the same two cores", "two workers, a core each"
KINDS = (ONE_CORE, TWO_CORES, REPLICAS, WORKERS)


def images_per_second(kind: str, steps: int) -> float:
    """Train in this process, or as one of two workers; gives the rate of all."""
    # Here, for the process that starts the others does without.
    import keras
    import numpy as np
    import tensorflow as tf

    from sop_keras import SOPModel
    from sop_keras.backbones.build import build_backbone
    from sop_keras.backbones.synchronized import synchronize_batch_norm
    from sop_keras.core.strategies import make_strategy
    from sop_keras.data.batches.shards import BatchShards
    from sop_keras.optimizers.sgd import SGD

    class Clock(keras.callbacks.Callback):
        """Times the last epoch; those before it compile the step and warm up."""

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.started = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.seconds = time.perf_counter() - self.started

    def batches(context: Any) -> Any:
        """The same random batch for ever, in equal pieces for the replicas."""
        rng = np.random.default_rng(0)
        parts = BatchShards.of_pipeline(context)
        pieces = (parts.of, BATCH // parts.of)
        mine = slice(parts.first, parts.first + parts.count)
        x = rng.normal(size=(*pieces, *IMAGE)).astype("float32")[mine]
        labels = rng.integers(0, CLASSES, pieces)[mine]
        ids = rng.choice(EXAMPLES, pieces, replace=False)[mine]
        dataset = tf.data.Dataset.from_tensor_slices(
            (x, {"label": labels, "index": ids})
        )
        return dataset.cache().repeat()

    if kind == REPLICAS:
        cpu = tf.config.list_physical_devices("CPU")[0]
        devices = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, devices)
    names = {REPLICAS: "mirrored", WORKERS: "multi_worker"}
    strategy = make_strategy(names[kind]) if kind in names else None
    with strategy.scope() if strategy else contextlib.nullcontext():
        backbone = build_backbone("cnn", IMAGE, CLASSES, seed=0)
        if strategy:
            synchronize_batch_norm(backbone)
        model = SOPModel(backbone, EXAMPLES, CLASSES, seed=0)
        model.compile(SGD(0.02, momentum=0.9, l2=5e-4), metrics=["accuracy"])
    clock = Clock()
    data = batches if strategy else batches(tf.distribute.InputContext())
    model.fit(
        data,
        epochs=2,
        steps_per_epoch=steps,
        callbacks=[clock],
        shuffle=False,
        verbose=0,
    )
    return steps * BATCH / clock.seconds


def turn(kind: str, steps: int, timeout: float) -> float:
    """Images a second of one turn, in processes of its own.

    Args:
        kind: one of `KINDS`.
        steps: batches that are timed.
        timeout: in seconds; replicas that wait for each other would wait for ever.
    """
    cores = [str(core) for core in sorted(os.sched_getaffinity(0))[:2]]
    each = {ONE_CORE: cores[:1], WORKERS: cores}.get(kind, [",".join(cores)])
    environments = cluster(len(each)) if kind == WORKERS else [{}]
    processes = []
    try:
        for core, environment in zip(each, environments, strict=True):
            command = [sys.executable, __file__, f"--turn={kind}", f"--cores={core}"]
            command.append(f"--steps={steps}")
            processes.append(
                subprocess.Popen(
                    command,
                    env={**os.environ, **environment},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        ends = time.monotonic() + timeout
        rates = []
        for process in processes:
            output, errors = process.communicate(timeout=ends - time.monotonic())
            if process.returncode:
                sys.exit(f"{kind} failed:\n{errors}")
            rates.append(float(output.split()[-1]))
    except subprocess.TimeoutExpired:
        sys.exit(f"{kind}: a turn did not end within {timeout:g} seconds.")
    finally:
        for process in processes:
            process.kill()
    return min(rates)


def cluster(number: int) -> list[dict[str, str]]:
    """The environments of so many workers on this machine."""
    with contextlib.ExitStack() as sockets:
        # All open at once: so that no port is given out twice.
        found = [sockets.enter_context(socket.socket()) for _ in range(number)]
        for one in found:
            one.bind(("localhost", 0))
        workers = [f"localhost:{one.getsockname()[1]}" for one in found]
    return [
        {
            "TF_CONFIG": json.dumps(
                {
                    "cluster": {"worker": workers},
                    "task": {"type": "worker", "index": index},
                }
            )
        }
        for index in range(number)
    ]


def main() -> None:
    """Print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=60, help="timed in a turn")
    parser.add_argument("--timeout", type=float, default=300.0, help="of a turn, s")
    parser.add_argument("--turn", choices=KINDS, help="for the processes it starts")
    parser.add_argument("--cores", help="likewise")
    arguments = parser.parse_args()
    if arguments.turn:
        # TensorFlow makes as many threads as it has cores.
        os.sched_setaffinity(0, {int(core) for core in arguments.cores.split(",")})
        print(images_per_second(arguments.turn, arguments.steps))
        return

    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("This takes two cores; there is one.")
    rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for number in range(arguments.rounds):
        for kind in KINDS if number % 2 else reversed(KINDS):
            rates[kind].append(turn(kind, arguments.steps, arguments.timeout))
    print("| | images/s | of one device, two cores |")
    print("| --- | --- | --- |")
    for kind, values in rates.items():
        ratio = median_ratio(values, rates[TWO_CORES])
        print(f"| {kind} | {statistics.median(values):,.0f} | {ratio:.3f} |")


if __name__ == "__main__":
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    main()
