"""Train small models on NUMBER replicas (1: without a strategy): NUMBER FOLDER.

A process of its own, because TensorFlow must hear of its logical devices before it
starts. What came out is written to FOLDER/NUMBER.npz: arrays by name.

All models of a process share one strategy: a second one would give its exchanges the
keys of the first one's, and the two would wait for each other.
"""

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from mixer import Mixer
from open_gate import open_gate
from replica_models import (
    BATCH_SIZE,
    EPOCHS,
    NUM_CLASSES,
    NUM_EXAMPLES,
    PLUS,
    Replicas,
    averaged,
    compile_model,
    examples,
    labels_of,
    method_named,
    slots,
    stream,
)
from sieve import Sieve

from sop_keras import SOPModel, methods, with_epoch, with_index
from sop_keras.core.global_batch import GlobalBatch
from sop_keras.core.method import Method
from sop_keras.data.batches.pipelines import (
    evaluation_batches,
    steps_per_epoch,
    training_batches,
)
from sop_keras.data.batches.shards import BatchShards
from sop_keras.data.datasets.digits import load_digits
from sop_keras.monitoring.noise_monitor import NoiseMonitor
from sop_keras.training.progress import metric_values

# SOP without a second view is among the methods below.
CASES = (("paper", "sop+", "normalized"), ("reference", "sop+", "plain"))


# What 4 replicas train: rows of examples that several of them meet, by SOP+.
OF_FOUR = CASES[-1:]

# Methods of which others have all that replicas could do otherwise: a mean of losses
# alone (CE is in the first pass), a look (the sieve's), two views (of CASES, and where
# ids are dropped), the smallest losses of the whole batch (Co-teaching+).
LIKE_OTHERS = ("ce", "gce", "sl", "truncated_gce", "sop_plus", "cores_star")
LIKE_OTHERS += ("coteaching",)
METHODS = tuple(name for name in methods.names() if name not in LIKE_OTHERS)


def variants(replicas: Replicas) -> dict[str, SOPModel]:
    """SOP+, both variants, with and without normalization; gives the models."""
    models = {}
    for variant, method, kind in CASES if replicas.number < 4 else OF_FOUR:
        model = replicas.model(kind != "plain", variant=variant, **PLUS)
        # A last batch of 1 leaves replicas without an example.
        data = stream(33 if kind == "plain" else 39, pairs=True)
        name = f"{variant} {method} {kind}"
        replicas.train(name, model, data)
        models[name] = model
    return models


def every_method(replicas: Replicas) -> None:
    """The library's `METHODS`; one of two networks that looks, some that mix."""
    found = {name: method_named(name) for name in METHODS}
    found |= {"sieve": Sieve(), "mixer": Mixer()}
    found["dropped"] = methods.CORESStar(dropped_ids=range(0, NUM_EXAMPLES, 3))
    for name, method in found.items():
        if method.in_turn:  # refused, as tests/core/test_in_turn.py has it
            continue
        model = replicas.model_of(method)
        if "gate_totals" in model.shared:
            open_gate(model)
        if type(method).before_epoch is not Method.before_epoch:
            # A look needs the examples as arrays.
            weak, labels = examples(NUM_EXAMPLES)[0], labels_of(np.arange(NUM_EXAMPLES))
            replicas.train(f"method {name}", model, weak, labels, batch_size=BATCH_SIZE)
        else:
            data = stream(33, pairs=method.num_views > 1)
            replicas.train(f"method {name}", model, data)


