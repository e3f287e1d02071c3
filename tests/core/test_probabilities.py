"""Outputs that are said to be probabilities, and are not."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sop_keras import SOPModel, with_index
from sop_keras.core.data_errors import clear_data_errors
from sop_keras.core.probabilities import check_probabilities

REFUSED = r"no probabilities: the row \[.*from_logits=True if these are logits"
N, D, K = 12, 4, 3
X = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)
Y = np.arange(N) % K


def model(activation):
    """A network whose bias gives 2 for each class, where nothing squashes it."""
    start = {"bias_initializer": keras.initializers.Constant(2.0)}
    last = keras.layers.Dense(K, activation, **start)
    backbone = keras.Sequential([keras.Input((D,)), last, keras.layers.Identity()])
    return SOPModel(backbone, N, K, from_logits=False, init_std=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_probabilities_of_all_precisions_are_taken(dtype):
    uniform, random = (
        np.zeros((1, 1000)),
        np.random.default_rng(0).normal(0, 5, (50, 1000)),
    )
    for logits in (uniform, random):
        outputs = tf.nn.softmax(tf.cast(logits, dtype))
        assert check_probabilities(outputs) is outputs


@pytest.mark.parametrize(
    "row", [[0.4, 0.3, 0.33], [1.1, -0.1, 0.0], [0, 0, 0], [2.0, -4.0, 1.0], [0.9] * 3]
)
def test_other_rows_are_refused(row):
    rows = np.array([[0.2, 0.3, 0.5], row, [0.0, 0.0, 1.0]], np.float32)
    with pytest.raises(ValueError, match=REFUSED):
        check_probabilities(rows)
    with pytest.raises(ValueError, match=REFUSED), clear_data_errors():
        tf.function(check_probabilities)(rows)
    assert check_probabilities(rows[[0, 2]]) is not None
    np.testing.assert_array_equal(
        tf.function(check_probabilities)(rows[::2]), rows[::2]
    )
    # NaN says that training diverged, not what the network is made to give.
    check_probabilities(np.full((2, 3), np.nan, np.float32))


def streams():
    data = with_index(tf.data.Dataset.from_tensor_slices((X, Y))).batch(4)

    def generator():
        yield from data.as_numpy_iterator()

    return data, generator()


@pytest.mark.parametrize("jit_compile", [False, True])
def test_logits_for_probabilities_end_fit_before_a_step(jit_compile):
    # With XLA, nobody can look at the batches of a data set.
    for data in ((X, Y), *((stream,) for stream in streams()[jit_compile:])):
        one = model(None)
        one.compile("sgd", u_optimizer=1.0, v_optimizer=1.0, jit_compile=jit_compile)
        before = [weight.numpy() for weight in one.weights]
        with pytest.raises(ValueError, match=REFUSED):
            one.fit(*data, verbose=0)
        for weight, value in zip(one.weights, before, strict=True):
            np.testing.assert_array_equal(weight, value)
        assert one.training_record.is_empty()
        with pytest.raises(ValueError, match=REFUSED):  # and again
            one.fit(X, Y, verbose=0)


def test_logits_for_probabilities_are_refused_wherever_they_are_used():
    one = model(None)
    one.compile("sgd")
    with pytest.raises(ValueError, match=REFUSED):
        one.evaluate(X, Y, verbose=0)
    one.training_record.table.assign(np.stack([Y, Y * 0.0, Y], axis=1))
    with pytest.raises(ValueError, match=REFUSED):
        one.label_issues(X, Y)


def test_a_last_layer_without_an_activation_is_warned_of():
    dense = keras.Sequential([keras.Input((D,)), keras.layers.Dense(K)])
    with pytest.warns(UserWarning, match="Dense layer without an activation, but from"):
        SOPModel(dense, N, K, from_logits=False)


def test_probabilities_train():
    one = model("softmax")
    one.compile("sgd")
    one.fit(X, Y, verbose=0)
    one.evaluate(X, Y, verbose=0)
    assert one.label_issues(X, Y)["label_quality"].between(0, 1).all()


def test_of_a_data_set_an_unasked_xla_gives_way_to_the_check(monkeypatch):
    # As with a GPU, where Keras compiles by XLA unless it is told not to.
    monkeypatch.setattr(keras.Model, "_resolve_auto_jit_compile", lambda _: True)
    data = with_index(tf.data.Dataset.from_tensor_slices((X, Y))).batch(4)
    one = model(None)
    one.compile("sgd")
    assert one.jit_compile
    with pytest.raises(ValueError, match=REFUSED):
        one.fit(data, verbose=0)
    assert one.training_record.is_empty()
    other = model("softmax")
    other.compile("sgd")
    other.fit(X, Y, verbose=0)  # of arrays, the first ones are looked at
    assert other.jit_compile


def test_of_a_data_set_an_xla_that_was_asked_for_is_warned_of(caplog):
    data = with_index(tf.data.Dataset.from_tensor_slices((X, Y))).batch(4)
    one = model("softmax")
    one.compile("sgd", jit_compile=True)
    one.fit(data, verbose=0)
    assert "nobody looks at what the network gives for a data set" in caplog.text
    assert one.jit_compile


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_first_batch_alone_is_looked_at(jit_compile):
    one = model(None)
    one.compile("sgd", jit_compile=jit_compile)
    with pytest.raises(ValueError, match=REFUSED):
        one.train_on_batch(X, {"label": Y, "index": np.arange(N)})
    assert one.training_record.is_empty()


def test_a_refused_batch_of_those_that_accumulate():
    one = model("softmax")
    one.compile(keras.optimizers.SGD(0.1, gradient_accumulation_steps=2))
    wrong = with_index(tf.data.Dataset.from_tensor_slices((X, Y + (Y == 2)))).batch(4)
    with pytest.raises(ValueError, match=r"Label 3 is not in \[0, 3\)"):
        one.fit(wrong, verbose=0)
    assert int(one.optimizer._iterations) == 0
