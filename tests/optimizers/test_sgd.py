import keras
import numpy as np
import pytest

from sop_keras.optimizers.schedules import step_decay
from sop_keras.optimizers.sgd import SGD


def torch_rule(start, gradients, rates, momentum, nesterov, l2):
    """PyTorch's documented update, one number at a time, in float64."""
    weights = np.array(start, np.float64)
    for place in np.ndindex(weights.shape):
        weight, buffer = weights[place], 0.0
        for gradient, rate in zip(gradients, rates, strict=True):
            g = gradient[place] + l2 * weight
            buffer = momentum * buffer + g
            weight -= rate * (g + momentum * buffer if nesterov else buffer)
        weights[place] = weight
    return weights


def apply_all(optimizer, variables, gradients):
    """Apply one list of gradients, one for each variable, after the other."""
    for step in gradients:
        optimizer.apply([np.asarray(g, "float32") for g in step], variables)


@pytest.mark.parametrize(
    ("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)]
)
@pytest.mark.parametrize("l2", [0.0, 0.05])
def test_fifty_steps_of_the_torch_rule_under_a_changing_rate(momentum, nesterov, l2):
    rng = np.random.default_rng(0)
    starts = [rng.normal(size=(2, 3)), rng.normal(size=4)]
    gradients = [[rng.normal(size=s.shape) for s in starts] for _ in range(50)]
    # Two epochs of 20 steps at 0.1, the rest at 0.01.
    rates = [0.1] * 40 + [0.01] * 10
    variables = [keras.Variable(s, dtype="float32") for s in starts]
    optimizer = SGD(step_decay(0.1, [2], 20), momentum, nesterov, l2)
    apply_all(optimizer, variables, gradients)
    for i, start in enumerate(starts):
        expected = torch_rule(
            start, [g[i] for g in gradients], rates, momentum, nesterov, l2
        )
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(variables[i]), expected, rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize(
    ("nesterov", "expected"),
    [
        # torch 2.13, float64: torch.optim.SGD([w], lr=0.1, momentum=0.9,
        # weight_decay=0.05, nesterov=...) from w = [1, -2], with w.grad set to
        # [sin(t + 1), cos(t + 1)] for t = 0 to 19 and lr set to 0.01 before t = 8;
        # w after t = 0, 7, 9 and 19.
        (
            False,
            [
                (0.910852902, -2.044030231),
                (0.368662362, -1.574828163),
                (0.343483444, -1.5475568),
                (0.327914621, -1.47933247),
            ],
        ),
        (
            True,
            [
                (0.830620513, -2.083657438),
                (0.262198164, -1.58598221),
                (0.240936529, -1.542562282),
                (0.232706681, -1.493665973),
            ],
        ),
    ],
)
def test_numbers_of_torch(nesterov, expected):
    variable = keras.Variable([1.0, -2.0])
    optimizer = SGD(0.1, momentum=0.9, nesterov=nesterov, l2=0.05)
    path = []
    for t in range(20):
        if t == 8:
            optimizer.learning_rate = 0.01
        apply_all(optimizer, [variable], [[[np.sin(t + 1), np.cos(t + 1)]]])
        path.append(keras.ops.convert_to_numpy(variable))
    np.testing.assert_allclose(
        [path[t] for t in (0, 7, 9, 19)], expected, rtol=2e-6, atol=2e-6
    )


def test_a_lower_rate_shrinks_the_momentum_step_at_once():
    variable = keras.Variable([0.0])
    optimizer = SGD(1.0, momentum=0.9)
    apply_all(optimizer, [variable], [[[1.0]]])
    optimizer.learning_rate = 0.1
    apply_all(optimizer, [variable], [[[0.0]]])
    # buffer 1, then 0.9: w = -1, then -1 - 0.1 * 0.9. Keras' velocity would keep the
    # old rate: -1 - 0.9 * 1 = -1.9.
    assert float(variable[0]) == pytest.approx(-1.09, rel=1e-6)


@pytest.mark.parametrize(
    ("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)]
)
def test_equals_keras_at_a_constant_rate_without_l2(momentum, nesterov):
    rng = np.random.default_rng(1)
    gradients = [[rng.normal(size=5)] for _ in range(30)]
    ours, peer = keras.Variable(np.ones(5)), keras.Variable(np.ones(5))
    apply_all(SGD(0.05, momentum, nesterov), [ours], gradients)
    apply_all(keras.optimizers.SGD(0.05, momentum, nesterov), [peer], gradients)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(ours),
        keras.ops.convert_to_numpy(peer),
        rtol=1e-5,
        atol=1e-5,
    )


def test_l2_decays_batch_norm_and_biases_too():
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.BatchNormalization(beta_initializer="ones"),
            keras.layers.Dense(2, bias_initializer="ones"),
        ]
    )
    variables = model.trainable_variables
    assert len(variables) == 4  # scale, offset, kernel, bias
    before = [keras.ops.convert_to_numpy(v) for v in variables]
    apply_all(SGD(0.5, l2=0.2), variables, [[np.zeros(v.shape) for v in variables]])
    for old, variable in zip(before, variables, strict=True):
        # w - 0.5 * (0 + 0.2 w)
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(variable), 0.9 * old, rtol=1e-6
        )