def first_pass(replicas: Replicas) -> None:
    """Epochs as the data count them, of a backbone that the first batch would build."""
    epochs: list[int] = []

    def keep(epoch: Any, index: Any) -> Any:
        epochs.append(int(epoch))
        return index

    def watch(x: Any, y: Any) -> Any:
        index = tf.numpy_function(keep, [y["epoch"], y["index"]], tf.int64)
        return x, {"label": y["label"], "index": tf.ensure_shape(index, [None])}

    weak, labels = examples(NUM_EXAMPLES)[0], labels_of(np.arange(NUM_EXAMPLES))
    dataset = tf.data.Dataset.from_tensor_slices((weak, labels))
    dataset = with_epoch(with_index(dataset).batch(BATCH_SIZE)).map(watch)
    model = replicas.model_of(methods.CrossEntropy(), built=False)
    replicas.train("first pass", model, dataset, epochs=2)
    replicas.results["epochs of the first pass"] = np.array(epochs)


def host_table(replicas: Replicas) -> None:
    """u and v once, in the host's memory."""
    model = replicas.model(table_device="cpu", variant="reference", **PLUS)
    replicas.train("host table", model, stream(33, pairs=True))


def inputs(replicas: Replicas) -> None:
    """Arrays, and a single batch; evaluation of a stream with weights."""
    weak, _, _, _, weights = examples(NUM_EXAMPLES)
    labels = labels_of(np.arange(NUM_EXAMPLES))
    model = replicas.model()
    replicas.train(
        "arrays",
        model,
        weak,
        labels,
        batch_size=BATCH_SIZE,
        sample_weight=weights,
        validation_data=(weak[:11], labels[:11]),
    )
    batches = tf.data.Dataset.from_tensor_slices((weak, labels, weights)).batch(11)
    found = model.evaluate(batches, verbose=0, return_dict=True)
    replicas.add("arrays/evaluated", found)
    # A single batch is cut into parts: of 9 examples, unequal ones.
    open_gate(model := replicas.model_of(methods.SOP()))
    weak, _, ids, labels, _ = examples(9)
    for _ in range(3):
        model.train_on_batch(weak, {"label": labels, "index": ids})
    replicas.add_state("train_on_batch auto", model)
    model = replicas.model()
    weak, _, ids, labels, _ = examples(BATCH_SIZE)
    for _ in range(3):
        logs = model.train_on_batch(
            weak, {"label": labels, "index": ids}, return_dict=True
        )
    replicas.add_state("train_on_batch", model)
    replicas.add("train_on_batch/trained", logs)
    logs = model.test_on_batch(weak, labels, return_dict=True)
    replicas.add("train_on_batch/evaluated", logs)


def digits(replicas: Replicas) -> None:
    """Pipelines that make each replica's part of a batch themselves."""
    dataset = load_digits()
    # The last batches have 1 example, and 3: some replicas get none.
    train = dataset.train.take(np.arange(97))
    test = dataset.test.take(np.arange(53))

    def pairs(context: tf.distribute.InputContext) -> tf.data.Dataset:
        return training_batches(
            train,
            dataset,
            batch_size=32,
            epochs=EPOCHS,
            seed=5,
            strong_augment="weak",
            shards=BatchShards.of_pipeline(context),
        )

    def test_batches(context: tf.distribute.InputContext) -> tf.data.Dataset:
        parts = BatchShards.of_pipeline(context)
        return evaluation_batches(test, dataset, batch_size=25, shards=parts)

    with replicas.scope():
        keras.utils.set_random_seed(1)
        backbone = keras.Sequential(
            [keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(10)]
        )
        options = {"consistency_weight": 0.9, "balance_weight": 0.1}
        model = SOPModel(
            backbone, dataset.num_examples, 10, init_std=0.1, seed=2, **options
        )
        compile_model(model)
    data, evaluation = pairs, test_batches
    if replicas.number == 1:  # plain data sets of whole batches
        whole = tf.distribute.InputContext()
        data, evaluation = pairs(whole), test_batches(whole)
    steps = steps_per_epoch(len(train), 32)
    replicas.train(
        "digits",
        model,
        data,
        steps_per_epoch=steps,
        validation_data=evaluation,
        validation_steps=3,
    )
    found = model.evaluate(evaluation, steps=3, verbose=0, return_dict=True)
    replicas.add("digits/evaluated", found)


