"""MixUp: the published trajectory, its draws, limiting cases."""

import golden
import keras
import numpy as np
import pytest
import scipy.sparse
from keras import ops
from trajectory import trained

from sop_keras import NoisyLabelModel, methods
from sop_keras.methods.mixup import draws, mix_pairs

N, D, K, BATCH = 24, 4, 3, 8
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D)).astype(np.float32)
Y = RNG.integers(0, K, N)


def network():
    start = keras.initializers.GlorotUniform(1)
    return keras.Sequential(
        [keras.Input((D,)), keras.layers.Dense(K, kernel_initializer=start)]
    )


def compiled(method, seed=5):
    model = NoisyLabelModel(network(), N, K, method=method, seed=seed)
    model.compile(keras.optimizers.SGD(0.3, momentum=0.9))
    return model


def softmax(logits):
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def test_the_published_trajectory_with_the_files_draws():
    file = golden.arrays("mixup_k10")
    one_hot = np.eye(10, dtype=np.float32)[file["y"][file["idx"]]]
    found = []
    for step, logits in enumerate(file["logits"]):
        share, partners = np.float32(file["lam"][step]), file["perm"][step]
        x, labels = (
            np.array(mix_pairs(values[step], values[step], partners, share))
            for values in (file["x"], one_hot)
        )
        assert golden.error(x, file["mixed_x"][step]) < 1e-6
        # The gradient of cross entropy is by hand here; below, of `fit`.
        log_probs = np.array(ops.log_softmax(logits, axis=-1))
        loss = methods.MixUp().evaluation_loss(logits, labels, labels, True)
        found.append((np.mean(loss), (np.exp(log_probs) - labels) / len(labels)))
    losses, gradients = zip(*found, strict=True)
    assert golden.error(np.array(losses), file["loss"]) < 1e-5
    assert golden.error(np.stack(gradients), file["grad_logits"]) < 1e-5


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool"])
@pytest.mark.parametrize("kind", [methods.MixUp, methods.ELRPlus, methods.DivideMix])
def test_integers_are_not_mixed(kind, dtype):
    # Half of token 10 and half of token 2 is token 6.
    def tokens(dtype):
        inputs = {
            "a": keras.Input((D,), name="a"),
            "b": keras.Input((D,), name="b", dtype=dtype),
        }
        vectors = keras.layers.Embedding(30, 2)(inputs["b"])
        flat = keras.layers.Flatten()(vectors)
        joined = keras.layers.Concatenate()([inputs["a"], flat])
        return keras.Model(inputs, keras.layers.Dense(K)(joined))

    message = rf"^{kind.__name__} trains on mixed inputs.* input of {dtype}.*alpha=0"
    with pytest.raises(ValueError, match=message):
        NoisyLabelModel(tokens(dtype), N, K, method=kind())
    NoisyLabelModel(tokens(dtype), N, K, method=kind(alpha=0.0))
    NoisyLabelModel(tokens("float32"), N, K, method=kind())


def test_without_mixing_tokens_are_trained_on():
    layers = [keras.Input((D,), dtype="int32"), keras.layers.Embedding(30, 2)]
    layers += [keras.layers.Flatten(), keras.layers.Dense(K)]
    method = methods.MixUp(alpha=0.0)
    model = NoisyLabelModel(keras.Sequential(layers), N, K, method=method)
    model.compile("sgd", run_eagerly=True)
    history = model.fit(RNG.integers(0, 30, (N, D)), Y, verbose=0).history
    assert np.isfinite(history["loss"]).all()


