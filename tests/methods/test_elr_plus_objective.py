"""The equations of ELR+: published steps and schedules, by hand, and limits."""

import golden
import numpy as np
import pytest
import tensorflow as tf

from sop_keras.core.batch import mean_loss
from sop_keras.methods import elr_plus_objective as objective
from sop_keras.methods.mixup import mix_pairs

FILES = golden.names("elrplus_loss_*")
SCHEDULES = golden.arrays("two_network_schedules")
STEPS = SCHEDULES["elrplus_iteration"]


def softmax(logits):
    return tf.nn.softmax(tf.constant(logits, "float32"))


def losses(log_probs, labels, targets, weight):
    """CE + weight * the regulariser, the mean over the batch."""
    regularization = objective.regularization_losses(log_probs, targets)
    cross_entropy = objective.cross_entropy_losses(log_probs, labels)
    return mean_loss(cross_entropy) + weight * mean_loss(regularization)


def steps_of(file, network, length):
    """The file's steps of a network, done here, and the targets at their end."""

    def given(name):
        return file[f"{name}{network}"]

    targets = np.zeros((int(file["N"]), 10), np.float32)
    one_hot = np.eye(10, dtype=np.float32)[file["y"]]
    found = {"target_rows": [], "mixed_target": [], "loss": [], "grad_logits": []}
    for step, ids in enumerate(given("idx")):
        rows = objective.updated_targets(
            targets[ids], softmax(given("peer_logits")[step]), float(file["beta"])
        )
        targets[ids] = rows
        partners, share = given("perm")[step], np.float32(given("mix")[step])
        mixed, labels = (
            mix_pairs(one, one, partners, share) for one in (rows, one_hot[ids])
        )
        weight = objective.ramp(step + 1, length) * float(file["lam"])
        logits = tf.Variable(given("logits")[step])
        with tf.GradientTape() as tape:
            loss = losses(tf.nn.log_softmax(logits), labels, mixed, weight)
        for name, value in zip(
            found, (rows, mixed, loss, tape.gradient(loss, logits)), strict=True
        ):
            found[name].append(np.asarray(value))
    return {name: np.stack(values) for name, values in found.items()}, targets


@pytest.mark.parametrize("network", [1, 2])
@pytest.mark.parametrize("name", FILES)
def test_the_published_trajectory(name, network):
    file = golden.arrays(name)
    found, targets = steps_of(file, network, int(file["coef_step"]))
    for array, values in (*found.items(), ("target", targets)):
        assert golden.error(values, file[f"ref_{array}{network}"]) < 1e-5, array
    ramp = objective.ramp(np.arange(file["T"]) + 1, int(file["coef_step"]))
    assert golden.error(np.array(ramp), file["ref_ramp"]) < 1e-5


@pytest.mark.parametrize("network", [1, 2])
@pytest.mark.parametrize("name", FILES)
def test_the_papers_gradient_where_nothing_is_clipped(name, network):
    # The paper has no ramp, and clips nothing: the rows within the bounds are its own.
    file = golden.arrays(name)
    found, targets = steps_of(file, network, length=0)
    probs = softmax(file[f"logits{network}"]).numpy()
    is_within = ((probs > 1e-4) & (probs < 1 - 1e-4)).all(axis=-1)
    assert 0.8 < is_within.mean() < 1
    expected = file[f"paper_grad_logits{network}"]
    assert golden.error(found["grad_logits"][is_within], expected[is_within]) < 1e-5
    assert golden.error(targets, file[f"paper_target{network}"]) < 1e-5


@pytest.mark.parametrize("length", [0, 40_000])
def test_the_published_ramps(length):
    expected = SCHEDULES[f"elrplus_ramp_{length}"]
    for steps in (STEPS, tf.constant(STEPS), tf.constant(STEPS, "int32")):
        found = np.array(objective.ramp(steps, length))
        assert found.dtype == np.float32
        assert golden.error(found, expected) < 1e-6
    # exp(-5 / 4) half way.
    np.testing.assert_allclose(objective.ramp(3, 6), np.exp(-1.25), rtol=1e-6)


