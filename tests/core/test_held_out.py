"""What `validation_split` sets aside, and what is trained on."""

import keras
import numpy as np
import pytest

from sop_keras import NoisyLabelModel, methods

N, D, K = 20, 3, 2
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D)).astype(np.float32)
Y = np.arange(N) % K
WEIGHTS = {0: 1.0, 1: 10.0}


def made(method=None):
    start = keras.initializers.GlorotUniform(1)
    backbone = keras.Sequential(
        [keras.Input((D,)), keras.layers.Dense(K, kernel_initializer=start)]
    )
    model = NoisyLabelModel(backbone, N, K, method=method or methods.CrossEntropy())
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    return model


def fit(model, **arguments):
    arguments = {"epochs": 1, "batch_size": 5, "shuffle": False, **arguments}
    return model.fit(X, Y, verbose=0, **arguments).history


def test_weights_of_classes_are_of_training_alone():
    # As in Keras: the last quarter is 15 to 19, of which each counts once.
    model = made()
    history = fit(model, validation_split=0.25, class_weight=WEIGHTS)
    kernel, bias = (one.astype(np.float64) for one in model.backbone.get_weights())
    logits = X[15:].astype(np.float64) @ kernel + bias
    of_label = logits[np.arange(5), Y[15:]]
    expected = np.mean(np.log(np.exp(logits).sum(1)) - of_label)
    np.testing.assert_allclose(history["val_loss"], expected, rtol=1e-5)
    # What is trained on has the weights, as without a split.
    first = {"label": Y[:15], "index": np.arange(15)}
    other = made().fit(
        *(X[:15], first), batch_size=5, shuffle=False, verbose=0, class_weight=WEIGHTS
    )
    np.testing.assert_allclose(history["loss"], other.history["loss"], rtol=1e-6)


@pytest.mark.parametrize(("both", "seen"), [(True, N), (False, 15)])
def test_of_data_and_a_split_keras_takes_the_data(both, seen):
    looked_at = []

    class Looking(methods.TruncatedGCE):
        def before_epoch(self, look):
            looked_at.append(len(look.ids))
            return super().before_epoch(look)

    model = made(Looking(start=1))
    data = {"validation_data": (X[:4], Y[:4])} if both else {}
    fit(model, validation_split=0.25, **data)
    assert looked_at == [seen]
    assert model.training_record.num_written() == seen
