"""The pure functions against the golden files, written-out sums and differences."""

import collections

import golden
import keras
import numpy as np
import oracle
import pytest
import tensorflow as tf

from sop_keras.methods import objective

BOUND = 1e-5
SOP_FILES = golden.names("paper_*", "ref_sop_*", "ref_bal_*", "ref_cons*")


def softmax(logits):
    return keras.ops.softmax(keras.ops.convert_to_tensor(logits, "float32"), axis=-1)


def one_hot(labels, num_classes=10):
    return np.eye(num_classes, dtype=np.float32)[labels]


@pytest.mark.parametrize("name", SOP_FILES)
def test_every_step_of_the_golden_trajectories(name):
    file = golden.load(name)
    variant, weight = file.variant, file.balance_weight
    prior = np.full(10, 0.1, np.float32)
    paper = variant == "paper"
    found = collections.defaultdict(list)
    for step, ids in enumerate(file["idx"]):
        labels = one_hot(file["y"][ids])
        u, v = (table[step, ids].astype(np.float32) for table in (file.u, file.v))
        logits = tf.Variable(file["logits"][step])
        with tf.GradientTape() as tape:
            weak, *strong = tf.split(logits, len(file.views))
            probs = softmax(weak)
            noise = objective.estimated_noise(u, v, labels, variant)
            phi = objective.observed_probabilities(probs, noise, variant)
            ce = objective.cross_entropy_loss(phi, labels)
            balance = objective.balance_loss(probs, phi, prior, variant)
            network_loss = tf.reduce_mean(ce) + weight * balance
            if strong:
                consistency = objective.consistency_loss(weak, *strong)
                network_loss += file.consistency_weight * tf.reduce_mean(consistency)
                found["cons"].append(consistency)
        predictions = one_hot(np.argmax(weak, axis=-1))
        mse = objective.squared_error_loss(predictions, noise, labels)
        by_u = objective.u_gradient(
            u, probs, noise, labels, predictions, variant, weight, prior
        )
        by_v = objective.v_gradient(v, labels, predictions, variant)
        found["logits"].append(tape.gradient(network_loss, logits))
        found["u"].append(by_u / 16.0)
        found["v"].append(by_v / 16.0)
        # The published value of the reference counts L_MSE in, the paper's does not.
        with_mse = 0.0 if paper else tf.reduce_mean(mse)
        found["loss"].append(network_loss + with_mse)
        for key, value in zip(
            ("ce", "mse", "phi", "s", "bal"),
            (ce, mse, phi, noise, balance),
            strict=True,
        ):
            found[key].append(value)

    terms = found.keys() - {"loss", "logits", "u", "v"}
    expected = {
        "loss": file["loss"],
        "logits": file["grad_logits_detached" if paper else "grad_logits"],
        "u": file.u_gradients,
        "v": file["grad_v_rows"],
        **({key: file[key] for key in terms} if paper else {}),
    }
    errors = {
        key: golden.error(np.stack(found[key]), expected[key]) for key in expected
    }
    assert max(errors.values()) < BOUND, errors


def test_the_authors_cross_entropy():
    # Without s and phi, the observed probabilities are the network's own.
    file = golden.arrays("ref_ce_k10")
    logits = tf.Variable(file["logits"][:, :16])
    labels = one_hot(file["y"][file["idx"]])
    with tf.GradientTape() as tape:
        ce = objective.cross_entropy_loss(softmax(logits), labels)
        total = tf.reduce_sum(ce) / 16.0
    found = np.mean(ce, axis=-1), tape.gradient(total, logits).numpy()
    assert golden.error(found[0], file["loss_1view"]) < BOUND
    assert golden.error(found[1], file["grad_logits_1view"]) < BOUND


def random_rows(size=12, num_classes=5, seed=3):
    """u, v, logits, labels and weights away from every kink, some rows beyond +-1."""
    rng = np.random.default_rng(seed)
    u, v = rng.normal(0, 0.5, (size, 1)), rng.normal(0, 0.4, (size, num_classes))
    u[0], v[1, 0] = 1.3, -1.2
    logits = rng.normal(0, 1.5, (size, num_classes))
    labels = rng.integers(0, num_classes, size)
    weights = rng.uniform(0.2, 2.0, size)
    return u, v, logits, labels, weights


