"""Train with cross entropy on one device and on 2 replicas: writes both to FILE.

A process of its own, because TensorFlow must hear of its logical devices before it
starts. All models share one strategy: a second one would give its exchanges the keys of
the first one's, and the two would wait for each other.
"""

import contextlib
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from sop_keras import with_epoch, with_index
from sop_keras.methods.cross_entropy import CrossEntropyModel

D, K, BATCH = 6, 4, 8
RNG = np.random.default_rng(0)
# The last batch of 37 examples has 5, of which the replicas have 4 and 1; that of 33
# has 1, so that a replica has none.
X = RNG.normal(size=(37, D)).astype(np.float32)
Y = RNG.integers(0, K, 37)
WEIGHTS = RNG.uniform(0.5, 1.5, 37).astype(np.float32)


def compiled(strategy, built=True, **arguments):
    with strategy.scope() if strategy else contextlib.nullcontext():
        keras.utils.set_random_seed(1)
        stack = [
            layers.Dense(8, "relu", kernel_regularizer=keras.regularizers.L2(1e-2)),
            layers.Dense(K),
        ]
        backbone = keras.Sequential([keras.Input((D,)), *stack] if built else stack)
        model = CrossEntropyModel(backbone)
        arguments = {
            "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            "metrics": ["accuracy"],
            **arguments,
        }
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9), **arguments)
    return model


def state(model):
    variables = [*model.backbone.variables, *model.optimizer.variables]
    return {f"variable {i}": v.numpy() for i, v in enumerate(variables)}


def arrays(strategy, count):
    model = compiled(strategy)
    history = model.fit(
        X[:count],
        Y[:count],
        batch_size=BATCH,
        epochs=3,
        shuffle=False,
        sample_weight=WEIGHTS[:count],
        validation_data=(X[:9], Y[:9]),
        verbose=0,
    ).history
    scores = model.evaluate(X, Y, batch_size=BATCH, verbose=0)
    return {**state(model), **history, "scores": scores}


def stream(strategy):
    """Ids and epochs beside the labels; a backbone that the first batch would build."""
    epochs = []

    def keep(epoch, index):
        epochs.append(int(epoch))
        return index

    def watch(x, y):
        index = tf.numpy_function(keep, [y["epoch"], y["index"]], tf.int64)
        return x, {"label": y["label"], "index": tf.ensure_shape(index, [None])}

    data = tf.data.Dataset.from_tensor_slices((X, Y))
    data = with_epoch(with_index(data).batch(BATCH)).map(watch)
    model = compiled(strategy, built=False)
    history = model.fit(data, epochs=2, verbose=0).history
    # No pass over the data was spent on building the model.
    return {**state(model), **history, "epochs": epochs}


def function(strategy):
    def batches(context):
        part = context.get_per_replica_batch_size(BATCH)
        data = tf.data.Dataset.from_tensor_slices((X, Y, WEIGHTS))
        return data.batch(part).repeat()

    model = compiled(strategy)
    history = model.fit(
        batches,
        epochs=2,
        steps_per_epoch=5,
        validation_data=batches,
        validation_steps=5,
        verbose=0,
    ).history
    scores = model.evaluate(batches, steps=5, verbose=0)
    return {**state(model), **history, "scores": scores}


def single_batches(strategy):
    model = compiled(strategy)
    scores = model.train_on_batch(X[:5], Y[:5])
    other = compiled(strategy).test_on_batch(X[:5], Y[:5])
    return {**state(model), "scores": scores, "other scores": other}


def saved(strategy):
    """Made under a strategy, loaded without one, trained on."""
    model = compiled(strategy)
    model.fit(X, Y, batch_size=BATCH, shuffle=False, verbose=0)
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model.keras")
        loaded = keras.saving.load_model(Path(folder) / "model.keras")
        model.save_weights(Path(folder) / "model.weights.h5")
        again = compiled(strategy)
        again.load_weights(Path(folder) / "model.weights.h5")
    for one in (loaded, again):
        for name, value in state(model).items():
            np.testing.assert_array_equal(state(one)[name], value)
        one.fit(X, Y, batch_size=BATCH, shuffle=False, verbose=0)
    states = {f"again {name}": value for name, value in state(again).items()}
    return {**state(loaded), **states}


def refusals(strategy):
    with pytest.raises(ValueError, match=r"jit_compile=True cannot be .* 2 replicas"):
        compiled(strategy, jit_compile=True)
    for reduction in ("sum", "mean_with_sample_weight", None):
        loss = keras.losses.SparseCategoricalCrossentropy(reduction=reduction)
        message = rf"2 replicas, the loss must be a mean .* of reduction={reduction!r}"
        with pytest.raises(ValueError, match=message):
            compiled(strategy, loss=loss)
    with pytest.raises(ValueError, match="scope of a MirroredStrategy, compile"):
        compiled(strategy).compile("sgd", "mse")


def main(path):
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * 2
    )
    mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    refusals(mirrored)
    cases = {
        "uneven": lambda strategy: arrays(strategy, 37),
        "empty": lambda strategy: arrays(strategy, 33),
        "stream": stream,
        "function": function,
        "single": single_batches,
        "saved": saved,
    }
    results = {}
    for name, case in cases.items():
        for devices, strategy in (("one", None), ("two", mirrored)):
            for key, value in case(strategy).items():
                results[f"{name}/{devices}/{key}"] = np.asarray(value)
    np.savez(path, **results)


if __name__ == "__main__":
    main(sys.argv[1])