@pytest.mark.parametrize("by", ["name", "variable"])
def test_l2_leaves_out_what_is_excluded(by):
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(2, kernel_initializer="ones", bias_initializer="ones"),
        ]
    )
    kernel, bias = model.trainable_variables
    optimizer = SGD(0.1, l2=0.5)
    excluded = {"var_names": ["bias"]} if by == "name" else {"var_list": [bias]}
    optimizer.exclude_from_weight_decay(**excluded)
    apply_all(optimizer, [kernel, bias], [[np.zeros(kernel.shape), np.zeros(2)]])
    # 1 - 0.1 * 0.5 and, without, 1.
    np.testing.assert_allclose(kernel.numpy(), np.full((3, 2), 0.95), rtol=1e-6)
    np.testing.assert_array_equal(bias.numpy(), [1, 1])


@pytest.mark.parametrize("momentum", [0.0, 0.85])
def test_offsets_move_at_a_rate_of_their_own_and_shrink_as_all_else(momentum):
    layers = [keras.layers.BatchNormalization(), keras.layers.Dense(4)]
    model = keras.Sequential([keras.Input((3,)), *layers])
    variables = model.trainable_variables
    assert [v.name for v in variables] == ["gamma", "beta", "kernel", "bias"]
    rng = np.random.default_rng(0)
    starts = [rng.normal(size=v.shape) for v in variables]
    for variable, start in zip(variables, starts, strict=True):
        variable.assign(start)
    gradients = [[rng.normal(size=s.shape) for s in starts] for _ in range(20)]
    nesterov = momentum > 0
    optimizer = SGD(0.01, momentum, nesterov, l2=0.05, offset_rate_factor=8.0)
    apply_all(optimizer, variables, gradients)
    for i, (variable, start) in enumerate(zip(variables, starts, strict=True)):
        factor = 8 if variable.name == "beta" else 1
        expected = torch_rule(
            start,
            [g[i] for g in gradients],
            [0.01 * factor] * 20,
            momentum,
            nesterov,
            0.05 / factor,
        )
        found = keras.ops.convert_to_numpy(variable)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_factor_of_1_is_no_factor_and_fit_has_the_rate_of_offsets():
    def trained(**options):
        layers = [keras.Input((1,)), keras.layers.BatchNormalization(scale=False)]
        model = keras.Sequential(layers)
        model.compile(SGD(0.1, l2=0.5, **options), loss="mse")
        model.fit(np.zeros((2, 1)), np.ones((2, 1)), epochs=2, shuffle=False, verbose=0)
        return float(model.layers[0].beta[0])

    assert trained() == trained(offset_rate_factor=1.0)
    # The output is the offset b, the loss (b - 1)^2. b = 0: g = -2, b = 0.1 * 3 * 2
    # = 0.6; then g = -0.8 + 0.5 / 3 * 0.6 = -0.7, b = 0.6 + 0.3 * 0.7.
    assert trained(offset_rate_factor=3.0) == pytest.approx(0.81, rel=1e-6)