@pytest.mark.parametrize("balance_weight", [0.0, 0.7])
@pytest.mark.parametrize("variant", objective.VARIANTS)
def test_row_gradients_are_those_of_central_differences(variant, balance_weight):
    u, v, logits, labels, weights = random_rows()
    prior = np.array([0.1, 0.2, 0.3, 0.15, 0.25])
    batch = oracle.Batch(
        logits, np.arange(12), labels, weights, variant, True, balance_weight, prior
    )
    predictions = logits.argmax(-1)

    def for_u(row):
        ce, mse, balance = batch.losses(logits, row, v, predictions)
        return ce if variant == "paper" else ce + mse + balance_weight * balance

    def for_v(row):
        return batch.losses(logits, u[:, 0], row, predictions)[1]

    labels, predictions_one_hot = one_hot(labels, 5), one_hot(predictions, 5)
    u32, v32 = u.astype(np.float32), v.astype(np.float32)
    probs, column = softmax(logits), weights[:, None].astype(np.float32)
    noise = objective.estimated_noise(u32, v32, labels, variant)
    by_u = objective.u_gradient(
        u32,
        probs,
        noise,
        labels,
        predictions_one_hot,
        variant,
        balance_weight,
        prior.astype(np.float32),
        column,
    )
    by_v = objective.v_gradient(v32, labels, predictions_one_hot, variant, column)
    expected = oracle.differences(for_u, u[:, 0])[:, None]
    assert np.median(np.abs(expected)) > 1e-3  # else nothing would be compared
    np.testing.assert_allclose(by_u / 12.0, expected, atol=2e-6)
    np.testing.assert_allclose(by_v / 12.0, oracle.differences(for_v, v), atol=2e-6)


def test_noise_is_positive_at_the_label_and_negative_elsewhere():
    u, v = np.float32([[0.5], [-2.0]]), np.float32([[0.1, -0.2, 2.0], [0.3, 0.4, 0.5]])
    labels = one_hot([1, 2], 3)
    paper = objective.estimated_noise(u, v, labels, "paper")
    # u^2 = 0.25 at label 1, -v^2 elsewhere; the second row likewise at label 2.
    expected = [[-0.01, 0.25, -4.0], [-0.09, -0.16, 4.0]]
    np.testing.assert_allclose(paper, expected, rtol=1e-6)
    reference = objective.estimated_noise(u, v, labels, "reference")
    np.testing.assert_allclose(reference, np.clip(expected, -1, 1), rtol=1e-6)


def test_phi_floors_and_normalises():
    # max(w, 1e-4) = (0.3, 1e-4, 0.5), which sums to 0.8001.
    phi = objective.normalize(np.float32([[0.3, -0.2, 0.5]]))
    np.testing.assert_allclose(phi, [[0.3 / 0.8001, 1e-4 / 0.8001, 0.5 / 0.8001]])


@pytest.mark.parametrize(("w", "passes"), [(1e-4, 1.0), (0.99e-4, 0.0)])
def test_the_kink_at_epsilon_passes_the_gradient_from_epsilon_on(w, passes):
    # w = eps counts as inside, as in torch.clamp.
    u = np.float32([[1.0]])
    labels, predictions = one_hot([0], 2), one_hot([1], 2)
    probs, noise = np.float32([[w, 0.5]]), np.float32([[0.0, 0.0]])
    found = objective.u_gradient(u, probs, noise, labels, predictions, "paper")
    w = max(w, 1e-4)
    # 2 u (1/S - 1/w_c) with S = w + 0.5
    expected = passes * 2.0 * (1 / (w + 0.5) - 1 / w)
    np.testing.assert_allclose(found, [[expected]], rtol=1e-5)


def divergence(outputs, strong_outputs, from_logits=True):
    """L_C and its gradients for both views."""
    views = [tf.Variable(np.float32(one)) for one in (outputs, strong_outputs)]
    with tf.GradientTape() as tape:
        loss = objective.consistency_loss(*views, from_logits)
    return (loss.numpy(), *tape.gradient(loss, views))


def test_the_consistency_loss_of_logits_and_of_probabilities():
    # p = (1/4, 3/4), q = (1/2, 1/2): 1/4 log(1/2) + 3/4 log(3/2) = 3/4 log 3 - log 2.
    # The gradient for logits of q, which may have a constant added, is q - p; for q
    # itself -p/q.
    p, q = np.array([[0.25, 0.75]]), np.array([[0.5, 0.5]])
    expected = [0.75 * np.log(3) - np.log(2)]
    loss, of_target, of_strong = divergence(np.log(p) + 3, np.log(q) - 2)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(of_strong, q - p, rtol=1e-6)
    assert of_target is None  # a constant
    loss, of_target, of_strong = divergence(p, q, from_logits=False)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(of_strong, -p / q, rtol=1e-6)
    assert of_target is None


def test_the_consistency_loss_of_equal_views_is_0():
    logits = np.random.default_rng(0).normal(0, 5, (50, 10))
    loss, _, of_strong = divergence(logits, logits)
    np.testing.assert_array_equal(loss, np.zeros(50))
    np.testing.assert_allclose(of_strong, np.zeros((50, 10)), atol=1e-6)


def test_the_consistency_loss_of_extreme_logits_is_finite():
    up, down = [1e4, -1e4], [-1e4, 1e4]
    # p = (1, 0) to the last bit. Against itself 0; against (0, 1): 1 * 2e4 + 0 * -2e4.
    loss, _, of_strong = divergence([up, up, down], [up, down, down])
    np.testing.assert_allclose(loss, [0, 2e4, 0])
    np.testing.assert_allclose(of_strong, [[0, 0], [-1, 1], [0, 0]])


