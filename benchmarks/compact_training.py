"""A training with rows of slots to its end, of millions of examples or many classes.

    python benchmarks/compact_training.py --classes=21841
    python benchmarks/compact_training.py --examples=14000000 --epochs=4 \
        --batch_size=1024 --jit_compile
    python benchmarks/compact_training.py --table=dense

SOP with rates that set themselves, a linear backbone, and features made where they are
needed: the centre of the example's class and noise from a pool, 64 numbers, the same
for the same id. A fifth of the labels are another class, drawn evenly. Prints how well
`label_quality` ranks the wrong ones among the first million examples, the accuracy on
clean labels, seconds of an epoch, entries that found no slot, and the peak of the
process' memory.
"""

from __future__ import annotations

import argparse
import os
import resource
import time

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from sklearn.metrics import average_precision_score, roc_auc_score

from sop_keras import SOPModel
from sop_keras.data.batches.tensors import without_autotuning

FEATURES, POOL, LOOKED_AT = 64, 2**17, 1_000_000
NOISE_RATE = 0.2


def labels_of(num_examples: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """True and given labels, int32 `(num_examples,)`."""
    rng = np.random.default_rng(0)
    true = rng.integers(0, classes, num_examples, dtype=np.int32)
    others = rng.integers(1, classes, num_examples, dtype=np.int32)
    is_wrong = rng.random(num_examples, dtype=np.float32) < NOISE_RATE
    return true, np.where(is_wrong, (true + others) % classes, true).astype(np.int32)


def batches(
    order: np.ndarray, true: np.ndarray, given: np.ndarray, values: argparse.Namespace
) -> tf.data.Dataset:
    """Batches of the examples in an order."""
    rng = np.random.default_rng(1)
    scale = values.distance / np.sqrt(2 * FEATURES)
    shape = (values.classes, FEATURES)
    centres = tf.constant(scale * rng.normal(size=shape), tf.float32)
    pool = tf.constant(rng.normal(size=(POOL, FEATURES)), tf.float32)

    def example(ids: tf.Tensor, labels: tf.Tensor, y: tf.Tensor) -> tuple:
        place = (tf.cast(ids, tf.int64) * 2_654_435_761) % POOL
        x = tf.gather(centres, labels) + tf.gather(pool, place)
        return x, {"label": y, "index": ids}

    def chunks():
        for start in range(0, len(order), values.batch_size):
            ids = order[start : start + values.batch_size]
            yield ids, true[ids], given[ids]

    spec = tf.TensorSpec([None], tf.int32)
    dataset = tf.data.Dataset.from_generator(chunks, output_signature=(spec,) * 3)
    num_batches = -(-len(order) // values.batch_size)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(num_batches))
    return without_autotuning(dataset.map(example).prefetch(2))


def main() -> None:
    """Train to the end, and print what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--examples", type=int, default=100_000)
    parser.add_argument("--classes", type=int, default=1_000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--lr", type=float, default=0.5)
    parser.add_argument("--distance", type=float, default=9.0, help="between centres")
    parser.add_argument("--table", choices=["compact", "dense"], default="compact")
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--jit_compile", action="store_true", help="XLA")
    values = parser.parse_args()
    true, given = labels_of(values.examples, values.classes)
    network = keras.Sequential(
        [keras.Input((FEATURES,)), keras.layers.Dense(values.classes)]
    )
    options = {"table": "compact", "table_slots": values.slots}
    start = time.perf_counter()
    model = SOPModel(
        network,
        values.examples,
        values.classes,
        seed=0,
        **(options if values.table == "compact" else {}),
    )
    print(f"made in {time.perf_counter() - start:.1f} s", flush=True)
    steps = -(-values.examples // values.batch_size)
    rate = keras.optimizers.schedules.CosineDecay(values.lr, values.epochs * steps)
    model.compile(
        keras.optimizers.SGD(rate, momentum=0.9),
        metrics=["accuracy"],
        jit_compile=values.jit_compile,
    )
    rng = np.random.default_rng(2)
    for epoch in range(values.epochs):
        order = rng.permutation(values.examples).astype(np.int32)
        start = time.perf_counter()
        history = model.fit(
            batches(order, true, given, values),
            initial_epoch=epoch,
            epochs=epoch + 1,
            total_epochs=values.epochs,
            verbose=0,
        ).history
        print(
            f"epoch {epoch + 1}: {time.perf_counter() - start:.0f} s, given labels "
            f"{100 * history['accuracy'][0]:.2f} %",
            flush=True,
        )
    some = np.arange(min(values.examples, LOOKED_AT), dtype=np.int32)
    logits, issues = [], model.label_issues(batches(some, true, given, values))
    for x, _ in batches(some[:100_000], true, given, values):
        logits.append(np.argmax(network(x), axis=-1))
    is_wrong = true[some] != given[some]
    issues = issues.sort_values("id")
    scores = -issues["label_quality"].to_numpy()
    right = np.concatenate(logits) == true[: len(np.concatenate(logits))]
    print(
        f"true labels {100 * right.mean():.2f} %; AUROC "
        f"{roc_auc_score(is_wrong, scores):.4f}, average precision "
        f"{average_precision_score(is_wrong, scores):.4f} ({is_wrong.mean():.3f} are "
        f"wrong); evicted {model.tables.num_evicted():,}; peak "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB"
    )


if __name__ == "__main__":
    main()