def watching(replicas: Replicas, folder: Path) -> None:
    """Norms of gradients, a NoiseMonitor, and label issues."""
    weak, labels = examples(NUM_EXAMPLES)[0], labels_of(np.arange(NUM_EXAMPLES))
    monitor = NoiseMonitor(folder / f"logs-{replicas.number}", labels)
    model = replicas.model(gradient_norms=True)
    options = {"callbacks": [monitor], "batch_size": BATCH_SIZE}
    replicas.train("watching", model, weak, labels, **options)
    issues = model.label_issues(weak, labels)
    replicas.add("watching/issues", issues.drop(columns="is_label_issue"))
    # A checkpoint's metrics may be restored on another number of replicas.
    replicas.add("watching/restored", {"metrics": len(metric_values(model))})


def saving(replicas: Replicas, folder: Path) -> None:
    """A training goes on in other models, with the strategy and without."""
    data = stream(20, pairs=False)
    model_file = folder / f"{replicas.number}.keras"
    weights_file = folder / f"{replicas.number}.weights.h5"
    places = {"with the strategy": True, "without": False, "with it again": True}
    model = replicas.model(synchronized=True)
    model.fit(data, shuffle=False, verbose=0)
    replicas.add_state("saved", model)
    for file in (weights_file, model_file):
        for place, distributed in places.items():
            if file is model_file:
                model.save(file)
                with replicas.scope() if distributed else contextlib.nullcontext():
                    model = keras.saving.load_model(file)
            else:
                model.save_weights(file)
                model = replicas.model(synchronized=True, distributed=distributed)
                model.load_weights(file)
            replicas.add_state(f"{file.suffix} loaded {place}", model)
    # What went through files of both kinds.
    model.fit(data, shuffle=False, verbose=0)
    replicas.add_state("continued", model)


def owners(replicas: Replicas) -> None:
    """Labels of which a person corrects some and confirms others, and new examples."""
    model = replicas.model()
    weak, _, ids, labels, _ = examples(33)
    model.fit(stream(33, pairs=False), shuffle=False, verbose=0)
    model.trust([1, 4])
    model.reset_examples([0])
    model.grow(NUM_EXAMPLES + 5)
    corrected = (labels + (ids % 3 == 1)) % NUM_CLASSES
    data = tf.data.Dataset.from_tensor_slices(
        (weak, {"label": corrected, "index": ids + 5 * (ids > 20)})
    )
    options = {"changed_labels": "reset", "epochs": 2}
    replicas.train("owners", model, data.batch(BATCH_SIZE), **options)


def dropout(replicas: Replicas) -> None:
    """A network with random numbers of its own."""
    model = replicas.model(rate=0.5)
    replicas.train("dropout", model, stream(33, pairs=False))


def operations_on_tables(replicas: Replicas, model: SOPModel) -> None:
    """What a step does to each copy of u and v, and tensors as long as these.

    Args:
        replicas: of this process.
        model: of pairs, trained.
    """
    batch = next(iter(stream(BATCH_SIZE, pairs=True)))

    @tf.function
    def step(batch: Any) -> Any:
        return replicas.strategy.run(model.train_step, args=(batch,))

    graph = step.get_concrete_function(batch).graph
    variables = {
        "u": model.noise_table.u,
        "v": model.noise_table.v,
        "record": model.training_record.table,
    }
    for name, variable in variables.items():
        table = variable.value
        copies = replicas.strategy.experimental_local_results(table)
        handles = {id(copy.handle) for copy in copies}
        inner = [inner for outer, inner in graph.captures if id(outer) in handles]
        used = [sorted({op.type for op in handle.consumers()}) for handle in inner]
        replicas.results[f"operations on {name}"] = np.array(used)
    outputs = [tensor for op in graph.get_operations() for tensor in op.outputs]
    long = [t.name for t in outputs if t.shape.rank and t.shape[0] == NUM_EXAMPLES]
    replicas.results["long tensors"] = np.array(long)


