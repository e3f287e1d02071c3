"""Tests of `sop_keras.methods.sop_objective` where rates set themselves, by hand."""

import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from scipy.special import log_softmax

from sop_keras.core.batch import Batch, Outputs
from sop_keras.methods import SOP, sop_gate
from sop_keras.methods import sop_objective as objective


def test_the_loss_of_a_label_by_hand():
    # Not grown: -log p_y, however small p_y is, and the gradient p - y on logits.
    logits = tf.Variable([[30.0, 0.0, -5.0], [0.0, 0.0, 0.0]])
    labels = np.float32([[0, 0, 1], [1, 0, 0]])
    with tf.GradientTape() as tape:
        log_probs = tf.nn.log_softmax(logits)
        noise = np.zeros((2, 3), np.float32)
        loss = objective.label_loss(log_probs, noise, labels, 1e-8)
    np.testing.assert_allclose(loss, [35.0, np.log(3)], rtol=1e-6)
    gradient = tape.gradient(loss, logits)
    np.testing.assert_allclose(gradient[0], [1, 0, -1], atol=1e-6)
    np.testing.assert_allclose(gradient[1], [-2 / 3, 1 / 3, 1 / 3], rtol=1e-5)
    # s = (0.3 at the label, -0.5, -0.1); p = (0.2, 0.7, 0.1): w = (0.5, 0.2, 0), and
    # the loss log(0.7 / 0.5). A label of which s explains all, ||s|| = 2: w = (1.2, 0,
    # 0.1): log(1.3 / 1.2).
    log_probs = np.log(np.float32([[0.2, 0.7, 0.1]] * 2))
    noise = np.float32([[0.3, -0.5, -0.1], [1.0, -1.0, 0.0]])
    labels = np.float32([[1, 0, 0]] * 2)
    loss = objective.label_loss(log_probs, noise, labels, 1e-8)
    np.testing.assert_allclose(loss, np.log([1.4, 1.3 / 1.2]), rtol=1e-5)


@pytest.mark.parametrize("first_std", [1e-8, 1e-4, 0.1])
@pytest.mark.parametrize("start", [1.0, -1.0, 0.5, 0.0])
@pytest.mark.parametrize("gap", [1.0, 38.0, 60.0, 150.0])
def test_rows_that_have_not_grown_hide_no_label(gap, start, first_std):
    # p = (1, e^-gap, e^-(gap + 3)) up to e^-1 / (1 + e^-1) of it: the loss is that of
    # cross entropy, -log p_y, and its gradient p - y. Rows where they began, below it,
    # and trusted ones, which are 0.
    logits = tf.Variable([[0.0, -gap, -gap - 3.0]])
    labels = np.float32([[0, 1, 0]])
    u = np.float32([[start * first_std]])
    v = np.zeros((1, 3), np.float32)
    with tf.GradientTape() as tape:
        noise = objective.estimated_noise(u, v, labels, "paper")
        log_probs = tf.nn.log_softmax(logits)
        loss = objective.label_loss(log_probs, noise, labels, first_std)
    log_p = log_softmax(np.array([0.0, -gap, -gap - 3.0]))
    np.testing.assert_allclose(loss, [-log_p[1]], rtol=1e-6)
    gradient = tape.gradient(loss, logits)[0]
    np.testing.assert_allclose(gradient, np.exp(log_p) - labels[0], atol=1e-6)


def test_a_row_that_has_grown_takes_the_label_over():
    # s = 4e-16 where 1e-16 is how it began: w = (1, 3e-16, 0) for p_y = e^-60, so that
    # the loss is -log 3e-16 = 35.74, and nothing of it is the network's.
    logits = tf.Variable([[0.0, -60.0, -63.0]])
    labels = np.float32([[0, 1, 0]])
    with tf.GradientTape() as tape:
        log_probs = tf.nn.log_softmax(logits)
        loss = objective.label_loss(log_probs, 4e-16 * labels, labels, 1e-8)
    np.testing.assert_allclose(loss, [-np.log(3e-16)], rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(loss, logits), [[0, 0, 0]], atol=1e-6)


