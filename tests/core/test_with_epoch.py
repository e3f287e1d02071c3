import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from sop_keras import SOPModel, with_epoch, with_index

ROOT = Path(__file__).resolve().parents[2]
X = np.arange(24, dtype=np.float32).reshape(12, 2)
Y = np.array([0, 2, 1, 1, 0, 2, 2, 0, 1, 0, 1, 2])


def indexed(*more):
    return with_index(tf.data.Dataset.from_tensor_slices((X, Y, *more)))


def epochs_of(dataset):
    return [int(y["epoch"]) for _, y in dataset]


def test_every_iteration_is_the_next_epoch():
    dataset = with_epoch(indexed().batch(5))
    assert [epochs_of(dataset) for _ in range(3)] == [[0] * 3, [1] * 3, [2] * 3]


def test_a_restart_counts_from_its_initial_epoch():
    dataset = with_epoch(indexed().batch(5), initial_epoch=np.int64(7))
    assert [epochs_of(dataset) for _ in range(2)] == [[7] * 3, [8] * 3]


def test_the_rest_of_the_elements_is_kept():
    weights = np.linspace(0, 1, 12)
    for batch in with_epoch(indexed(weights).batch(5), 3).as_numpy_iterator():
        x, y, weight = batch
        assert y["epoch"] == 3
        assert y["epoch"].dtype == np.int64
        np.testing.assert_array_equal(x, X[y["index"]])
        np.testing.assert_array_equal(y["label"], Y[y["index"]])
        np.testing.assert_array_equal(weight, weights[y["index"]])


@pytest.mark.parametrize("prefetch", [0, 4])
def test_a_repeat_that_follows_counts_its_turns(prefetch):
    # The read-ahead of the prefetch crosses the ends of the passes.
    inner = indexed().cache().shuffle(12).batch(4).prefetch(2)
    dataset = with_epoch(inner).repeat(3).prefetch(prefetch)
    assert epochs_of(dataset) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_every_pass_is_shuffled_anew():
    dataset = with_epoch(indexed().shuffle(12, seed=1).batch(12))
    passes = [tuple(y["index"].numpy()) for _, y in dataset.repeat(2)]
    passes += [tuple(y["index"].numpy()) for _ in range(2) for _, y in dataset]
    assert len(set(passes)) == 4
    assert {tuple(sorted(order)) for order in passes} == {tuple(range(12))}


def test_the_cardinality_is_kept():
    assert with_epoch(indexed().batch(5)).cardinality() == 3
    assert with_epoch(indexed().batch(5)).repeat(4).cardinality() == 12
    unknown = indexed().filter(lambda x, y: y["label"] > 0).batch(5)
    assert with_epoch(unknown).cardinality() == tf.data.UNKNOWN_CARDINALITY
    assert epochs_of(with_epoch(unknown)) == [0, 0]


def spied_on():
    """A data set with epochs, and the list of those that were asked of it."""
    seen = []

    def spy(x, y):
        @tf.py_function(Tout=[])
        def see(epoch):
            seen.append(int(epoch))

        see(y["epoch"])
        return x, y

    return with_epoch(indexed().shuffle(12).batch(4)).map(spy), seen


def compiled():
    backbone = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    model = SOPModel(backbone, num_examples=12, num_classes=3)
    model.compile(optimizer="sgd", metrics=["accuracy"])
    return model


@pytest.mark.parametrize("with_validation", [False, True])
@pytest.mark.parametrize("repeated", [False, True])
def test_fit_trains_in_epochs_0_1_2(repeated, with_validation):
    dataset, seen = spied_on()
    model = compiled()
    history = model.fit(
        dataset.repeat(3) if repeated else dataset,
        epochs=3,
        steps_per_epoch=3 if repeated else None,
        validation_data=(X, Y) if with_validation else None,
        verbose=0,
    )
    assert seen == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert len(history.history["loss"]) == 3


def test_a_strategy_of_one_device_does_not_count():
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        dataset, seen = spied_on()
        # Each step's metrics are made in its first call, evaluation's included.
        compiled().fit(dataset, epochs=2, validation_data=(X, Y), verbose=0)
    assert seen == [0, 0, 0, 1, 1, 1]


def test_epochs_of_fewer_steps_go_on_in_the_same_pass():
    dataset, seen = spied_on()
    compiled().fit(dataset, epochs=3, steps_per_epoch=1, verbose=0)
    assert seen == [0, 0, 0]  # the one pass of three batches


def test_with_op_determinism():
    code = """
import keras, numpy as np, tensorflow as tf
keras.utils.set_random_seed(1)
tf.config.experimental.enable_op_determinism()
from sop_keras import UDA, TwoViews, with_epoch, with_index
images = np.random.default_rng(1).integers(0, 256, (12, 8, 8, 1), np.uint8)
data = with_index(tf.data.Dataset.from_tensor_slices((images, np.arange(12) % 3)))
data = with_epoch(data.shuffle(12).batch(4)).map(TwoViews(UDA()), tf.data.AUTOTUNE)
print([int(y["epoch"]) for _, y in data.repeat(2).prefetch(2)])
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        encoding="utf-8",
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[0, 0, 0, 1, 1, 1]"


PLAIN = tf.data.Dataset.from_tensor_slices((X, Y))


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (X, "wraps a tf.data.Dataset. Received: ndarray"),
        (PLAIN, r"with_epoch\(with_index\(dataset\).batch\(...\)\), in this order"),
        (indexed().map(lambda x, y: y), r"needs elements \(x, \{.*Received elements"),
        (with_epoch(indexed()), r"already.*keys \['epoch', 'index', 'label'\]"),
        (indexed().repeat(), r"that ends.*with_epoch\(dataset\).repeat\(\), in this"),
    ],
    ids=["array", "plain", "y alone", "twice", "endless"],
)
def test_other_data_are_refused(dataset, message):
    with pytest.raises(ValueError, match=message):
        with_epoch(dataset)


@pytest.mark.parametrize("epoch", [-1, 0.5, "1"])
def test_what_is_no_epoch(epoch):
    message = f"of at least 0, as in Keras' fit. Received: initial_epoch={epoch!r}"
    with pytest.raises(ValueError, match=message):
        with_epoch(indexed(), epoch)