def test_clipping_comes_before_l2():
    variable = keras.Variable([10.0])
    apply_all(SGD(1.0, l2=0.1, clipnorm=1.0), [variable], [[[2.0]]])
    # clip(2) + 0.1 * 10 = 2; clipping afterwards would give clip(3) = 1.
    assert float(variable[0]) == pytest.approx(8.0)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_fit(jit_compile):
    model = keras.Sequential(
        [
            keras.Input((1,)),
            keras.layers.Dense(1, use_bias=False, kernel_initializer="ones"),
        ]
    )
    optimizer = SGD(0.1, momentum=0.5, l2=0.5)
    model.compile(optimizer, loss="mse", jit_compile=jit_compile)
    model.fit(np.ones((2, 1)), np.zeros((2, 1)), batch_size=1, verbose=0)
    # The loss of an example is w^2, its gradient 2 w.
    # w = 1: g = 2 + 0.5 = 2.5, buffer 2.5, w = 0.75;
    # then g = 1.5 + 0.375 = 1.875, buffer 1.25 + 1.875 = 3.125, w = 0.75 - 0.3125.
    assert float(model.layers[0].kernel[0, 0]) == pytest.approx(0.4375, rel=1e-6)


def test_under_loss_scaling():
    variable = keras.Variable([1.0])
    optimizer = keras.optimizers.LossScaleOptimizer(
        SGD(0.1, momentum=0.5, l2=0.5), initial_scale=4.0
    )
    # The gradients 2 and 1.5 of the test above, scaled by 4; L2 must not be.
    apply_all(optimizer, [variable], [[[8.0]], [[6.0]]])
    assert float(variable[0]) == pytest.approx(0.4375, rel=1e-6)


def test_config_round_trip():
    more = {"global_clipnorm": 5.0, "offset_rate_factor": 64.0}
    optimizer = SGD(0.02, 0.9, True, 5e-4, "theta", **more)
    restored = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(restored) is SGD
    assert restored.get_config() == optimizer.get_config()
    assert restored.l2 == 5e-4
    assert restored.momentum == 0.9
    assert restored.nesterov is True
    assert restored.name == "theta"
    assert restored.global_clipnorm == 5.0
    assert restored.offset_rate_factor == 64.0


def test_saving_a_model_keeps_the_momentum(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((1,)),
            keras.layers.Dense(1, use_bias=False, kernel_initializer="ones"),
        ]
    )
    model.compile(SGD(0.1, momentum=0.5, l2=0.5), loss="mse")
    x, y = np.ones((1, 1)), np.zeros((1, 1))
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras")
    restored.fit(x, y, verbose=0)
    # The second step of test_fit; without the buffer of the first it would be
    # 0.75 - 0.1875 = 0.5625.
    assert float(restored.layers[0].kernel[0, 0]) == pytest.approx(0.4375, rel=1e-6)
    assert int(restored.optimizer.iterations) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight_decay": 5e-4}, r"decoupled.*Pass l2=0\.0005"),
        ({"l2": -1e-4}, "`l2` must be a finite number of at.*l2=-0.0001"),
        ({"l2": float("nan")}, "`l2` must be a finite number of at.*l2=nan"),
        ({"offset_rate_factor": 0}, "`offset_rate_factor` must be positive.*=0"),
        ({"nesterov": True}, "needs a momentum above 0.*momentum=0.0"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        SGD(**arguments)
