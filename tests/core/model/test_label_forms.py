"""Integers and one-hot rows are the same labels, wherever either comes."""

import keras
import numpy as np
import pytest

from sop_keras import SOPModel

N, D, K = 30, 4, 3
X = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)
Y = np.arange(N) % K
FORMS = (Y, np.eye(K)[Y])


def compiled():
    keras.utils.set_random_seed(0)
    backbone = keras.Sequential([keras.Input((D,)), keras.layers.Dense(K)])
    model = SOPModel(backbone, N, K, init_std=0.1, seed=0)
    model.compile(keras.optimizers.SGD(0.1), metrics=["accuracy"])
    return model


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 0)])
def test_each_form_counts_alike(first, second):
    model = compiled()
    given, other = FORMS[first], FORMS[second]
    history = model.fit(
        X, given, validation_data=(X, other), batch_size=10, verbose=0
    ).history
    expected = np.mean(model.predict(X, verbose=0).argmax(axis=1) == Y)
    assert history["val_accuracy"] == pytest.approx([expected])
    for labels in (given, other):
        found = model.evaluate(X, labels, verbose=0, return_dict=True)
        assert found["accuracy"] == pytest.approx(expected)
        assert found["loss"] == pytest.approx(history["val_loss"][0], rel=1e-6)
    # Training goes on in the other form: no step with a rate of 0, so that the metric
    # counts what evaluation does.
    model.optimizer.learning_rate = 0.0
    history = model.fit(X, other, batch_size=10, verbose=0).history
    assert history["accuracy"] == pytest.approx([expected])


def test_metrics_of_one_form():
    # Those of compile() get the form that they were first given.
    keras.utils.set_random_seed(0)
    backbone = keras.Sequential([keras.Input((D,)), keras.layers.Dense(K)])
    model = SOPModel(backbone, N, K)
    model.compile("sgd", metrics=[keras.metrics.CategoricalAccuracy(name="hits")])
    one_hot, integers = (
        model.evaluate(X, labels, verbose=0)[1] for labels in FORMS[::-1]
    )
    assert integers == one_hot
    assert one_hot == pytest.approx(
        np.mean(model.predict(X, verbose=0).argmax(axis=1) == Y)
    )
