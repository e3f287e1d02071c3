"""Sparse inputs give what the same numbers in a dense array give, everywhere."""

import keras
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import tensorflow as tf

from sop_keras import SOPModel, cleanlab_inputs
from sop_keras.core import sparse_inputs

N, D, K = 14, 6, 3
RNG = np.random.default_rng(0)
X = np.where(RNG.random((N, D)) < 0.5, RNG.normal(size=(N, D)), 0).astype(np.float32)
Y = np.arange(N) % K
RATES = {"u_optimizer": 10.0, "v_optimizer": 10.0}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    backbone = keras.Sequential([keras.Input((D,)), keras.layers.Dense(K)])
    result = SOPModel(backbone, N, K, init_std=0.1, seed=0)
    result.compile(keras.optimizers.SGD(0.1), metrics=["accuracy"], **RATES)
    result.fit(sp.csr_matrix(X), Y, batch_size=4, shuffle=False, verbose=0)
    return result


def test_training_on_them(model):
    keras.utils.set_random_seed(0)
    backbone = keras.Sequential([keras.Input((D,)), keras.layers.Dense(K)])
    dense = SOPModel(backbone, N, K, init_std=0.1, seed=0)
    dense.compile(keras.optimizers.SGD(0.1), **RATES)
    dense.fit(X, Y, batch_size=4, shuffle=False, verbose=0)
    # Of numbers in an array alone, their range is known.
    assert dense.training_history.input_range == pytest.approx((X.min(), X.max()))
    dense.training_history.figures.assign(model.training_history.figures)
    for one, other in zip(model.weights, dense.weights, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-6)


@pytest.mark.parametrize(
    "kind",
    [sp.csr_matrix, sp.coo_matrix, sp.csc_array, tf.sparse.from_dense, pd.DataFrame],
    ids=lambda kind: kind.__name__,
)
def test_label_issues_predictions_and_evaluation(kind, model):
    x = kind(X)
    expected = model.label_issues(X, Y)
    # Batches of 4: the last is shorter.
    found = model.label_issues(x, Y, batch_size=4)
    pd.testing.assert_frame_equal(found, expected, rtol=1e-5)
    _, probs = cleanlab_inputs(model, x, Y)
    logits = X @ model.backbone.weights[0].numpy() + model.backbone.weights[1].numpy()
    by_hand = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probs, by_hand, rtol=1e-5)
    np.testing.assert_allclose(model.predict(x, verbose=0), logits, atol=1e-5)
    # float32 numbers like 3/14.
    accuracy = np.mean(logits.argmax(axis=1) == Y)
    assert model.evaluate(x, Y, verbose=0)[1] == pytest.approx(accuracy, abs=1e-6)


def test_single_batches(model):
    ids = {"label": Y, "index": np.arange(N)}
    before = model.test_on_batch(X, Y)
    assert model.test_on_batch(sp.csc_matrix(X), Y) == pytest.approx(before, abs=1e-6)
    model.train_on_batch(sp.csr_matrix(X), ids)


def test_streams_of_them(model):
    class Batches(keras.utils.PyDataset):
        num_batches = 2

        def __getitem__(self, place):
            rows = np.arange(N)[7 * place : 7 * place + 7]
            return sp.csr_matrix(X[rows]), {"label": Y[rows], "index": rows}

    found = model.label_issues(Batches())
    pd.testing.assert_frame_equal(found, model.label_issues(X, Y), rtol=1e-5)


def test_other_inputs_stay_what_they_are():
    x = {"a": X, "b": (tf.constant(X), sp.csr_matrix(X))}
    for function in (sparse_inputs.in_row_order, sparse_inputs.as_tensors):
        found = function(x)
        assert found["a"] is X
        assert found["b"][0] is x["b"][0]
    np.testing.assert_array_equal(tf.sparse.to_dense(found["b"][1]), X)
