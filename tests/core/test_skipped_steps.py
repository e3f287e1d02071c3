"""Batches that a method does not want leave networks and optimizers as they are."""

from dataclasses import dataclass

import keras
import numpy as np
import pytest
from keras import ops

from sop_keras import NoisyLabelModel, methods
from sop_keras.methods.cross_entropy import CrossEntropy

N, D, K, BATCH = 24, 3, 4, 4
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D)).astype(np.float32)
Y = RNG.integers(1, K, N)
# The first batch and the fourth have labels of class 0, the others have none.
Y[[2, 12, 15]] = 0
UNWANTED = [0, 3]
WANTED = np.delete(np.arange(N).reshape(-1, BATCH), UNWANTED, axis=0).ravel()


@keras.saving.register_keras_serializable(package="sop_keras_tests")
@dataclass(frozen=True)
class Picky(CrossEntropy):
    """Cross entropy of batches without labels of class 0."""

    def updates(self, outputs, rows, batch):
        return ops.sum(batch.gather(batch.labels)[:, 0]) == 0


def network():
    start = keras.initializers.GlorotUniform(1)
    return keras.Sequential(
        [keras.Input((D,)), keras.layers.Dense(K, kernel_initializer=start)]
    )


def trained(method, optimizer, places, backbone=None, **options):
    """A model after two epochs of the examples of these places."""
    model = NoisyLabelModel(backbone or network(), N, K, method=method)
    model.compile(optimizer, **options)
    targets = {"label": Y[places], "index": places}
    fit = {"batch_size": BATCH, "epochs": 2, "shuffle": False, "verbose": 0}
    model.fit(X[places], targets, **fit)
    return model


OPTIMIZERS = {
    "momentum": lambda: keras.optimizers.SGD(
        keras.optimizers.schedules.ExponentialDecay(0.3, 1, 0.9), momentum=0.9
    ),
    "adam": lambda: keras.optimizers.Adam(0.1),
    "averages": lambda: keras.optimizers.SGD(0.1, use_ema=True),
    "accumulation": lambda: keras.optimizers.SGD(
        0.1, momentum=0.9, gradient_accumulation_steps=2
    ),
    "loss scale": lambda: keras.optimizers.LossScaleOptimizer(
        keras.optimizers.Adam(0.1), initial_scale=8.0, dynamic_growth_steps=3
    ),
}


# Compilation is slow: by XLA, and eagerly, those that choose within a step themselves.
CASES = [(name, {}) for name in OPTIMIZERS]
CASES += [("loss scale", {one: True}) for one in ("jit_compile", "run_eagerly")]


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_it_is_as_if_they_had_not_come(name, options):
    options = {"jit_compile": False, **options}
    found = trained(Picky(), OPTIMIZERS[name](), np.arange(N), **options)
    expected = trained(methods.CrossEntropy(), OPTIMIZERS[name](), WANTED, **options)
    pairs = [(found.backbone.weights, expected.backbone.weights)]
    pairs += [(found.optimizer.variables, expected.optimizer.variables)]
    for ours, theirs in pairs:
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-6)
    inner = getattr(found.optimizer, "inner_optimizer", found.optimizer)
    assert int(inner._iterations) == 2 * 4  # of two epochs of six batches


def test_the_record_is_of_all_batches():
    model = trained(Picky(), keras.optimizers.SGD(0.1), np.arange(N))
    assert model.training_record.is_written(np.arange(N)).all()


def test_a_training_of_no_wanted_batch_moves_nothing():
    unwanted = np.arange(N).reshape(-1, BATCH)[UNWANTED].ravel()
    model = trained(Picky(), keras.optimizers.Adam(0.1), unwanted)
    for one, other in zip(model.get_weights(), network().get_weights(), strict=False):
        np.testing.assert_array_equal(one, other)
    assert int(model.optimizer.iterations) == 0
    assert not model.optimizer.variables[2].numpy().any()


def test_the_averages_of_batch_normalization_follow_each_batch():
    unwanted = np.arange(N).reshape(-1, BATCH)[UNWANTED].ravel()
    norm = keras.layers.BatchNormalization(momentum=0.5)
    backbone = keras.Sequential([keras.Input((D,)), norm, keras.layers.Dense(K)])
    model = trained(Picky(), keras.optimizers.SGD(0.1), unwanted, backbone)
    assert int(model.optimizer.iterations) == 0
    np.testing.assert_array_equal(norm.gamma.numpy(), np.ones(D))
    # Two epochs of two batches, from 0, a half of each batch's mean.
    mean = np.zeros(D)
    for batch in 2 * UNWANTED:
        rows = X[BATCH * batch : BATCH * (batch + 1)].astype(np.float64)
        mean = 0.5 * mean + 0.5 * rows.mean(axis=0)
    np.testing.assert_allclose(norm.moving_mean.numpy(), mean, rtol=1e-5, atol=1e-6)
