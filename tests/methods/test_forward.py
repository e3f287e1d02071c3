"""Forward: the authors' trajectory, limiting cases, and what is no transition."""

import golden
import keras
import numpy as np
import pytest
from trajectory import of_loss, trained

from sop_keras import NoisyLabelModel, losses, methods
from sop_keras.losses.forward import forward_cross_entropy, probability_right
from sop_keras.methods.forward import score_by_transition

FILE = golden.arrays("forward_k10")
LABELS = FILE["y"][FILE["idx"]]
K = 10


def assert_like(found, names):
    for values, name in zip(found, names, strict=True):
        assert golden.error(values, FILE[name]) < 1e-5, name


@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_authors_trajectory(jit_compile):
    method = methods.Forward(transition=FILE["transition"])
    data = (FILE["logits"], FILE["idx"], FILE["y"])
    _, *found = trained(method, *data, jit_compile)
    assert_like(found, ["loss", "grad_logits"])


def test_the_authors_trajectory_as_a_keras_loss():
    loss = losses.Forward(transition=FILE["transition"], from_logits=True)
    for labels in (LABELS, LABELS[..., None], np.eye(K)[LABELS]):
        assert_like(of_loss(loss, FILE["logits"], labels), ["loss", "grad_logits"])


def test_transposed_it_is_another_loss():
    turned = FILE["transition"].T
    turned = turned / turned.sum(axis=1, keepdims=True)
    loss = losses.Forward(transition=turned, from_logits=True)
    found, _ = of_loss(loss, FILE["logits"], LABELS)
    assert golden.error(found, FILE["loss"]) > 1e-2


def test_the_identity_is_cross_entropy_with_the_clip():
    method = methods.Forward(transition=np.eye(K))
    _, *found = trained(method, FILE["logits"], FILE["idx"], FILE["y"])
    assert_like(found, ["ce_loss", "ce_grad_logits"])


def test_the_identity_is_cross_entropy_inside_of_the_clip():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (3, 16, K)).astype(np.float32)
    ids, labels = np.arange(48).reshape(3, 16), rng.integers(0, K, 48)
    pairs = [
        trained(method, logits, ids, labels)[1:]
        for method in (methods.Forward(np.eye(K)), methods.CrossEntropy())
    ]
    for found, expected in zip(*pairs, strict=True):
        assert golden.error(found, expected) < 1e-6


def test_below_the_clip_the_identity_passes_no_gradient():
    logits = np.zeros((1, 1, 2), np.float32)
    logits[..., 0] = 30.0  # p_1 is 1e-13
    loss = losses.Forward(transition=np.eye(2), from_logits=True)
    value, gradient = of_loss(loss, logits, np.array([[1]]))
    np.testing.assert_allclose(value, -np.log(1e-7), rtol=1e-6)
    assert (gradient == 0).all()


def test_a_permutation_is_cross_entropy_of_other_labels():
    order = np.random.default_rng(0).permutation(K)
    # Class order[j] is given label j: the label y is of the class order[y].
    loss = losses.Forward(transition=np.eye(K)[np.argsort(order)], from_logits=True)
    plain = losses.Forward(transition=np.eye(K), from_logits=True)
    found = of_loss(loss, FILE["logits"], LABELS)
    for values, expected in zip(
        found, of_loss(plain, FILE["logits"], order[LABELS]), strict=True
    ):
        assert golden.error(values, expected) < 1e-6


def test_labels_that_say_nothing_cost_log_k_and_teach_nothing():
    log_probs = keras.ops.log_softmax(FILE["logits"][0], axis=-1)
    labels = np.eye(K, dtype=np.float32)[LABELS[0]]
    found = forward_cross_entropy(labels, log_probs, np.full((K, K), 1 / K))
    np.testing.assert_allclose(found, np.log(K), rtol=1e-5)


def test_how_likely_a_label_is_right():
    # p = (0.6, 0.4), the label 1 is given with 0.2 of class 0 and 0.9 of class 1:
    # 0.4 0.9 / (0.6 0.2 + 0.4 0.9) = 0.75; of the label 0, 0.48 / (0.48 + 0.04).
    transition = np.array([[0.8, 0.2], [0.1, 0.9]])
    log_probs = np.log(np.float32([[0.6, 0.4], [0.6, 0.4]]))
    expected = [0.75, 12 / 13]
    right = probability_right(np.float32([[0, 1], [1, 0]]), log_probs, transition)
    np.testing.assert_allclose(right, expected, rtol=1e-6)
    found = score_by_transition(log_probs, transition, np.array([1, 0]))
    np.testing.assert_allclose(found["label_quality"], expected, rtol=1e-6)
    np.testing.assert_allclose(found["noise_score"], -np.log10(expected), rtol=1e-5)
    np.testing.assert_array_equal(found["suggested_label"], [0, 1])
    # Each example keeps it from its last visit; one of no visit is not doubted.
    ids, labels = np.array([[0, 3]]), np.array([1, 0, 0, 0])
    method = methods.Forward(transition)
    model, *_ = trained(method, log_probs[None], ids, labels)
    rows = model.tables.right_prob.numpy()[:, 0]
    np.testing.assert_allclose(rows, [0.75, 1, 1, 12 / 13], rtol=1e-6)


MATRICES = {
    r"shape \(3,\)": np.ones(3),
    r"shape \(2, 3\)": np.full((2, 3), 1 / 3),
    r"shape \(1, 1\)": np.ones((1, 1)),
    "no numbers, str": "cifar",
    "no numbers, list": [[1.0], [0.5, 0.5]],
    r"in \[0, 1\]. Received: -0.1 in row 0, column 0": [[-0.1, 1.1], [0, 1]],
    r"in \[0, 1\]. Received: nan in row 1, column 1": [[1, 0], [0, np.nan]],
    r"sum to 1. Received: a sum of 0.8 in row 1\. T\[": [[0.9, 0.1], [0.2, 0.6]],
    "Its columns do: it may be transposed": [[0.9, 0.3], [0.1, 0.7]],
    "singular: its condition number is": np.full((3, 3), 1 / 3),
}


@pytest.mark.parametrize("message", MATRICES)
@pytest.mark.parametrize("kind", [methods.Forward, losses.Forward])
def test_what_is_no_transition_matrix(kind, message):
    with pytest.raises(ValueError, match=message):
        kind(transition=MATRICES[message])


def test_a_transition_matrix_of_another_size():
    message = r"must be of shape \(3, 3\), .* Received: shape \(2, 2\)"
    backbone = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    with pytest.raises(ValueError, match=message):
        NoisyLabelModel(backbone, 5, 3, method=methods.Forward(np.eye(2)))
    with pytest.raises(ValueError, match=message):
        losses.Forward(np.eye(2))(np.zeros(4, int), np.full((4, 3), 1 / 3))
