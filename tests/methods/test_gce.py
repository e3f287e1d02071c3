"""GCE and truncated GCE: published trajectories, limiting cases, numbers refused."""

import golden
import keras
import numpy as np
import pytest
import tensorflow as tf
from trajectory import Offset, Watch, of_loss, trained

from sop_keras import NoisyLabelModel, losses, methods
from sop_keras.core.method import Look

FILE = golden.arrays("gce_k10")
IDS, LABELS = FILE["idx"], FILE["y"][FILE["idx"]]
DATA = (FILE["logits"], IDS, FILE["y"])
K = 10


def assert_equal(found, expected, bound=1e-6):
    for values, wanted in zip(found, expected, strict=True):
        assert golden.error(values, wanted) < bound


PLAIN = FILE["plain_loss"], FILE["plain_grad_logits"]


@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_published_trajectory(jit_compile):
    assert float(FILE["q"]) == 0.7
    _, *found = trained(methods.GCE(q=0.7), *DATA, jit_compile)
    assert_equal(found, PLAIN, 1e-5)


def test_the_published_trajectory_as_a_keras_loss():
    loss = losses.GCE(q=0.7, from_logits=True)
    for labels in (LABELS, LABELS[..., None], np.eye(K)[LABELS]):
        assert_equal(of_loss(loss, FILE["logits"], labels), PLAIN, 1e-5)


def look(log_probs, labels):
    places = np.arange(len(labels))
    given = -log_probs[places, labels]
    return Look(39, places, labels, (log_probs,), (given,), {}, {})


def test_the_published_trajectory_of_the_truncated_one():
    assert float(FILE["k"]) == 0.5
    method = methods.TruncatedGCE(q=0.7, k=0.5)
    model = NoisyLabelModel(Offset((16, K)), 64, K, method=method)
    model.compile(keras.optimizers.SGD(1.0))
    pruned = dict(zip(FILE["prune_step"].tolist(), FILE["prune_logits"], strict=True))
    watch = Watch()

    class Prune(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch in pruned:  # of the file's network in place of this one
                log_probs = np.array(keras.ops.log_softmax(pruned[batch], axis=-1))
                values = method.before_epoch(look(log_probs, FILE["y"]))["kept"]
                model.tables.write("kept", np.arange(64), values)
            kept = model.tables.kept.numpy()[:, 0]
            np.testing.assert_array_equal(kept, FILE["weight"][batch])

    targets = {"label": LABELS, "index": IDS}
    batches = tf.data.Dataset.from_tensor_slices((FILE["logits"], targets))
    model.fit(batches, callbacks=[Prune(), watch], scan_data=batches, verbose=0)
    found = np.array(watch.losses), np.stack(watch.gradients)
    assert_equal(found, [FILE["trunc_loss"], FILE["trunc_grad_logits"]], 1e-5)


def test_when_it_looks():
    method = methods.TruncatedGCE()
    looks = [epoch + 1 for epoch in range(75) if method.looks_before(epoch)]
    assert looks == [40, 50, 60, 70]


def test_what_it_gives_up_and_takes_back():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 4)).astype(np.float32)
    y = rng.integers(0, 3, 20)
    backbone = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    method = methods.TruncatedGCE(k=0.4, start=2, every=1)
    model = NoisyLabelModel(backbone, 20, 3, method=method)
    model.compile(keras.optimizers.SGD(0.5))
    options = {"batch_size": 5, "verbose": 0}
    for epoch in range(4):
        probs = np.array(keras.ops.softmax(backbone(x), axis=-1))[np.arange(20), y]
        model.fit(x, y, initial_epoch=epoch, epochs=epoch + 1, **options)
        kept = model.tables.kept.numpy()[:, 0]
        np.testing.assert_array_equal(kept, (probs > 0.4) if epoch else np.ones(20))
    assert 0 < kept.sum() < 20
    # All given up: nothing moves.
    model.tables.write("kept", np.arange(20), np.zeros(20))
    weights = backbone.get_weights()
    one = NoisyLabelModel(backbone, 20, 3, method=methods.TruncatedGCE())
    one.compile(keras.optimizers.SGD(0.5))
    one.tables.write("kept", np.arange(20), np.zeros(20))
    assert one.fit(x, y, **options).history["loss"] == [0.0]
    for found, expected in zip(backbone.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_limits():
    _, *cross_entropy = trained(methods.CrossEntropy(), *DATA)
    # q = 0 is cross entropy itself, and small q is off by O(q): CE^2 q / 2 at most.
    _, *found = trained(methods.GCE(q=0.0), *DATA)
    assert_equal(found, cross_entropy)
    distances = []
    for q in (1e-3, 1e-4):
        _, value, _ = trained(methods.GCE(q=q), *DATA)
        distances.append(golden.error(value, cross_entropy[0]))
    assert distances[0] < 0.02
    assert distances[1] < 0.15 * distances[0]
    # q = 1: 1 - p_y.
    _, value, _ = trained(methods.GCE(q=1.0), *DATA)
    probs = np.array(keras.ops.softmax(FILE["logits"].astype(np.float64), axis=-1))
    given = np.take_along_axis(probs, LABELS[..., None], axis=-1)[..., 0]
    assert golden.error(value, (1 - given).mean(axis=1)) < 1e-6
    # Before the first look, and with k = 0, the gradients are the plain one's.
    for k in (0.0, 0.5):
        _, _, gradients = trained(methods.TruncatedGCE(k=k), *DATA)
        assert golden.error(gradients, PLAIN[1]) < 1e-5


@pytest.mark.parametrize("gap", [18.0, 120.0, 1e4])
def test_no_nan_where_a_probability_underflows(gap):
    logits = np.zeros((1, 1, 3), np.float16)
    logits[..., 0] = gap
    for loss in (
        losses.GCE(from_logits=True),
        losses.SymmetricCrossEntropy(from_logits=True),
    ):
        value, gradient = of_loss(loss, logits, np.array([[1]]))
        assert np.isfinite(value).all()
        assert np.isfinite(gradient).all()
    certain = np.float32([[[1, 0, 0]]])
    value, gradient = of_loss(losses.GCE(), certain, np.array([[1]]))
    np.testing.assert_allclose(value, (1 - 1e-7**0.7) / 0.7, rtol=1e-5)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: methods.GCE(q=1.5), r"`q` must be a number in \[0, 1\]"),
        (lambda: losses.GCE(q=-0.1), r"`q` must be a number in \[0, 1\]"),
        (lambda: losses.GCE(q=float("nan")), r"`q` must be a number in \[0, 1\]"),
        (lambda: methods.TruncatedGCE(q=2), r"`q` must be a number in \[0, 1\]"),
        (lambda: methods.TruncatedGCE(k=1.1), r"`k` must be a number in \[0, 1\]"),
        (lambda: methods.TruncatedGCE(q=0, k=0), "`k` must be above 0 where q is 0"),
        (lambda: methods.TruncatedGCE(start=0), "`start` must be an integer of at"),
        (lambda: methods.TruncatedGCE(every=0.5), "`every` must be an integer of at"),
    ],
)
def test_numbers_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()
