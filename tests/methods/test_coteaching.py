"""Co-teaching: golden steps, a loop in float64, and limiting cases."""

import types
from dataclasses import dataclass

import golden
import keras
import numpy as np
import pytest
import tensorflow as tf
from two_networks import steps_on

from sop_keras import NoisyLabelModel, methods
from sop_keras.methods.coteaching import cross_entropies

FILE = golden.arrays("coteaching_k10")
N, D, K, BATCH, EPOCHS, RATE = 26, 5, 4, 8, 6, 0.2  # a last batch of 2
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D)).astype(np.float32)
Y = RNG.integers(0, K, N)


@keras.saving.register_keras_serializable(package="sop_keras_tests")
@dataclass(frozen=True)
class Given(methods.CoTeaching):
    """Co-teaching whose forget rates are the file's, an epoch a step."""

    def schedule(self, epoch, epochs):
        return {"forget_rate": float(FILE["forget_rate"][epoch]), "counts": 1.0}


@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_papers_steps_on_given_logits(jit_compile):
    model, logs, gradients = steps_on(Given(noise_rate=0.5), FILE, jit_compile)
    losses = {
        name: np.array([one[name] for one in logs])
        for name in ("ce_loss", "peer_ce_loss", "loss")
    }
    first, second = FILE["paper_loss1"], FILE["paper_loss2"]
    assert golden.error(losses["ce_loss"], first) < 1e-5
    assert golden.error(losses["peer_ce_loss"], second) < 1e-5
    assert golden.error(losses["loss"], first + second) < 1e-5
    for found, network in zip(gradients, (1, 2), strict=True):
        assert golden.error(found, FILE[f"paper_grad_logits{network}"]) < 1e-5
    picks = np.zeros(len(FILE["y"]))
    for step, ids in enumerate(FILE["idx"]):
        count = max(1, int((1 - FILE["forget_rate"][step]) * len(ids) + 1e-9))
        for network in (1, 2):
            expected = FILE[f"paper_order{network}"][step][:count]
            peers = gradients[2 - network][step]
            assert set(np.flatnonzero(peers.any(axis=-1))) == set(expected)
            picks[ids[expected]] += 0.5
    np.testing.assert_array_equal(model.tables.visits.numpy()[:, 1], picks)
    visits = np.bincount(FILE["idx"].ravel(), minlength=len(picks))
    np.testing.assert_array_equal(model.tables.visits.numpy()[:, 0], visits)


def network(seed):
    start = keras.initializers.GlorotUniform(seed)
    return keras.Sequential(
        [keras.Input((D,)), keras.layers.Dense(K, kernel_initializer=start)]
    )


def trained(method, seeds=(1, 2), ids=None, weights=None, **options):
    ids = np.arange(N) if ids is None else ids
    networks = [network(seed) for seed in seeds]
    peer = networks[1] if len(networks) > 1 else None
    model = NoisyLabelModel(networks[0], N, K, method=method, peer=peer)
    model.compile(keras.optimizers.SGD(RATE, momentum=0.9), **options)
    history = model.fit(
        X,
        {"label": Y, "index": ids},
        sample_weight=weights,
        batch_size=BATCH,
        epochs=EPOCHS,
        shuffle=False,
        verbose=0,
    ).history
    return model, history


