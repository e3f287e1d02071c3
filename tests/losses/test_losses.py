"""The losses in any Keras model: saved, reduced, weighted, of probabilities."""

import keras
import numpy as np
import pytest
import tensorflow as tf

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
@pytest.mark.parametrize("label", [-1.0, K, 2.7, 255, np.nan])
def test_what_is_no_class_number_has_no_loss(name, label):
    loss = MAKERS[name](from_logits=True, reduction=None)
    found = np.array(loss(np.array([label, 1.0]), LOGITS[:2]))
    assert np.isnan(found).tolist() == [True, False]
    compiled = tf.function(loss, jit_compile=True)
    found = np.array(compiled(np.float32([label, 1.0]), LOGITS[:2]))
    assert np.isnan(found).tolist() == [True, False]


@every_loss
def test_a_model_of_one_output_is_refused(name):
    message = r"takes an output for each class.*shape \(20, 1\).*Dense\(2\)"
    with pytest.raises(ValueError, match=message):
        MAKERS[name]()(Y % 2, PROBS[:, :1])


@every_loss
def test_logits_of_minus_infinity(name):
    # A class that a mask rules out: p = (1/2, 1/2, 0, 0), as without it.
    logits = tf.Variable([[0.0, 0.0, -np.inf, -np.inf]])
    with tf.GradientTape() as tape:
        value = MAKERS[name](from_logits=True)(np.array([0]), logits)
    gradient = tape.gradient(value, logits)[0].numpy()
    # dL/dp_0 times p_0 p_1 = 1/4: of (1 - p^q)/q, -p^(q-1); of alpha CE + beta RCE,
    # -alpha/p + beta A; of -log(0.7 p_0 + 0.1 p_1) = -log 0.4, -0.6 / 0.4.
    expected = {
        "GCE": ((1 - 0.5**0.6) / 0.6, -(0.5**-0.4) / 4),
        "SymmetricCrossEntropy": (
            0.5 * np.log(2) - np.log(1e-4),
            (-0.5 * 2 + 2 * np.log(1e-4)) / 4,
        ),
        "Forward": (-np.log(0.4), -0.6 / 0.4 / 4),
    }[name]
    np.testing.assert_allclose(value, expected[0], rtol=1e-5)
    slope = expected[1]
    np.testing.assert_allclose(gradient, [slope, -slope, 0, 0], rtol=1e-5, atol=1e-6)


def test_the_reverse_of_soft_labels():
    # Of p = (0.9, 0.1) and y = (0.5, 0.5): -log 1e-4 (1 - sum_k y_k p_k) = 9.2103 / 2.
    loss = losses.SymmetricCrossEntropy(0.0, 1.0)
    value = loss(np.float32([[0.5, 0.5]]), np.float32([[0.9, 0.1]]))
    np.testing.assert_allclose(value, 9.2103404 * 0.5, rtol=1e-6)


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