def global_batch(replicas: Replicas) -> None:
    """`GlobalBatch` of the rows (1, 2), (3, 4), (5, 6), (7, 8), in parts."""
    rows = np.arange(1.0, 9.0, dtype=np.float32).reshape(4, 2)
    sizes = {2: (3, 1), 4: (2, 1, 1, 0)}[replicas.number]
    strategy = replicas.strategy
    parts = iter(np.split(rows, np.cumsum(sizes)[:-1]))
    values = strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(next(parts))
    )

    def in_replica(values: tf.Tensor) -> dict[str, tf.Tensor]:
        batch = GlobalBatch(tf.shape(values)[0])
        with tf.GradientTape() as tape:
            tape.watch(values)
            mean = batch.mean(values)
            loss = batch.share(mean[0] ** 2)
        return {
            "size": batch.size,
            "mean": mean,
            "loss": loss,
            "gathered": batch.gather(values),
            "gradient": tape.gradient(loss, values),
        }

    found = tf.function(lambda values: strategy.run(in_replica, args=(values,)))(values)
    for name, value in found.items():
        for replica, local in enumerate(strategy.experimental_local_results(value)):
            replicas.results[f"global batch/{name} {replica}"] = local.numpy()


def overflow(replicas: Replicas) -> None:
    """A float16 network that overflows on one example, the first or the last."""
    with replicas.scope():
        policy = keras.DTypePolicy("mixed_float16")
        options = {"dtype": policy, "kernel_initializer": "ones"}
        backbone = keras.Sequential([keras.Input((3,)), layers.Dense(10, **options)])
        model = SOPModel(backbone, 8, 10, dtype=policy)
        optimizer = keras.optimizers.LossScaleOptimizer(
            keras.optimizers.SGD(0.1), initial_scale=1024.0
        )
        model.compile(optimizer, metrics=["accuracy"])
    for place in (0, -1):
        optimizer.dynamic_scale.assign(1024.0)
        x = np.ones((8, 3), np.float32)
        x[place] = 3e4  # the sum of three is beyond float16
        before = backbone.get_weights()[0]
        data = {"label": np.zeros(8, np.int64), "index": np.arange(8)}
        dataset = tf.data.Dataset.from_tensor_slices((x, data)).batch(8)
        model.fit(dataset, shuffle=False, verbose=0)
        copies = replicas.strategy.experimental_local_results(backbone.weights[0].value)
        after = np.stack([copy.numpy() for copy in copies])
        scale = keras.ops.convert_to_numpy(optimizer.dynamic_scale)
        replicas.results[f"overflow at {place}/moved"] = np.abs(after - before).max()
        replicas.results[f"overflow at {place}/scale"] = scale


def refusals(replicas: Replicas) -> None:
    """The messages about what cannot be had on several replicas."""

    def message(action: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
        try:
            action(*args, **kwargs)
        except ValueError as error:
            return str(error)
        return "not refused"

    model = replicas.model()
    outside = message(compile_model, model)
    with replicas.scope():
        compiled = message(compile_model, model, jit_compile=True)
    replicas.add("refused", {"outside of the scope": outside, "jit_compile": compiled})


def main(number: int, folder: Path) -> None:
    replicas = Replicas(number)
    models = variants(replicas)
    slots(replicas)
    if number > 1:
        global_batch(replicas)
    if number < 4:
        host_table(replicas)
        digits(replicas)
        inputs(replicas)
        averaged(replicas)
        every_method(replicas)
        first_pass(replicas)
        owners(replicas)
        watching(replicas, folder)
        saving(replicas, folder)
    if number == 2:
        dropout(replicas)
        operations_on_tables(replicas, models["paper sop+ normalized"])
        refusals(replicas)
        overflow(replicas)
    np.savez(folder / f"{number}.npz", **replicas.results)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