@pytest.mark.parametrize("s", [0.0, 1e-16, 1e-6, 3e-3, 0.4, 1.0])
@pytest.mark.parametrize("v_square", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("gap", [-14.0, -3.0, 0.0, 4.0, 9.9, 30.0])
def test_the_share_of_the_gradient_that_is_left(s, v_square, gap):
    # In float64, as it is written, with s that began as 0: p_y from 1 - 1e-6 to 1e-13.
    log_probs = log_softmax(np.array([[gap, 0.0, gap - 3.0, gap - 20.0]]))
    labels = np.float32([[0, 1, 0, 0]])
    noise = np.array([[-v_square, s, 0.0, 0.0]])
    shifted = np.exp(log_probs) + noise
    w = np.where(labels > 0, shifted, np.maximum(shifted, 1e-4))[0]
    p = np.exp(log_probs[0, 1])
    expected = np.clip((1 / w[1] - 1 / w.sum()) / (1 / p - 1), 0, 1)
    found = objective.unexplained_share(
        np.float32(log_probs), np.float32(noise), labels, 0.0
    )
    np.testing.assert_allclose(found, [[expected]], rtol=2e-5)


def open_gate_state():
    """Open by all; labels of 4 examples of each class are believed by 3 in log odds."""
    state = sop_gate.first_state(3)
    state["gate_totals"][8:12] = [1.0, 4.0, 30.0, 1.0]  # slow, visits, steps, opened
    state["gate_widest"] = np.float32(1)
    state["gate_classes"][:, :3] = [4.0, 12.0, 36.0]
    state["gate_classes"][:, 6:] = 4.0
    state["gate_totals"][0] = 12.0  # of which the mean of each p_c is 1/3
    return state


def test_u_grows_as_v_does_where_the_network_is_sure():
    # p_y of 5e-5 is below phi's floor of 1e-4, e^-60 is far below s as it begins, and
    # e^-200 is none of float32. The boundary's log odds are (2 * 3 - ln 2) / 3 = 1.77,
    # and R = (1 / p_y - 1) / e^-1.77 is so large that x = 8. s explains nothing yet:
    # all of the gradient is left, and u and v at the prediction grow alike.
    logits = np.float32([[0, np.log(5e-5), -12], [0, -60, -63], [0, -200, -12]])
    labels, predictions = np.float32([[0, 1, 0]] * 3), np.float32([[1, 0, 0]] * 3)
    rows = {name: np.full((3, n), 1e-8, np.float32) for name, n in (("u", 1), ("v", 3))}
    outputs = Outputs((logits,), ops.softmax(logits), predictions, True)
    batch = Batch(
        views=(logits,),
        given_labels=labels,
        labels=labels,
        ids=np.arange(3),
        weights=None,
        size=3.0,
        mean=lambda values: ops.mean(values, axis=0),
        gather=lambda values: values,
        places=lambda: np.arange(3),
        step=0,
        num_examples=3,
        state=open_gate_state(),
    )
    found = SOP().row_steps(outputs, rows, batch)
    np.testing.assert_allclose(found["v"], [[8, 0, 0]] * 3, rtol=1e-6)
    np.testing.assert_allclose(found["u"], [[8]] * 3, rtol=1e-5)


def test_a_class_that_a_mask_rules_out_costs_nothing():
    # p = (1/2, 1/2, 0): -log 1/2, and the gradient p - y; nothing is explained yet.
    logits = tf.Variable([[0.0, 0.0, -np.inf]])
    labels, noise = np.float32([[1, 0, 0]]), np.zeros((1, 3), np.float32)
    with tf.GradientTape() as tape:
        log_probs = tf.nn.log_softmax(logits)
        loss = objective.label_loss(log_probs, noise, labels, 1e-8)
    np.testing.assert_allclose(loss, [np.log(2)], rtol=1e-6)
    gradient = tape.gradient(loss, logits)
    np.testing.assert_allclose(gradient, [[-0.5, 0.5, 0]], atol=1e-6)
    left = objective.unexplained_share(log_probs, noise, labels, 1e-8)
    np.testing.assert_allclose(left, [[1]], rtol=1e-6)
