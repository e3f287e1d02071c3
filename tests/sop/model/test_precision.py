"""u and v under mixed precision: float32, and never scaled with the loss."""

import keras
import numpy as np
import pytest
from keras import layers

from sop_keras import SOPModel

N, D, K = 16, 4, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D)).astype(np.float32)
Y = RNG.integers(0, K, N)


def backbone(policy):
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [keras.Input((D,)), layers.Dense(K, dtype=policy)], name="backbone"
    )


def built_under(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        return backbone(policy)
    finally:
        keras.config.set_dtype_policy(before)


def fitted(network, optimizer, from_logits=True):
    model = SOPModel(network, N, K, init_std=0.3, seed=2, from_logits=from_logits)
    model.compile(optimizer, u_optimizer=2.0, v_optimizer=3.0)
    history = model.fit(X, Y, batch_size=8, epochs=2, shuffle=False, verbose=0).history
    return model, history


@pytest.mark.parametrize(
    ("policy", "step"), [("mixed_float16", 2**-11), ("mixed_bfloat16", 2**-8)]
)
def test_like_float32_within_the_rounding_of_the_logits(policy, step):
    expected, _ = fitted(built_under("float32"), keras.optimizers.SGD(0.05))
    model, history = fitted(built_under(policy), keras.optimizers.SGD(0.05))
    assert model.backbone(X).dtype == policy.removeprefix("mixed_")
    scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == (policy == "mixed_float16")
    for name in ("u", "v"):
        found, exact = (getattr(m.noise_table, name) for m in (model, expected))
        assert found.dtype == "float32"
        # A loss scale of 32,768 left in a gradient would throw every row to +-1.
        np.testing.assert_allclose(found.numpy(), exact.numpy(), atol=20 * step)
        # And the values themselves are no rounded ones.
        assert (found.numpy() != found.numpy().astype(np.float16)).any()
    for metric in ("loss", "ce_loss", "mse_loss"):
        assert np.isfinite(history[metric]).all()


def test_the_loss_scale_does_not_reach_the_table():
    tables = []
    for scale in (1.0, 2.0**12):
        optimizer = keras.optimizers.LossScaleOptimizer(
            keras.optimizers.SGD(0.0), initial_scale=scale
        )
        model, _ = fitted(built_under("mixed_float16"), optimizer)
        assert model.optimizer is optimizer
        tables.append((model.noise_table.u.numpy(), model.noise_table.v.numpy()))
    np.testing.assert_array_equal(tables[0][0], tables[1][0])
    np.testing.assert_array_equal(tables[0][1], tables[1][1])


def test_an_overflow_of_the_scaled_gradients_skips_the_network_alone():
    optimizer = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.SGD(0.1), initial_scale=2.0**60
    )
    network = built_under("mixed_float16")
    weights = network.get_weights()
    model = SOPModel(network, N, K, init_std=0.3, seed=2)
    model.compile(optimizer, u_optimizer=2.0, v_optimizer=3.0)
    before = model.noise_table.v.numpy()
    model.fit(X, Y, batch_size=N, verbose=0)
    np.testing.assert_array_equal(network.get_weights()[0], weights[0])
    assert np.isfinite(model.noise_table.v.numpy()).all()
    assert (model.noise_table.v.numpy() != before).any()


def test_the_policy_is_the_backbones():
    model = SOPModel(built_under("mixed_float16"), N, K)
    assert model.dtype_policy.name == "mixed_float16"
    assert SOPModel(built_under("float32"), N, K).dtype_policy.name == "float32"
    named = SOPModel(built_under("mixed_float16"), N, K, dtype="float32")
    assert named.dtype_policy.name == "float32"


def test_evaluation_is_float32():
    model, _ = fitted(built_under("mixed_float16"), keras.optimizers.SGD(0.05))
    logits = model.predict(X, verbose=0).astype(np.float64)
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[range(N), Y]
    # float16 losses would be off by up to 5e-4.
    assert model.evaluate(X, Y, verbose=0) == pytest.approx(losses.mean(), rel=1e-6)


def test_two_views_are_compared_in_float32():
    network = built_under("mixed_float16")
    strong = (X + RNG.normal(0, 0.1, X.shape)).astype(np.float32)
    logits = network(np.concatenate([X, strong])).numpy()
    assert logits.dtype == np.float16
    logs = logits.astype(np.float64)
    logs -= np.log(np.exp(logs).sum(axis=1, keepdims=True))
    divergence = (np.exp(logs[:N]) * (logs[:N] - logs[N:])).sum(axis=1).mean()
    model = SOPModel(network, N, K, consistency_weight=0.9, init_std=0.3, seed=2)
    model.compile(keras.optimizers.SGD(0.05), u_optimizer=2.0, v_optimizer=3.0)
    history = model.fit((X, strong), Y, batch_size=N, verbose=0).history
    # In float16 it would be off by about 2^-11 of the logarithms, of size 1.
    found = history["consistency_loss"][0]
    assert found == pytest.approx(divergence, abs=2e-7)
    total = history["ce_loss"][0] + 0.9 * found
    assert history["loss"][0] == pytest.approx(total, rel=1e-6)


def test_an_overflow_of_one_example_leaves_the_table_finite():
    # 2e5 is beyond float16's 65,504: logits of infinity, probabilities of NaN.
    x = X.copy()
    x[3] = 2e5
    network = built_under("mixed_float16")
    model = SOPModel(network, N, K, init_std=0.3, seed=2)
    model.compile(keras.optimizers.SGD(0.1), u_optimizer=2.0, v_optimizer=3.0)
    u, v = model.noise_table.u.numpy(), model.noise_table.v.numpy()
    model.fit(x, Y, batch_size=N, verbose=0)
    assert np.isfinite(model.noise_table.u.numpy()).all()
    np.testing.assert_array_equal(model.noise_table.u.numpy()[3], u[3])
    np.testing.assert_array_equal(model.noise_table.v.numpy()[3], v[3])
    history = model.fit(X, Y, batch_size=N, verbose=0).history
    assert np.isfinite(history["loss"]).all()