def log_probs(weights, x):
    logits = x @ weights[0] + weights[1]
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def loop(noise_rate, num_gradual, seeds=(1, 2), sample_weight=None):
    """The same in NumPy, float64: weights, rows, and the loss of each epoch."""
    x, factor = X.astype(np.float64), np.ones(N)
    factor = factor if sample_weight is None else sample_weight
    networks = [[w.astype(float) for w in network(s).get_weights()] for s in seeds]
    velocities = [[np.zeros_like(w) for w in weights] for weights in networks]
    last, visits, losses = np.zeros((N, 2)), np.zeros((N, 3)), []
    for epoch in range(EPOCHS):
        total, rate = 0.0, noise_rate * min(epoch / num_gradual, 1)
        for start in range(0, N, BATCH):
            rows = np.arange(start, min(start + BATCH, N))
            count = max(1, int(np.floor((1 - rate) * len(rows) + 1e-9)))
            logs = [log_probs(weights, x[rows]) for weights in networks]
            found = [-one[np.arange(len(rows)), Y[rows]] for one in logs]
            picks = [sorted(range(len(rows)), key=lambda i: one[i]) for one in found]
            last[rows] = np.stack(found, axis=-1)
            for place, weights in enumerate(networks):
                picked = picks[1 - place][:count]
                if epoch >= num_gradual:
                    visits[rows[picked], 1] += 0.5
                    visits[rows, 2] += 0.5 * np.exp(-found[place])
                used = np.zeros(len(rows))
                used[picked] = factor[rows][picked] / count
                total += (used * found[place]).sum() * len(rows)
                by_logits = np.exp(logs[place]) - np.eye(K)[Y[rows]]
                by_logits *= used[:, None]
                gradients = [x[rows].T @ by_logits, by_logits.sum(axis=0)]
                for index, gradient in enumerate(gradients):
                    velocity = velocities[place][index]
                    velocity[...] = 0.9 * velocity - RATE * gradient
                    weights[index] += velocity
            visits[rows, 0] += epoch >= num_gradual
        losses.append(total / N)
    return networks, last, visits, losses


@pytest.mark.parametrize("is_weighted", [False, True])
def test_fit_agrees_with_a_loop_in_float64(is_weighted):
    weights = np.linspace(0.0, 2.0, N) if is_weighted else None
    method = methods.CoTeaching(noise_rate=0.45, num_gradual=3)
    model, history = trained(method, weights=weights)
    networks, last, visits, losses = loop(0.45, 3, sample_weight=weights)
    for found, expected in zip(model.networks(), networks, strict=True):
        for one, other in zip(found.get_weights(), expected, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)
    np.testing.assert_allclose(model.tables.cross_entropy.numpy(), last, atol=1e-5)
    np.testing.assert_allclose(model.tables.visits.numpy(), visits, atol=1e-5)
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-5)


def test_at_rate_0_they_are_two_trainings_by_cross_entropy():
    model, history = trained(methods.CoTeaching(noise_rate=0.0))
    for seed, name, found in zip(
        (1, 2), ("ce_loss", "peer_ce_loss"), model.networks(), strict=True
    ):
        alone, expected = trained(methods.CrossEntropy(), seeds=(seed,))
        weights = alone.backbone.get_weights()
        for one, other in zip(found.get_weights(), weights, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)
        np.testing.assert_allclose(history[name], expected["loss"], rtol=1e-6)


