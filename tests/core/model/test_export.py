"""A SavedModel serves what predict gives, and has nothing of the training examples."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sop_keras import NoisyLabelModel, SOPModel, methods

N, D, K = 12, 4, 3
X = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)
Y = np.arange(N) % K


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dropout, self.dense = keras.layers.Dropout(0.5), keras.layers.Dense(K)

    def call(self, inputs, training=None):
        return self.dense(self.dropout(inputs, training=training))


def two_inputs():
    inputs = {name: keras.Input((D,), name=name) for name in ("a", "b")}
    joined = keras.layers.Concatenate()(list(inputs.values()))
    return keras.Model(inputs, keras.layers.Dense(K)(joined))


BACKBONES = {
    "sequential": lambda: keras.Sequential([keras.Input((D,)), keras.layers.Dense(K)]),
    "subclassed": Subclassed,
    "layer": lambda: keras.layers.Dense(K),
    "two inputs": two_inputs,
}


@pytest.mark.parametrize("make", BACKBONES.values(), ids=BACKBONES.keys())
def test_what_serves_is_what_predicts(make, tmp_path):
    model = SOPModel(make(), N, K, seed=0)
    model.compile("sgd")
    x = {"a": X, "b": 2 * X} if make is two_inputs else X
    model.fit(x, Y, verbose=0)
    model.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(tmp_path / "served")
    predicted = model.predict(x, verbose=0)
    np.testing.assert_allclose(served.serve(x), predicted, rtol=1e-6)
    # The signature that TensorFlow Serving calls.
    named = x if make is two_inputs else [X]
    signature = served.signatures["serving_default"]
    names = signature.structured_input_signature[1]
    values = named.values() if make is two_inputs else named
    keyed = dict(zip(sorted(names), map(tf.constant, values), strict=True))
    (outputs,) = signature(**keyed).values()
    np.testing.assert_allclose(outputs, predicted, rtol=1e-6)
    # One example, another batch size than in training.
    one = {name: a[:1] for name, a in x.items()} if make is two_inputs else x[:1]
    np.testing.assert_allclose(served.serve(one), predicted[:1], rtol=1e-5)
    # The kernel, the bias, and dropout's seed where there is one.
    shapes = {tuple(variable.shape) for variable in served.variables}
    assert shapes - {(2,)} == {(K,), (2 * D if make is two_inputs else D, K)}


def test_of_two_networks_the_first_serves(tmp_path):
    class Both(methods.CrossEntropy):
        num_networks = 2

        def loss(self, outputs, rows, batch):
            losses = [super(Both, self).loss(one, rows, batch)[0] for one in outputs]
            return sum(losses), {}

    model = NoisyLabelModel(BACKBONES["sequential"](), N, K, Both())
    model.compile("sgd")
    model.fit(X, Y, verbose=0)
    model.export(tmp_path, verbose=False)
    served = tf.saved_model.load(tmp_path)
    np.testing.assert_allclose(served.serve(X), model.predict(X, verbose=0), rtol=1e-6)
    assert len(served.variables) == 2


def test_before_anything_is_built(tmp_path):
    for backbone in (keras.layers.Dense(K), Subclassed()):
        with pytest.raises(ValueError, match=r"not yet been built|not been built yet"):
            SOPModel(backbone, N, K).export(tmp_path)