@pytest.mark.parametrize("weights", [None, np.linspace(0, 2, N)])
def test_it_is_a_loop_in_float64(weights):
    model = compiled(methods.MixUp(alpha=0.4))
    options = {"batch_size": BATCH, "epochs": 2, "shuffle": False, "verbose": 0}
    history = model.fit(X, Y, sample_weight=weights, **options).history
    given = np.ones(N) if weights is None else weights
    (kernel, bias), step, losses = (
        (w.astype(float) for w in network().get_weights()),
        0,
        [],
    )
    velocity = [np.zeros_like(kernel), np.zeros_like(bias)]
    for _ in range(2):
        total = 0.0
        for start in range(0, N, BATCH):
            part = slice(start, start + BATCH)
            share, order = (np.array(one) for one in draws(0.4, 5, step, BATCH))
            step += 1
            assert 0.5 <= share <= 1
            x, y, w = X[part].astype(float), np.eye(K)[Y[part]], given[part]
            x = share * x + (1 - share) * x[order]
            probs = softmax(x @ kernel + bias)
            # lambda w CE(z, y) + (1 - lambda) w' CE(z, y').
            pairs = ((share, y, w), (1 - share, y[order], w[order]))
            by_logits = 0
            for factor, labels, weight in pairs:
                factor = (factor * weight)[:, None]
                total -= (factor * labels * np.log(probs)).sum()
                by_logits = by_logits + factor * (probs - labels) / BATCH
            gradients = x.T @ by_logits, by_logits.sum(axis=0)
            for place, gradient in enumerate(gradients):
                velocity[place] = 0.9 * velocity[place] - 0.3 * gradient
            kernel, bias = kernel + velocity[0], bias + velocity[1]
        losses.append(total / N)
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-5)
    for found, expected in zip(
        model.backbone.get_weights(), (kernel, bias), strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_alpha_0_is_cross_entropy_to_the_last_bit():
    found = []
    for method in (methods.MixUp(alpha=0.0), methods.CrossEntropy()):
        model = compiled(method)
        history = model.fit(X, Y, batch_size=BATCH, epochs=3, shuffle=False, verbose=0)
        found.append([*model.backbone.get_weights(), history.history["loss"]])
    for values, expected in zip(*found, strict=True):
        np.testing.assert_array_equal(values, expected)


def test_small_alpha_tends_to_cross_entropy():
    shares = [float(draws(1e-4, 0, step, 2)[0]) for step in range(20)]
    np.testing.assert_allclose(shares, 1, atol=1e-6)


def test_draws_hang_on_seed_and_step_alone():
    share, order = draws(1.0, 3, 7, 12)
    again = draws(1.0, 3, 7, 12)
    np.testing.assert_array_equal(order, again[1])
    assert float(share) == float(again[0])
    assert sorted(np.array(order).tolist()) == list(range(12))
    for seed, step in ((4, 7), (3, 8)):
        other = draws(1.0, seed, step, 12)
        assert float(other[0]) != float(share)
        assert np.array(other[1]).tolist() != np.array(order).tolist()


def test_compiled_by_xla_it_is_the_same():
    file = golden.arrays("mixup_k10")
    data = (file["logits"], file["idx"], file["y"])
    found = [trained(methods.MixUp(), *data, jit)[1:] for jit in (False, True)]
    for values, expected in zip(*found, strict=True):
        assert golden.error(values, expected) < 1e-5


def test_images_of_bytes_and_several_inputs():
    first, second = (keras.Input((2,), name=name) for name in "ab")
    outputs = keras.layers.Dense(K)(keras.layers.Concatenate()([first, second]))
    backbone = keras.Model({"a": first, "b": second}, outputs)
    model = NoisyLabelModel(backbone, N, K, method=methods.MixUp(), seed=0)
    model.compile("sgd")
    x = {"a": RNG.integers(0, 256, (N, 2)).astype(np.uint8), "b": X[:, :2]}
    history = model.fit(x, np.eye(K)[Y], batch_size=BATCH, verbose=0).history
    assert np.isfinite(history["loss"]).all()


def test_sparse_inputs_are_mixed_like_dense_ones():
    found = []
    for x in (X * (X > 0), scipy.sparse.csr_matrix(X * (X > 0))):
        model = compiled(methods.MixUp())
        history = model.fit(x, Y, batch_size=BATCH, shuffle=False, verbose=0).history
        found.append([history["loss"], *model.backbone.get_weights()])
    for values, expected in zip(*found, strict=True):
        np.testing.assert_allclose(values, expected, rtol=1e-5)


@pytest.mark.parametrize("alpha", [-0.1, float("inf"), float("nan"), "1"])
def test_numbers_out_of_range(alpha):
    with pytest.raises(ValueError, match="`alpha` must be a finite number of at least"):
        methods.MixUp(alpha=alpha)