def test_identical_networks_pick_for_themselves_and_stay_identical():
    method = methods.CoTeaching(noise_rate=0.45, num_gradual=3)
    model, _ = trained(method, seeds=(1, 1))
    first, second = (each.get_weights() for each in model.networks())
    (expected, _), *_ = loop(0.45, 3, seeds=(1, 1))
    for one, other, wanted in zip(first, second, expected, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_allclose(one, wanted, atol=1e-5)


def check_ids_and_order(method):
    """Other ids move rows and nothing else; networks the other way round swap all."""
    model, history = trained(method)
    weights = [each.get_weights() for each in model.networks()]
    ids = np.random.default_rng(3).permutation(N)
    assert ids[0] != 0
    other, same = trained(method, ids=ids)
    assert same == history
    for one, each in zip(weights, other.networks(), strict=True):
        for ours, theirs in zip(one, each.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    for name, rows in model.tables.by_name().items():
        moved = other.tables.by_name()[name].numpy()[ids]
        np.testing.assert_array_equal(moved, rows.numpy(), name)
    swapped, theirs = trained(method, seeds=(2, 1))
    for one, each in zip(weights, reversed(swapped.networks()), strict=True):
        for ours, found in zip(one, each.get_weights(), strict=True):
            np.testing.assert_allclose(found, ours, atol=1e-6)
    np.testing.assert_allclose(theirs["ce_loss"], history["peer_ce_loss"], rtol=1e-5)
    last = swapped.tables.cross_entropy.numpy()[:, ::-1]
    np.testing.assert_allclose(last, model.tables.cross_entropy.numpy(), atol=1e-5)


def test_ids_are_names_and_networks_are_alike():
    check_ids_and_order(methods.CoTeaching(noise_rate=0.4, num_gradual=2))


def test_probabilities_do_as_logits_do():
    method = methods.CoTeaching(noise_rate=0.4, num_gradual=2)
    networks = [
        keras.Sequential([network(seed), keras.layers.Softmax()]) for seed in (1, 2)
    ]
    model = NoisyLabelModel(
        networks[0], N, K, method=method, peer=networks[1], from_logits=False
    )
    model.compile(keras.optimizers.SGD(RATE, momentum=0.9))
    options = {"batch_size": BATCH, "epochs": EPOCHS, "shuffle": False, "verbose": 0}
    history = model.fit(X, Y, **options).history
    _, expected = trained(method)
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-4)


def test_labels_that_were_redrawn_are_found():
    # Four well-separated groups; a fifth of the labels are those of the next group.
    rng = np.random.default_rng(4)
    clean = np.arange(400) % K
    x = rng.normal(0, 0.3, (400, D)) + 2 * np.eye(D)[clean]
    wrong = rng.random(400) < 0.2
    y = np.where(wrong, (clean + 1) % K, clean)
    method = methods.CoTeaching(noise_rate=0.2, num_gradual=3)
    model = NoisyLabelModel(network(1), 400, K, method=method, peer=network(2))
    model.compile(keras.optimizers.SGD(0.1))
    model.fit(x, y, batch_size=20, epochs=15, verbose=0)
    issues = model.label_issues(x, y)
    assert (issues["is_label_issue"] == wrong).mean() > 0.98
    found = issues[issues["is_label_issue"]]
    assert (found["suggested_label"] == clean[found["id"]]).mean() > 0.98


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"noise_rate": 1.1}, r"`noise_rate` must be a number in \[0, 1\]"),
        ({"noise_rate": -0.1}, r"`noise_rate` must be a number in \[0, 1\]"),
        ({"noise_rate": None}, r"`noise_rate` must be a number in \[0, 1\]"),
        ({"noise_rate": float("nan")}, "`noise_rate` must be a number in"),
        ({"noise_rate": 0.2, "exponent": 0.0}, "`exponent` must be positive"),
        ({"noise_rate": 0.2, "num_gradual": 0}, "`num_gradual` must be an integer"),
        ({"noise_rate": 0.2, "num_gradual": 2.5}, "`num_gradual` must be an integer"),
    ],
)
def test_numbers_out_of_range(numbers, message):
    with pytest.raises(ValueError, match=message):
        methods.CoTeaching(**numbers)


def test_two_classes_at_least_and_a_second_network():
    method = methods.CoTeaching(noise_rate=0.2)
    one = keras.Sequential([keras.Input((D,)), keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="`num_classes` must be an integer"):
        NoisyLabelModel(one, N, 1, method=method)
    with pytest.raises(ValueError, match="trains two networks"):
        NoisyLabelModel(network(1), N, K, method=method)
    with pytest.raises(TypeError, match="noise_rate"):
        methods.CoTeaching()


def test_the_settings_of_a_run():
    record = methods.record("coteaching")
    settings = record.settings(forget_rate=0.4, forget_exponent=2.0, num_gradual=5)
    made = record.load()(**settings.arguments(Y, K, False))
    assert made == methods.CoTeaching(noise_rate=0.4, exponent=2.0, num_gradual=5)
    with pytest.raises(ValueError, match="`forget_exponent` must be above 0"):
        record.settings(forget_exponent=0.0)


def test_a_class_that_a_mask_rules_out_costs_nothing():
    # p = (1/2, 1/2, 0) by both networks: -log 1/2, and the gradient p - y.
    logits = tf.Variable([[0.0, 0.0, -np.inf]])
    batch = types.SimpleNamespace(labels=np.float32([[1, 0, 0]]))
    with tf.GradientTape() as tape:
        said = types.SimpleNamespace(views=(logits,), from_logits=True)
        losses = cross_entropies((said, said), batch)
        first = losses[:, 0]
    np.testing.assert_allclose(losses, [[np.log(2)] * 2], rtol=1e-6)
    gradient = tape.gradient(first, logits)
    np.testing.assert_allclose(gradient, [[-0.5, 0.5, 0]], atol=1e-6)
