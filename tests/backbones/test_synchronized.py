import keras
import numpy as np
import pytest
from keras import layers

from sop_keras.backbones.build import build_backbone
from sop_keras.backbones.synchronized import synchronize_batch_norm


def norms(model):
    return [x for x in model.layers if isinstance(x, layers.BatchNormalization)]


def test_every_normalisation_of_a_backbone():
    model = build_backbone("resnet34", (32, 32, 3), 10, seed=0)
    assert not any(layer.synchronized for layer in norms(model))
    synchronize_batch_norm(model)
    # 33 convolutions in blocks and stem, 3 in shortcuts that change the width.
    assert len(norms(model)) == 36
    assert all(layer.synchronized for layer in norms(model))


def test_nested_models():
    inner = keras.Sequential([keras.Input((4,)), layers.BatchNormalization()])
    middle = keras.Sequential([keras.Input((4,)), inner, layers.Dense(4)])
    outer = keras.Sequential([keras.Input((4,)), middle, layers.BatchNormalization()])
    synchronize_batch_norm(outer)
    assert inner.layers[0].synchronized
    assert outer.layers[1].synchronized


def test_it_is_saved_with_the_model(tmp_path):
    model = keras.Sequential([keras.Input((4,)), layers.BatchNormalization()])
    synchronize_batch_norm(model)
    model.save(tmp_path / "model.keras")
    (loaded,) = norms(keras.saving.load_model(tmp_path / "model.keras"))
    assert loaded.synchronized


def test_on_one_device_the_numbers_are_those_of_the_batch():
    model = keras.Sequential([keras.Input((3,)), layers.BatchNormalization()])
    synchronize_batch_norm(model)
    x = np.random.default_rng(0).normal(2, 3, (64, 3)).astype("float32")
    out = model(x, training=True)
    expected = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-3)  # Keras' epsilon
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-5)
    # The moving averages, of momentum 0.99, start at 0 and 1.
    _, _, mean, variance = model.layers[0].get_weights()
    assert mean == pytest.approx(0.01 * x.mean(0), abs=1e-6)
    assert variance == pytest.approx(0.99 + 0.01 * x.var(0), abs=1e-5)


def test_a_network_without_any_is_left_alone():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    before = model.get_config()
    synchronize_batch_norm(model)
    assert model.get_config() == before
