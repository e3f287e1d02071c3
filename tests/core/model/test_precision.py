"""u and v under mixed precision: float32, and never scaled with the loss."""

import functools

import keras
import numpy as np
import pytest
from keras import layers

from sop_keras import SOPModel
from sop_keras.core.example_tables import ExampleTables
from sop_keras.data.datasets.digits import load_digits

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


class Logits(layers.Layer):
    """The inputs, as logits, plus a weight that starts at 0."""

    def build(self, input_shape):
        self.offset = self.add_weight(shape=(K,), initializer="zeros")

    def call(self, inputs):
        return inputs + self.offset


# Multiples of 1/8 below 4: numbers of float16 and of bfloat16.
LOGITS = RNG.integers(-31, 32, (N, K)).astype(np.float32) / 8
STRONG = RNG.integers(-31, 32, (N, K)).astype(np.float32) / 8
PLUS = {"consistency_weight": 0.9, "balance_weight": 0.4}


def backbone_of_logits(policy):
    network = keras.Sequential([keras.Input((K,)), Logits(dtype=policy)])
    network.dtype_policy = policy
    return network


def of_given_logits(policy, x=LOGITS, optimizer=None, epochs=1, jit=False, **arguments):
    """A model whose logits are the same under all policies, trained."""
    network = backbone_of_logits(policy)
    model = SOPModel(network, N, K, init_std=0.3, seed=2, **arguments)
    rates = {"u_optimizer": 0.5, "v_optimizer": 0.7}
    model.compile(optimizer or keras.optimizers.SGD(0.0), jit_compile=jit, **rates)
    x = (x, STRONG) if arguments.get("consistency_weight") else x
    model.fit(x, Y, batch_size=4, epochs=epochs, shuffle=False, verbose=0)
    return model


def table(model):
    return np.concatenate([model.noise_table.u.numpy(), model.noise_table.v], axis=1)


@functools.cache
def table_of_float32(variant, plus, jit):
    arguments = PLUS if plus else {}
    return table(
        of_given_logits("float32", epochs=25, jit=jit, variant=variant, **arguments)
    )


# Each policy with each variant, and with SOP and SOP+.
@pytest.mark.parametrize(
    ("policy", "variant", "plus", "jit"),
    [
        ("mixed_float16", "paper", False, False),
        ("mixed_bfloat16", "paper", True, False),
        ("mixed_bfloat16", "reference", False, False),
        ("mixed_float16", "reference", True, False),
        ("mixed_float16", "reference", True, True),
        ("mixed_bfloat16", "reference", True, True),
    ],
)
def test_given_the_same_logits_u_and_v_are_float32s_to_the_last_bit(
    policy, variant, plus, jit
):
    arguments = PLUS if plus else {}
    model = of_given_logits(policy, epochs=25, jit=jit, variant=variant, **arguments)
    assert int(model.u_optimizer.iterations) == 100
    outputs = model.backbone(LOGITS)
    assert outputs.dtype == policy.removeprefix("mixed_")
    np.testing.assert_array_equal(np.asarray(outputs, np.float32), LOGITS)
    found, expected = table(model), table_of_float32(variant, plus, jit)
    np.testing.assert_array_equal(found, expected)
    # It went somewhere in these steps, and is not all at the bounds.
    start = table(SOPModel(keras.Sequential([Logits()]), N, K, init_std=0.3, seed=2))
    assert (np.abs(found - start) > 0.01).mean() > 0.5
    assert (np.abs(found) < 1).mean() > 0.5


@pytest.mark.parametrize("scale", [1.0, 2.0**15])
def test_with_any_loss_scale_u_and_v_are_those_of_none(scale):
    optimizer = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.SGD(0.0), initial_scale=scale
    )
    model = of_given_logits("mixed_float16", optimizer=optimizer, epochs=25)
    assert float(optimizer.dynamic_scale) == scale
    np.testing.assert_array_equal(
        table(model), table_of_float32("paper", plus=False, jit=False)
    )


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_the_gradients_of_the_rows_are_float32_and_not_scaled(policy, monkeypatch):
    seen, update = [], ExampleTables.update

    def watched(self, ids, brought, updated, **options):
        seen.append(brought)
        update(self, ids, brought, updated, **options)

    monkeypatch.setattr(ExampleTables, "update", watched)
    model = SOPModel(backbone_of_logits(policy), N, K, init_std=0.3, seed=2, **PLUS)
    rates = {"u_optimizer": 10.0, "v_optimizer": 10.0}
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True, **rates)
    model.fit((LOGITS, STRONG), Y, batch_size=N, verbose=0)
    (brought,) = seen
    by_u, by_v = brought["u"], brought["v"]
    assert by_u.dtype == by_v.dtype == "float32"
    # |dL/dv| <= 4 |v| (1 + v^2) / N, with |v| < 2 at the start.
    assert 0 < np.abs(by_v).max() < 40 / N


def test_a_skipped_step_leaves_the_network_and_moves_the_rows_of_finite_examples():
    # 2e5 is infinite in float16: no gradient of the network is finite.
    x = LOGITS.copy()
    x[5] = 2e5
    model = SOPModel(backbone_of_logits("mixed_float16"), N, K, init_std=0.3, seed=2)
    model.compile(keras.optimizers.SGD(0.1), u_optimizer=0.5, v_optimizer=0.7)
    start = table(model)
    model.fit(x, Y, batch_size=N, shuffle=False, verbose=0)
    assert float(model.optimizer.dynamic_scale) == 2.0**14  # halved: it was skipped
    assert int(model.optimizer.iterations) == 0
    assert not model.backbone.get_weights()[0].any()
    found, others = table(model), np.arange(N) != 5
    np.testing.assert_array_equal(found[5], start[5])
    # The others step as without that example's infinity, in float32.
    exact = SOPModel(backbone_of_logits("float32"), N, K, init_std=0.3, seed=2)
    exact.compile(keras.optimizers.SGD(0.1), u_optimizer=0.5, v_optimizer=0.7)
    exact.fit(LOGITS, Y, batch_size=N, shuffle=False, verbose=0)
    np.testing.assert_array_equal(found[others], table(exact)[others])
    assert (found[others] != start[others]).any(axis=1).all()


def test_a_convolutional_network_learns_under_mixed_bfloat16():
    digits = load_digits().train
    x, y = digits.images[:512].astype(np.float32) / 255, digits.labels[:512]
    keras.utils.set_random_seed(1)
    policy = {"dtype": "mixed_bfloat16"}
    network = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(16, 3, activation="relu", **policy),
            layers.BatchNormalization(**policy),
            layers.Flatten(**policy),
            layers.Dense(10, **policy),
        ]
    )
    network.dtype_policy = "mixed_bfloat16"
    model = SOPModel(network, 512, 10, init_std=1e-4, seed=2)
    model.compile(
        keras.optimizers.SGD(0.05, momentum=0.9),
        jit_compile=False,
        metrics=["accuracy"],
    )
    history = model.fit(x, y, batch_size=64, epochs=6, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert history["loss"][-1] < history["loss"][0] / 3
    assert history["accuracy"][-1] > 0.9
    assert np.isfinite(table(model)).all()
    assert all(weight.dtype == np.float32 for weight in network.get_weights())
