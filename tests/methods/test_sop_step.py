"""Whole fits against the oracle: float64 loops, gradients by central differences."""

import keras
import numpy as np
import oracle
import pytest
import tensorflow as tf

from sop_keras import SOPModel

N, K, RATE = 11, 4, 0.3
U_RATE, V_RATE = 2.0, 3.0


class Bias(keras.layers.Layer):
    """Outputs = inputs + bias: the bias' gradient is the sum of the outputs'."""

    def build(self, input_shape):
        self.bias = self.add_weight(shape=(K,), initializer="zeros")

    def call(self, inputs):
        return inputs + self.bias


def data(from_logits=True, duplicates=False):
    rng = np.random.default_rng(5)
    outputs = rng.normal(0, 1.2, (N, K))
    if not from_logits:
        outputs = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
    ids = rng.permutation(N)
    if duplicates:  # in one batch of four and across batches
        ids[:9] = [3, 7, 3, 3, 0, 3, 0, 1, 7]
    labels_of_ids = rng.integers(0, K, N)
    return outputs.astype(np.float32), ids, labels_of_ids[ids]


def strong_view(outputs, from_logits=True):
    """Another view's outputs: logits with noise, or other probabilities."""
    rng = np.random.default_rng(7)
    if from_logits:
        return (outputs + rng.normal(0, 1, outputs.shape)).astype(np.float32)
    mixed = 0.5 * outputs + 0.5 * rng.dirichlet(np.ones(K), len(outputs))
    return mixed.astype(np.float32)


def tables():
    rng = np.random.default_rng(6)
    u, v = rng.normal(0, 0.4, (N, 1)), rng.normal(0, 0.4, (N, K))
    u[3], v[7, 1] = 1.2, -1.1  # projected by their first step, or dead in the reference
    return u.astype(np.float32), v.astype(np.float32)


def run_oracle(
    outputs, ids, labels, weights, u_rates, epochs=2, strong=None, **options
):
    """Two epochs of batches of 4, 4 and 3 examples, in order."""
    u, v = (table.astype(np.float64) for table in tables())
    bias, epoch_means, count = np.zeros(K), [], 0
    for _ in range(epochs):
        sums = np.zeros(4)
        for start in range(0, N, 4):
            rows = slice(start, start + 4)
            batch = oracle.Batch(
                outputs[rows] + bias,
                ids[rows],
                labels[rows],
                weights[rows],
                strong=None if strong is None else strong[rows] + bias,
                **options,
            )
            *losses, gradient = oracle.step(batch, u, v, u_rates[count], V_RATE)
            bias = bias - RATE * gradient.sum(axis=0)
            sums += np.array(losses) * len(batch.ids)
            count += 1
        epoch_means.append(sums / N)
    return u, v, bias, np.array(epoch_means)


def run_model(model, x, targets, u_optimizer=U_RATE, **fit_arguments):
    u, v = tables()
    model.noise_table.u.assign(u)
    model.noise_table.v.assign(v)
    model.compile(
        optimizer=keras.optimizers.SGD(RATE),
        u_optimizer=u_optimizer,
        v_optimizer=V_RATE,
    )
    history = model.fit(
        x, targets, batch_size=4, epochs=2, shuffle=False, verbose=0, **fit_arguments
    )
    table = model.noise_table
    return (
        table.u.numpy(),
        table.v.numpy(),
        model.backbone.bias.numpy(),
        history.history,
    )


def assert_agreement(found, expected, balance_weight=0.0, consistency_weight=0.0):
    u, v, bias, history = found
    expected_u, expected_v, expected_bias, losses = expected
    np.testing.assert_allclose(u, expected_u, atol=1e-5)
    np.testing.assert_allclose(v, expected_v, atol=1e-5)
    np.testing.assert_allclose(bias, expected_bias, atol=1e-5)
    ce, mse, balance, consistency = losses.T
    np.testing.assert_allclose(history["ce_loss"], ce, rtol=1e-5)
    np.testing.assert_allclose(history["mse_loss"], mse, rtol=1e-5)
    total = ce + balance_weight * balance + consistency_weight * consistency
    np.testing.assert_allclose(history["loss"], total, rtol=1e-5)
    for name, weight, values in (
        ("balance_loss", balance_weight, balance),
        ("consistency_loss", consistency_weight, consistency),
    ):
        assert (name in history) == (weight > 0)
        if weight:
            np.testing.assert_allclose(history[name], values, rtol=1e-5)