def test_the_consistency_loss_of_masked_classes():
    # Without the masked class, p = (1/4, 3/4) and q = (1/2, 1/2) as above. Masked in
    # the weak view alone, p = (1/4, 3/4, 0) and q = (1/4, 1/4, 1/2): 3/4 log 3.
    p, masked = np.log([0.25, 0.75, 1.0]), [0.0, 0.0, -np.inf]
    strong = [masked, np.log([0.25, 0.25, 0.5])]
    loss, _, of_strong = divergence([p + masked] * 2, strong)
    expected = [0.75 * np.log(3) - np.log(2), 0.75 * np.log(3)]
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    # q - p
    np.testing.assert_allclose(of_strong, [[0.25, -0.25, 0], [0, -0.5, 0.5]], atol=1e-6)


def test_the_consistency_loss_of_probabilities_of_0_is_finite():
    certain, other = [1.0, 0.0], [0.0, 1.0]
    loss, _, of_strong = divergence([certain] * 2, [certain, other], from_logits=False)
    # A probability of 0 counts as 1e-30: log 1 - log 1e-30.
    np.testing.assert_allclose(loss, [0, 30 * np.log(10)], rtol=1e-6)
    # -p/q where q is above the floor.
    np.testing.assert_allclose(of_strong, [[-1, 0], [0, 0]], atol=1e-29)


def test_a_batch_mean_divides_by_the_number_of_examples():
    # (1 * 2 + 4 * 0.5) / 2, not by the weights' sum of 2.5.
    weights = np.float32([[2.0], [0.5]])
    found = objective.batch_mean(np.float32([1.0, 4.0]), weights)
    assert float(found) == 2.0
    assert float(objective.batch_mean(np.float32([1.0, 4.0]))) == 2.5


def test_the_balance_loss_of_the_paper_is_finite_when_a_class_underflows():
    probs = np.float32([[1.0, 0.0]])
    loss = objective.balance_loss(probs, probs, np.float32([0.5, 0.5]), "paper")
    # -0.5 log 1 - 0.5 log 1e-30
    np.testing.assert_allclose(loss, 0.5 * 30 * np.log(10), rtol=1e-5)


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ([0.5, 0.5], r"one entry for each of the 3 classes. Received shape \(2,\)"),
        ([0.5, 0.6, -0.1], "finite and non-negative"),
        ([0.5, np.nan, 0.5], "finite and non-negative"),
        (
            [0.5, 0.5, 0.5],
            r"must sum to 1. Received a sum of 1.5; divide it by its sum",
        ),
        ("even", r'`class_prior` must be "uniform", "emp.* or one .* 3 .*: .even.$'),
        (
            ["a", "b", "c"],
            r"`class_prior` must be .* one number .*: \['a', 'b', 'c'\]$",
        ),
        ({0: 0.5, 1: 0.5}, r"`class_prior` must be .* one number .*: \{0: 0.5, 1: 0.5"),
        ([[0.5], [0.2, 0.3]], r"`class_prior` must be .* one number .*: \[\[0.5\], "),
    ],
)
def test_a_wrong_prior_is_refused(prior, message):
    with pytest.raises(ValueError, match=message):
        objective.check_class_prior(prior, 3)


def test_the_prior_is_uniform_by_default_and_float32():
    for uniform in (None, "uniform"):
        found = objective.check_class_prior(uniform, 4)
        np.testing.assert_array_equal(found, np.float32([0.25] * 4))
        assert found.dtype == np.float32
    assert objective.check_class_prior("empirical", 4) is None
    given = objective.check_class_prior((0.25, 0.75), 2)
    assert given.dtype == np.float32
    np.testing.assert_array_equal(given, [0.25, 0.75])


@pytest.mark.parametrize(
    "labels",
    [[0, 2, 2, 0, 2], np.eye(4)[[0, 2, 2, 0, 2]], tf.constant([2, 2, 2, 0, 0])],
)
def test_the_empirical_prior_counts_labels(labels):
    found = objective.empirical_class_prior(labels, 4)
    # Class 0 twice, class 2 three times out of 5; the others do not occur.
    np.testing.assert_array_equal(found, [2 / 5, 0, 3 / 5, 0])
    assert found.dtype == np.float64


def test_an_empirical_prior_needs_good_labels():
    with pytest.raises(ValueError, match=r"no labels to count. Pass all labels of the"):
        objective.empirical_class_prior(np.zeros(0, np.int64), 3)
    with pytest.raises(ValueError, match=r"^Label 3 is not in \[0, 3\)"):
        objective.empirical_class_prior([0, 3], 3)


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValueError, match=r"'paper', 'reference'.*Received: 'papers'"):
        objective.check_variant("papers")