def test_the_published_decays():
    found = objective.ramped_decay(STEPS, 0.997, 40_000)
    expected = SCHEDULES["elrplus_ema_decay_ramp_0.997_40000"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    for decay in (0.9999, 0.997):
        found = objective.averaging_decay(STEPS, decay)
        expected = SCHEDULES[f"elrplus_ema_decay_plain_{decay}"]
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    # The average of weights that are always the network's own.
    np.testing.assert_array_equal(objective.ramped_decay(STEPS, 0.0, 7), 0 * STEPS)
    np.testing.assert_array_equal(objective.averaging_decay(STEPS, 0.0), 0 * STEPS)
    np.testing.assert_array_equal(
        objective.ramped_decay(STEPS, 0.5, 0), 0.5 + 0 * STEPS
    )


def test_targets_by_hand():
    # 0.7 * 0 + 0.3 p, then 0.7 * 0.3 p + 0.3 q.
    p, q = np.float32([[0.2, 0.8]]), tf.Variable([[0.6, 0.4]])
    first = objective.updated_targets(np.zeros((1, 2), np.float32), p, 0.7)
    np.testing.assert_allclose(first, [[0.06, 0.24]], rtol=1e-6)
    with tf.GradientTape() as tape:
        second = objective.updated_targets(first, q, 0.7)
    np.testing.assert_allclose(second, [[0.222, 0.288]], rtol=1e-6)
    assert tape.gradient(second, q) is None
    # beta = 0: what the peer says; beta = 1: what they were.
    np.testing.assert_array_equal(objective.updated_targets(first, q, 0.0), q)
    np.testing.assert_array_equal(objective.updated_targets(first, q, 1.0), first)


def test_the_regulariser_by_hand():
    # log(1 - (1/4 * 1/2 + 3/4 * 1/2)) = log(1/2). Of t = 0, log 1.
    log_probs = np.log(np.float32([[0.25, 0.75]] * 2))
    targets = np.float32([[0.5, 0.5], [0, 0]])
    found = objective.regularization_losses(log_probs, targets)
    np.testing.assert_allclose(found, [np.log(0.5), 0], rtol=1e-6)


@pytest.mark.parametrize("gap", [1e2, 1e4])
def test_far_logits_are_never_nan(gap):
    logits = tf.Variable([[gap, 0.0], [gap, 0.0]])
    targets, labels = np.float32([[1, 0], [0, 1]]), np.float32([[1, 0], [0, 1]])
    with tf.GradientTape() as tape:
        log_probs = tf.nn.log_softmax(logits)
        loss = losses(log_probs, labels, targets, 3.0)
    # p is clipped to (1 - 1e-4, 1e-4): log 1e-4 and log(1 - 1e-4); CE is 0 and gap.
    expected = (gap + 3 * (np.log(1e-4) + np.log(1 - 1e-4))) / 2
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    # Of cross entropy alone, (p - y) / 2: beyond the bounds nothing passes.
    np.testing.assert_allclose(
        tape.gradient(loss, logits), [[0, 0], [0.5, -0.5]], atol=1e-6
    )


def test_without_the_regulariser_it_is_mixups_cross_entropy():
    # lambda = 0. -log(1/4) of 0.6 and -log(3/4) of 0.4; with l = 1 of the label alone.
    log_probs = np.log(np.float32([[0.25, 0.75]] * 2))
    labels, targets = np.eye(2, dtype=np.float32), np.float32([[0.5, 0.5]] * 2)
    for share in (1.0, 0.6):
        mixed = mix_pairs(labels, labels, [1, 0], np.float32(share))
        found = losses(log_probs, mixed, targets, 0.0)
        own = np.array([share, 1 - share])
        rows = [-own @ np.log([0.25, 0.75]), -own @ np.log([0.75, 0.25])]
        np.testing.assert_allclose(found, np.mean(rows), rtol=1e-6)
    mixed = mix_pairs(targets, targets, [0, 1], np.float32(0.6))
    np.testing.assert_allclose(mixed, targets, rtol=1e-6)  # every one with itself


def test_reweighted_labels_by_hand():
    # 0.7 * 0.2 : 0.3 * 0.6 = 14 : 18. A label that is alone stays; so do labels of
    # which targets leave nothing.
    labels = np.float32([[0.7, 0.3, 0], [0, 1, 0], [0.7, 0.3, 0]])
    targets = np.float32([[0.2, 0.6, 0.2], [0.5, 0.1, 0.4], [0, 0, 1]])
    found = objective.reweighted_labels(labels, targets)
    expected = [[14 / 32, 18 / 32, 0], [0, 1, 0], [0.7, 0.3, 0]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_no_examples_are_no_loss():
    nothing = tf.zeros((0, 3))
    with tf.GradientTape() as tape:
        tape.watch(nothing)
        loss = losses(tf.nn.log_softmax(nothing), nothing, nothing, 3.0)
    assert float(loss) == 0.0
    assert tape.gradient(loss, nothing).shape == (0, 3)
    assert objective.reweighted_labels(nothing, nothing).shape == (0, 3)