PRIOR = [0.1, 0.2, 0.3, 0.4]


@pytest.mark.parametrize(
    ("options", "duplicates", "weighted", "one_hot"),
    [
        ({"variant": "paper"}, False, False, False),
        ({"variant": "paper", "from_logits": False}, True, True, True),
        ({"variant": "paper", "balance_weight": 0.5}, False, False, True),
        (
            {"variant": "paper", "balance_weight": 0.5, "prior": PRIOR},
            True,
            True,
            False,
        ),
        ({"variant": "reference"}, True, True, False),
        ({"variant": "reference", "from_logits": False}, False, False, False),
        (
            {"variant": "reference", "balance_weight": 0.5, "prior": PRIOR},
            True,
            True,
            True,
        ),
    ],
)
def test_fit_agrees_with_the_oracle(options, duplicates, weighted, one_hot):
    outputs, ids, labels = data(options.get("from_logits", True), duplicates)
    weights = np.random.default_rng(8).uniform(0, 2, N) if weighted else np.ones(N)
    model_options = dict(options)
    prior = model_options.pop("prior", None)
    model = SOPModel(Bias(), N, K, class_prior=prior, **model_options)
    found = run_model(
        model,
        outputs,
        {"label": np.eye(K)[labels] if one_hot else labels, "index": ids},
        sample_weight=weights if weighted else None,
    )
    expected = run_oracle(outputs, ids, labels, weights, [U_RATE] * 6, **options)
    assert_agreement(found, expected, options.get("balance_weight", 0.0))


@pytest.mark.parametrize(
    ("options", "duplicates", "weighted"),
    [
        ({"variant": "paper"}, False, False),
        ({"variant": "paper", "balance_weight": 0.5, "prior": PRIOR}, True, True),
        ({"variant": "paper", "from_logits": False}, True, True),
        ({"variant": "reference"}, True, True),
        ({"variant": "reference", "balance_weight": 0.5}, False, False),
        ({"variant": "reference", "from_logits": False}, False, True),
    ],
)
def test_fit_on_two_views_agrees_with_the_oracle(options, duplicates, weighted):
    options = {"consistency_weight": 0.9, **options}
    from_logits = options.get("from_logits", True)
    outputs, ids, labels = data(from_logits, duplicates)
    strong = strong_view(outputs, from_logits)
    weights = np.random.default_rng(8).uniform(0, 2, N) if weighted else np.ones(N)
    model_options = dict(options)
    prior = model_options.pop("prior", None)
    found = run_model(
        SOPModel(Bias(), N, K, class_prior=prior, **model_options),
        (outputs, strong),
        {"label": labels, "index": ids},
        sample_weight=weights if weighted else None,
    )
    expected = run_oracle(
        outputs, ids, labels, weights, [U_RATE] * 6, strong=strong, **options
    )
    assert_agreement(found, expected, options.get("balance_weight", 0.0), 0.9)


def test_class_weights_are_sample_weights():
    outputs, ids, labels = data()
    class_weight = {0: 0.5, 2: 3.0}
    weights = np.array([class_weight.get(label, 1.0) for label in labels])
    targets = {"label": labels, "index": ids}
    found = run_model(
        SOPModel(Bias(), N, K), outputs, targets, class_weight=class_weight
    )
    assert_agreement(found, run_oracle(outputs, ids, labels, weights, [U_RATE] * 6))


