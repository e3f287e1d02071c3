"""The losses in any Keras model: saved, reduced, weighted, of probabilities."""

import keras
import numpy as np
import pytest

from sop_keras import losses

RNG = np.random.default_rng(0)
N, D, K = 20, 3, 4
X = RNG.normal(size=(N, D)).astype(np.float32)
Y = RNG.integers(0, K, N)
LOGITS = RNG.normal(0, 3, (N, K)).astype(np.float32)
PROBS = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
WEIGHTS = RNG.uniform(0, 2, N).astype(np.float32)
T = 0.6 * np.eye(K) + 0.1

MAKERS = {
    "GCE": lambda **options: losses.GCE(q=0.6, **options),
    "SymmetricCrossEntropy": lambda **options: losses.SymmetricCrossEntropy(
        alpha=0.5, beta=2.0, **options
    ),
    "Forward": lambda **options: losses.Forward(transition=T, **options),
}
# The losses of PROBS, in float64.
GIVEN = PROBS.astype(np.float64)[np.arange(N), Y]
EXPECTED = {
    "GCE": (1 - GIVEN**0.6) / 0.6,
    "SymmetricCrossEntropy": -0.5 * np.log(GIVEN) - 2 * np.log(1e-4) * (1 - GIVEN),
    "Forward": -np.log((PROBS.astype(np.float64) @ T)[np.arange(N), Y]),
}

every_loss = pytest.mark.parametrize("name", MAKERS)


def test_these_are_all():
    assert sorted(losses.__all__) == sorted(MAKERS)


@every_loss
def test_of_logits_and_of_probabilities(name):
    for from_logits, outputs in ((True, LOGITS), (False, PROBS), (False, 3 * PROBS)):
        loss = MAKERS[name](from_logits=from_logits, reduction=None)
        for labels in (Y, Y[:, None], np.eye(K)[Y]):
            found = loss(labels, outputs)
            np.testing.assert_allclose(found, EXPECTED[name], rtol=2e-5)


@every_loss
def test_reductions_and_weights(name):
    expected = EXPECTED[name]
    for reduction, value in (
        ("sum_over_batch_size", expected.mean()),
        ("sum", expected.sum()),
    ):
        loss = MAKERS[name](from_logits=True, reduction=reduction)
        np.testing.assert_allclose(loss(Y, LOGITS), value, rtol=1e-5)
    weighted = MAKERS[name](from_logits=True)(Y, LOGITS, sample_weight=WEIGHTS)
    np.testing.assert_allclose(weighted, (expected * WEIGHTS).mean(), rtol=1e-5)


@every_loss
def test_labels_of_pixels(name):
    # Outputs of any shape that ends in classes: (batch_size, height, width, K).
    loss = MAKERS[name](from_logits=True, reduction=None)
    found = loss(Y.reshape(5, 2, 2), LOGITS.reshape(5, 2, 2, K))
    np.testing.assert_allclose(found, EXPECTED[name].reshape(5, 2, 2), rtol=2e-5)


@every_loss
def test_saved_with_a_model_it_trains_on(name, tmp_path):
    model = keras.Sequential([keras.Input((D,)), keras.layers.Dense(K)])
    loss = MAKERS[name](from_logits=True)
    model.compile("sgd", loss, metrics=["accuracy"])
    model.fit(X, Y, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.loss) is type(loss)
    assert loaded.loss.get_config() == loss.get_config()
    found = [one.fit(X, Y, verbose=0, shuffle=False).history for one in (model, loaded)]
    assert found[0] == found[1]


@every_loss
def test_in_float16_it_is_computed_in_float32(name):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = keras.Sequential([keras.Input((D,)), keras.layers.Dense(K)])
        model.compile("sgd", MAKERS[name](from_logits=True), jit_compile=False)
        history = model.fit(1e3 * X, Y, epochs=2, verbose=0).history
    finally:
        keras.config.set_dtype_policy(before)
    assert np.isfinite(history["loss"]).all()
    assert all(np.isfinite(one).all() for one in model.get_weights())


@every_loss
def test_it_says_how_it_is_made(name):
    config = MAKERS[name]().get_config()
    assert config["from_logits"] is False
    assert type(MAKERS[name]()).from_config(config).get_config() == config
