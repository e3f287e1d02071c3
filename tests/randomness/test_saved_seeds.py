import keras
import numpy as np
import pytest
from keras import layers

from sop_keras.core.saved_seeds import SavedSeeds


class Plain(keras.Model):
    def __init__(self, dropouts=2):
        super().__init__()
        self.inner = keras.Sequential(
            [layers.Dense(3)] + [layers.Dropout(0.5) for _ in range(dropouts)]
        )
        self.normalize = layers.BatchNormalization()

    def call(self, inputs, training=None):
        return self.normalize(self.inner(inputs, training=training))


class Saving(SavedSeeds, Plain):
    pass


def used(model):
    """Built, and its dropout layers called several times."""
    for _ in range(3):
        model(np.ones((2, 2)), training=True)
    return model


def seeds(model):
    return [layer.seed_generator.state.numpy() for layer in model.inner.layers[1:]]


def test_seeds_come_back_with_the_weights(tmp_path):
    saved, other = used(Saving()), used(Saving())
    assert not np.array_equal(seeds(saved), seeds(other))
    saved.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(seeds(other), seeds(saved))
    for found, expected in zip(other.weights, saved.weights, strict=True):
        np.testing.assert_array_equal(found, expected)
    # The counter is part of it: the state is (seed, number of calls).
    assert [state[1] for state in seeds(other)] == [3, 3]


def test_keras_still_saves_no_seeds(tmp_path):
    # Else this class can go.
    saved, other = used(Plain()), used(Plain())
    saved.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    assert not np.array_equal(seeds(other), seeds(saved))


@pytest.mark.parametrize(("there", "here"), [(1, 2), (2, 1), (2, 0)])
def test_layers_without_weights_may_come_and_go(there, here, tmp_path):
    saved, other = used(Saving(there)), used(Saving(here))
    before = seeds(other)
    saved.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    common = min(there, here)
    np.testing.assert_array_equal(seeds(other)[:common], seeds(saved)[:common])
    np.testing.assert_array_equal(seeds(other)[common:], before[common:])