def test_a_schedule_follows_the_rows_own_step_counter():
    outputs, ids, labels = data()
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay(
        [1, 3], [2.0, 1.0, 0.5]
    )
    # The rate of steps 0 to 1, then to 3, then from 4 on.
    rates = [2.0, 2.0, 1.0, 1.0, 0.5, 0.5]
    model = SOPModel(Bias(), N, K)
    found = run_model(model, outputs, {"label": labels, "index": ids}, schedule)
    assert_agreement(found, run_oracle(outputs, ids, labels, np.ones(N), rates))
    assert int(model.u_optimizer.iterations) == int(model.v_optimizer.iterations) == 6


def test_evaluate_is_the_networks_plain_cross_entropy():
    outputs, _, labels = data()
    model = SOPModel(Bias(), N, K)
    u, v = tables()
    model.noise_table.u.assign(u)
    model.noise_table.v.assign(v)
    model.compile(metrics=["accuracy"], weighted_metrics=["accuracy"])
    weights = np.random.default_rng(8).uniform(0, 2, N)
    losses = []
    for output, label in zip(outputs.astype(np.float64), labels, strict=True):
        losses.append(np.log(np.exp(output).sum()) - output[label])
    hits = outputs.argmax(-1) == labels
    plain = model.evaluate(outputs, labels, batch_size=4, verbose=0)
    np.testing.assert_allclose(plain[:2], [np.mean(losses), hits.mean()], 1e-6)
    weighted = model.evaluate(
        outputs, labels, 4, 0, sample_weight=weights, return_dict=True
    )
    # The divisor of the loss stays the number of examples.
    assert set(weighted) == {"loss", "accuracy", "weighted_accuracy"}
    np.testing.assert_allclose(weighted["loss"], np.mean(losses * weights), 1e-6)
    expected = np.average(hits, weights=weights)
    np.testing.assert_allclose(weighted["weighted_accuracy"], expected, 1e-6)
    np.testing.assert_array_equal(model.noise_table.u.numpy(), u)
    np.testing.assert_array_equal(model.noise_table.v.numpy(), v)


def test_evaluate_of_probabilities():
    outputs, _, labels = data(from_logits=False)
    model = SOPModel(Bias(), N, K, from_logits=False)
    model.compile()
    found = model.evaluate(outputs, labels, verbose=0)
    np.testing.assert_allclose(found, -np.log(outputs[range(N), labels]).mean(), 1e-6)


def test_train_on_batch_and_test_on_batch():
    outputs, ids, labels = data(duplicates=True)
    expected = run_oracle(outputs, ids, labels, np.ones(N), [U_RATE] * 3, epochs=1)
    model = SOPModel(Bias(), N, K)
    u, v = tables()
    model.noise_table.u.assign(u)
    model.noise_table.v.assign(v)
    model.compile(keras.optimizers.SGD(RATE), u_optimizer=U_RATE, v_optimizer=V_RATE)
    for start in range(0, N, 4):
        rows = slice(start, start + 4)
        targets = {"label": labels[rows], "index": ids[rows]}
        logs = model.train_on_batch(outputs[rows], targets, return_dict=True)
    assert set(logs) == {"loss", "ce_loss", "mse_loss"}
    np.testing.assert_allclose(model.noise_table.u.numpy(), expected[0], atol=1e-5)
    np.testing.assert_allclose(model.backbone.bias.numpy(), expected[2], atol=1e-5)
    found = model.test_on_batch(outputs, labels, return_dict=True)
    assert found == pytest.approx(
        model.evaluate(outputs, labels, 11, 0, return_dict=True)
    )


def test_estimate_noise():
    model = SOPModel(Bias(), 3, 2)
    model.noise_table.u.assign([[0.5], [0.0], [1.0]])
    model.noise_table.v.assign([[0.1, 0.2], [0.0, 0.0], [0.3, 0.4]])
    expected = [[-0.09, 1.0], [0.25, -0.04]]  # (-v^2, u^2), (u^2, -v^2)
    for labels in ([1, 0], np.eye(2)[[1, 0]], tf.constant([1, 0])):
        found = model.estimate_noise([2, 0], labels)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        assert found.dtype == np.float32
