"""Running averages of networks' weights: what moves them, and what asking them does."""

import keras
import numpy as np
import pytest
from keras import layers
from turns import BATCH, K, N, Turns, X, Y, fit, turns

from sop_keras import NoisyLabelModel


def test_the_average_is_asked_without_moving_anything():
    model = turns()
    model.fit(X, Y, batch_size=BATCH, epochs=1, verbose=0)
    before = [one.numpy() for one in model.variables]
    said = model._ask(1, X[:5], averaged=True)
    again = model._ask(1, X[:5], averaged=True)
    for one, value in zip(model.variables, before, strict=True):
        if "seed" not in one.path:
            np.testing.assert_array_equal(one.numpy(), value)
    assert not np.array_equal(said, again)  # dropout drew anew


def test_averages_begin_with_the_weights_of_the_first_fit():
    model = turns(Turns(decay=1.0))
    loaded = [2.0 * one for one in model.peer.get_weights()]
    model.peer.set_weights(loaded)
    fit(model, epochs=1)
    averages = [one.numpy() for one in model.averages.averages[1]]
    kept = [loaded[0], loaded[1], loaded[2], loaded[3], loaded[6], loaded[7]]
    for average, weight in zip(averages, kept, strict=True):
        np.testing.assert_array_equal(average, weight)


def test_networks_without_weights_yet_are_refused_where_averages_are_kept():
    unbuilt = keras.Sequential([layers.Dense(K)])
    with pytest.raises(ValueError, match="Turns keeps averages"):
        NoisyLabelModel(unbuilt, N, K, method=Turns(), peer=keras.Sequential([]))


class Sub(keras.Model):
    """As people write them: layers within learn of `training` from the call."""

    def __init__(self):
        super().__init__()
        self.norm, self.dense = layers.BatchNormalization(), layers.Dense(K)

    def call(self, x):
        return self.dense(self.norm(x))


def test_averages_of_a_subclassed_network_answer_in_the_mode_of_training():
    networks = [Sub(), Sub()]
    for one in networks:
        one(X)
    model = NoisyLabelModel(networks[0], N, K, method=Turns(), peer=networks[1])
    model.compile("sgd")
    said = model._ask(1, X, averaged=True)
    scaled = (X - X.mean(0)) / np.sqrt(X.var(0) + 1e-3)
    np.testing.assert_allclose(said, networks[1].dense(scaled), atol=1e-5)


def test_averages_move_when_weights_do():
    # Two batches are one step: of 4 batches in a pass, 2 steps, each averaged once.
    model = turns(Turns(decay=0.5))
    model.compile(keras.optimizers.SGD(0.1, gradient_accumulation_steps=2))
    average, kept = model.averages.averages[0][0], []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            kept.append((model.backbone.weights[0].numpy(), average.numpy()))

    first = average.numpy()
    fit(model, epochs=1, callbacks=[Watch()])
    np.testing.assert_array_equal(kept[0][1], first)
    np.testing.assert_allclose(kept[1][1], (first + kept[1][0]) / 2, rtol=1e-5)
    np.testing.assert_array_equal(kept[2][1], kept[1][1])


def test_compiling_again_leaves_averages_as_they_are():
    model = turns()
    fit(model, epochs=1)
    before = model.averages.averages[0][0].numpy()
    model.compile(keras.optimizers.SGD(0.0))
    fit(model, epochs=2, initial_epoch=1)
    after = model.averages.averages[0][0].numpy()
    weight = model.backbone.weights[0].numpy()
    # Nearer to the weights with each of 5 steps, by 0.9.
    np.testing.assert_allclose(after, weight + 0.9**5 * (before - weight), atol=1e-5)
    assert np.abs(after - weight).max() > 1e-4


def test_layers_that_were_frozen_since_are_refused_where_averages_are_kept():
    model = turns()
    model.backbone.layers[0].trainable = False
    model.compile("sgd")
    with pytest.raises(ValueError, match="were layers frozen, or unfrozen"):
        fit(model)
