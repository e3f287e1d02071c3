"""Gradients accumulated over several batches: one large batch, for u and v as well."""

import keras
import numpy as np
import pytest
from keras import layers

from sop_keras import SOPModel
from sop_keras.optimizers.sgd import SGD

N, D, K = 64, 5, 4
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D)).astype(np.float32)
Y = RNG.integers(0, K, N)
RATES = {"u_optimizer": 4.0, "v_optimizer": 6.0}


def model_of(optimizer, **arguments):
    keras.utils.set_random_seed(1)
    network = [keras.Input((D,)), layers.Dense(8, "tanh"), layers.Dense(K)]
    model = SOPModel(keras.Sequential(network), N, K, init_std=0.2, seed=2, **arguments)
    model.compile(optimizer, **RATES)
    return model


def values(model):
    """The network's weights, u and v, as they are."""
    table = model.noise_table
    return [*model.backbone.get_weights(), table.u.numpy(), table.v.numpy()]


def plain(momentum):
    return lambda **options: keras.optimizers.SGD(0.1, momentum=momentum, **options)


def with_l2(**options):
    return SGD(0.1, momentum=0.9, l2=0.05, **options)


def scaled(**options):
    inner = with_l2(**options)
    return keras.optimizers.LossScaleOptimizer(inner, initial_scale=2.0**10)


@pytest.mark.parametrize(
    ("optimizer", "arguments"),
    [
        (plain(0.0), {}),
        (plain(0.9), {"variant": "reference"}),
        (plain(0.9), {"consistency_weight": 0.9}),
        (with_l2, {}),
        (scaled, {}),
    ],
    ids=["sgd", "momentum", "two views", "l2", "loss scale"],
)
def test_four_batches_of_8_are_one_of_32(optimizer, arguments):
    # The order of the examples: each is met once in 32, and again in every epoch.
    x = (X, X[:, ::-1].copy()) if "consistency_weight" in arguments else X
    fit = {"epochs": 3, "shuffle": False, "verbose": 0}
    whole = model_of(optimizer(), **arguments)
    start = values(whole)
    whole.fit(x, Y, batch_size=32, **fit)
    parts = model_of(optimizer(gradient_accumulation_steps=4), **arguments)
    parts.fit(x, Y, batch_size=8, **fit)
    assert int(parts.optimizer.iterations) == int(whole.optimizer.iterations) == 6
    for found, expected, before in zip(
        values(parts), values(whole), start, strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
        assert np.abs(expected - before).max() > 0.01


def test_the_rows_gradients_are_divided_by_the_accumulated_batches():
    network = keras.Sequential([keras.Input((2,)), layers.Dense(2)])
    network.set_weights([np.zeros((2, 2)), np.zeros(2)])
    model = SOPModel(network, 2, 2)
    model.compile(
        keras.optimizers.SGD(0.0, gradient_accumulation_steps=4),
        u_optimizer=10.0,
        v_optimizer=3.0,
    )
    model.noise_table.u.assign([[0.2], [0.2]])
    model.noise_table.v.assign([[0.1, 0.3], [0.1, 0.3]])
    model.fit(np.ones((2, 2)), np.zeros(2, int), batch_size=2, verbose=0)
    # Both examples: p = (1/2, 1/2), label and argmax 0, s = (0.2^2, -0.3^2), so
    # w = (0.54, 0.41), S = 0.95. With B = 2 examples in each of k = 4 batches,
    # du = 2 * 0.2 (1/0.95 - 1/0.54) / (2 * 4) = -0.319688 / 8,
    # dv_1 = -4 * 0.3 (0 - 0.09) / 8 = 0.108 / 8, dv_0 = 0.
    u, v = 0.2 + 10 * 0.319688 / 8, 0.3 - 3 * 0.108 / 8
    np.testing.assert_allclose(model.noise_table.u, [[u], [u]], rtol=1e-5)
    np.testing.assert_allclose(model.noise_table.v, [[0.1, v], [0.1, v]], rtol=1e-5)


def test_what_an_epoch_leaves_over_counts_in_the_next():
    """20 examples are 3 batches of 8, 8 and 4; every 4 batches the network steps."""

    class Recorder(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            after.append(values(self.model))

    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=4)
    model = model_of(optimizer)
    after = [values(model)]
    model.fit(
        X[:20],
        Y[:20],
        batch_size=8,
        epochs=2,
        shuffle=False,
        callbacks=[Recorder()],
        verbose=0,
    )
    # The same batches one by one, each from where the run was: with a learning rate of
    # 1 and no accumulation, a step of the network is its batch's gradient.
    single = model_of(keras.optimizers.SGD(1.0))
    for optimizer in (single.u_optimizer, single.v_optimizer):
        optimizer.learning_rate = optimizer.learning_rate / 4
    gradients, bounds = [], [(0, 8), (8, 16), (16, 20)] * 2
    for (start, stop), before, found in zip(bounds, after, after[1:], strict=False):
        single.backbone.set_weights(before[:-2])
        single.noise_table.u.assign(before[-2])
        single.noise_table.v.assign(before[-1])
        ids = np.arange(start, stop)
        single.train_on_batch(X[ids], {"label": Y[ids], "index": ids})
        *weights, u, v = values(single)
        # Every batch moves its rows, the short one by its own mean: 1 / (4 * 4).
        np.testing.assert_allclose(found[-2], u, rtol=0, atol=1e-6)
        np.testing.assert_allclose(found[-1], v, rtol=0, atol=1e-6)
        assert (found[-1][ids] != before[-1][ids]).any(axis=1).all()
        gradients.append(
            [w - after for w, after in zip(before[:-2], weights, strict=True)]
        )
    of_weights = zip(*gradients[:4], strict=True)
    means = [np.mean(of_batches, axis=0) for of_batches in of_weights]
    for batches, found in enumerate(after):
        # None in the first epoch, one with the first batch of the second.
        steps = 0.1 if batches >= 4 else 0.0
        for weight, start, mean in zip(found[:-2], after[0][:-2], means, strict=True):
            np.testing.assert_allclose(weight, start - steps * mean, rtol=0, atol=1e-6)
