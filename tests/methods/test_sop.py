"""The pure functions against the golden files, written-out sums and differences."""

import collections
from types import SimpleNamespace

import golden
import keras
import numpy as np
import oracle
import pytest
import tensorflow as tf

from sop_keras.core.example_tables import ExampleTables
from sop_keras.methods import sop_objective as objective
from sop_keras.methods.sop import SOP
from sop_keras.methods.sop_record import VARIANTS
from sop_keras.methods.sop_regularizers import balance_loss, consistency_loss

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
            balance = balance_loss(probs, phi, prior, variant)
            network_loss = tf.reduce_mean(ce) + weight * balance
            if strong:
                consistency = consistency_loss(weak, *strong)
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


@pytest.mark.parametrize("name", golden.names("paper_sop_*", "ref_sop_*", "ref_bal_*"))
def test_the_golden_trajectories_of_u_and_v(name):
    file = golden.load(name)
    method = SOP(variant=file.variant)
    tables = ExampleTables(method.tables(10), 64)
    tables.u.assign(file.u[0])
    tables.v.assign(file.v[0])
    labels = one_hot(file["y"])
    prior = np.full(10, 0.1, np.float32)
    rates = {"u": float(file["lr_u"]), "v": float(file["lr_v"])}
    us, vs = [tables.u.numpy()], [tables.v.numpy()]
    for ids, logits in zip(file["idx"], file["logits"], strict=True):
        u, v = (tables.rows(ids)[name] for name in "uv")
        batch = labels[ids]
        noise = objective.estimated_noise(u, v, batch, file.variant)
        predictions = one_hot(logits.argmax(-1))
        by_u = objective.u_gradient(
            u,
            softmax(logits),
            noise,
            batch,
            predictions,
            file.variant,
            file.balance_weight,
            prior,
        )
        by_v = objective.v_gradient(v, batch, predictions, file.variant)
        tables.update(
            ids,
            {"u": by_u / 16.0, "v": by_v / 16.0},
            lambda rows, steps: method.updated_rows(rows, steps, rates),
        )
        us.append(tables.u.numpy())
        vs.append(tables.v.numpy())
    assert golden.error(np.stack(us), file.u) < BOUND
    assert golden.error(np.stack(vs), file.v) < BOUND


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
@pytest.mark.parametrize("variant", VARIANTS)
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


def test_the_gradient_of_cross_entropy_for_v_is_that_of_central_differences():
    u, v, logits, labels, weights = random_rows()
    batch = oracle.Batch(
        logits, np.arange(12), labels, weights, "paper", True, 0.0, np.full(5, 0.2)
    )

    def for_v(row):
        return batch.losses(logits, u[:, 0], row, logits.argmax(-1))[0]

    u32, v32 = u.astype(np.float32), v.astype(np.float32)
    one_hots, probs = one_hot(labels, 5), softmax(logits)
    noise = objective.estimated_noise(u32, v32, one_hots, "paper")
    found = objective.v_gradient_of_cross_entropy(
        v32, probs, noise, one_hots, weights[:, None].astype(np.float32)
    )
    expected = oracle.differences(for_v, v)
    # Of the 48 entries off the labels, those that are not below the floor.
    assert np.sum(np.abs(expected) > 1e-4) > 10
    np.testing.assert_allclose(found / 12.0, expected, atol=2e-6)


def test_cross_entropy_moves_v_away_from_0_whatever_is_predicted():
    # p = (0.5, 0.3, 0.2), label 0, u = 0, v = 0.1: s = (0, -0.01, -0.01), S = 0.98, and
    # -2 v / S = -0.2 / 0.98 at both other classes, the likelier and the other alike.
    probs, labels = np.float32([[0.5, 0.3, 0.2]]), one_hot([0], 3)
    v = np.full((1, 3), 0.1, np.float32)
    noise = objective.estimated_noise(np.zeros((1, 1), "float32"), v, labels, "paper")
    found = objective.v_gradient_of_cross_entropy(v, probs, noise, labels)
    np.testing.assert_allclose(found, [[0, -0.2 / 0.98, -0.2 / 0.98]], rtol=1e-6)


def test_what_trains_v_is_chosen():
    # One example, label 0, predicted 1; v = 0.1 there, alpha_v = 1, B = 1. Off the
    # label, -4 v (h - v^2) is -0.4 (1 - 0.01) and 0.4 x 0.01 for the one-hot h, and
    # -0.4 (p_j - 0.01) for p; L_CE's is as above, with S = 0.98.
    probs = np.float32([[0.2, 0.5, 0.3]])
    rows = {"u": np.zeros((1, 1), "float32"), "v": np.full((1, 3), 0.1, np.float32)}
    for v_loss, expected in {
        "mse": [[0, -0.396, 0.004]],
        "mse_of_p": [[0, -0.196, -0.116]],
        "ce": [[0, -0.2 / 0.98, -0.2 / 0.98]],
    }.items():
        method = SOP(u_learning_rate=1.0, v_learning_rate=1.0, v_loss=v_loss)
        outputs = SimpleNamespace(probs=probs, predictions=one_hot([1], 3))
        batch = SimpleNamespace(
            labels=one_hot([0], 3),
            weights=None,
            rates={"u": 1.0, "v": 1.0},
            size=1.0,
            state={},
            mean=None,
        )
        steps = method.row_steps(outputs, rows, batch)
        np.testing.assert_allclose(steps["v"], expected, atol=1e-6)


@pytest.mark.parametrize(
    "arguments", [{}, {"v_learning_rate": 10.0, "variant": "reference"}]
)
def test_another_loss_of_v_needs_a_rate_and_the_papers_variant(arguments):
    with pytest.raises(ValueError, match="with a number for alpha_v: --v_lr=10"):
        SOP(v_loss="ce", **arguments)


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


def test_an_unknown_variant_is_refused():
    message = r"one of paper, reference\. Received: variant='papers'"
    with pytest.raises(ValueError, match=message):
        SOP(variant="papers")
