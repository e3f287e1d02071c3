"""A batch that a method mixes: what is trained on, recorded, counted and brought."""

import keras
import numpy as np
import pytest
from mixer import Mixer

from sop_keras import NoisyLabelModel, methods

N, D, K, BATCH, RATE = 10, 3, 4, 4, 0.3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D)).astype(np.float32)
Y = RNG.integers(0, K, N)


def network():
    start = keras.initializers.GlorotUniform(1)
    return keras.Sequential(
        [keras.Input((D,)), keras.layers.Dense(K, kernel_initializer=start)]
    )


def softmax(logits):
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def expected(appends, epochs, accumulated=1):
    """The same in NumPy: weights, the record of each example, losses, accuracies."""
    weights = [one.astype(np.float64) for one in network().get_weights()]
    record, step = np.zeros((N, K)), 0
    losses, accuracies = [], []
    held = [np.zeros_like(one) for one in weights]
    for _ in range(epochs):
        total, examples, hits = 0.0, 0, 0
        for start in range(0, N, BATCH):
            x, y = X[start : start + BATCH].astype(float), Y[start : start + BATCH]
            labels = np.eye(K)[y]
            share = 0.6 + 0.1 * (step % 3)
            step += 1
            mixed = share * x + (1 - share) * x[::-1]
            mixed_labels = share * labels + (1 - share) * labels[::-1]
            if appends:
                mixed = np.concatenate([x, mixed])
                mixed_labels = np.concatenate([labels, mixed_labels])
            probs = softmax(mixed @ weights[0] + weights[1])
            total -= (mixed_labels * np.log(probs)).sum()
            examples += len(mixed)
            hits += (probs[: len(y)].argmax(axis=1) == y).sum()
            record[start : start + BATCH] = probs[: len(y)]
            by_logits = (probs - mixed_labels) / len(mixed)
            held[0] += mixed.T @ by_logits / accumulated
            held[1] += by_logits.sum(axis=0) / accumulated
            if step % accumulated == 0:
                for one, gradient in zip(weights, held, strict=True):
                    one -= RATE * gradient
                    gradient[...] = 0
        losses.append(total / examples)
        accuracies.append(hits / N)
    return weights, record, losses, accuracies


@pytest.mark.parametrize(("appends", "accumulated"), [(0, 1), (1, 1), (1, 2)])
def test_mixed_batches_agree_with_a_loop_in_float64(appends, accumulated):
    model = NoisyLabelModel(network(), N, K, method=Mixer(appends=bool(appends)))
    steps = accumulated if accumulated > 1 else None
    optimizer = keras.optimizers.SGD(RATE, gradient_accumulation_steps=steps)
    model.compile(optimizer, metrics=["accuracy"])
    options = {"batch_size": BATCH, "epochs": 2, "shuffle": False, "verbose": 0}
    history = model.fit(X, Y, **options).history
    weights, record, losses, accuracies = expected(appends, 2, accumulated)
    for found, one in zip(model.backbone.get_weights(), weights, strict=True):
        np.testing.assert_allclose(found, one, atol=1e-5)
    np.testing.assert_allclose(model.tables.brought.numpy(), record, atol=1e-5)
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-5)
    np.testing.assert_allclose(history["accuracy"], accuracies, rtol=1e-5)
    # What is recorded is of the examples and labels that were given.
    predictions, probs = model.training_record.read(np.arange(N))
    np.testing.assert_array_equal(predictions, record.argmax(axis=1))
    np.testing.assert_allclose(probs, record[np.arange(N), Y], atol=1e-5)
    assert not model.training_record.other_label(np.arange(N), Y).any()


def test_a_rate_of_no_table_is_refused():
    model = NoisyLabelModel(network(), N, K, method=methods.SOP())
    with pytest.raises(ValueError, match=r"SOP has learning rates of u, v\. .*: w"):
        model.compile("sgd", row_rates={"w": 1.0})
    plain = NoisyLabelModel(network(), N, K, method=methods.CrossEntropy())
    with pytest.raises(ValueError, match=r"rates of no table\. .* of: u"):
        plain.compile("sgd", row_rates={"u": 1.0})
