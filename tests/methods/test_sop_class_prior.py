"""The prior of L_B: given, or counted in the labels of `fit`."""

import json

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from sop_keras import SOPModel, empirical_class_prior, methods, with_index

N, K = 8, 3
LOGITS = np.random.default_rng(0).normal(size=(N, K)).astype(np.float32)
Y = np.array([0, 0, 0, 2, 2, 0, 2, 2])  # half and half; class 1 does not occur
OTHERS = np.array([0, 1, 1, 1, 1, 1, 1, 2])


def model(class_prior="empirical", **arguments):
    """Gives its inputs: nothing is trained, so that L_B depends on the prior alone."""
    identity = keras.Sequential([keras.Input((K,)), keras.layers.Identity()])
    result = SOPModel(
        identity, N, K, balance_weight=0.5, class_prior=class_prior, init_std=0.0
    )
    result.compile("sgd", **arguments)
    return result


def balance_loss(prior, logits=LOGITS):
    """L_B = -sum_k prior_k log of the mean probability, in float64."""
    exponentials = np.exp(logits.astype(np.float64))
    probs = exponentials / exponentials.sum(axis=1, keepdims=True)
    return pytest.approx(-(prior * np.log(probs.mean(axis=0))).sum(), rel=1e-5)


def fitted(model, *data, **arguments):
    """L_B of an epoch; labels change from one fit to the next, on purpose."""
    arguments = {"changed_labels": "keep", "verbose": 0, **arguments}
    return model.fit(*data, **arguments).history["balance_loss"][0]


def stream():
    dataset = tf.data.Dataset.from_tensor_slices((LOGITS, OTHERS))
    return with_index(dataset).batch(N)


@pytest.mark.parametrize("prior", [None, "uniform", [0.2, 0.3, 0.5]])
def test_a_given_prior(prior):
    expected = [1 / 3] * 3 if prior in (None, "uniform") else prior
    one = model(prior)
    assert fitted(one, LOGITS, Y) == balance_loss(np.array(expected))
    assert fitted(one, stream()) == balance_loss(np.array(expected))


@pytest.mark.parametrize("kind", [pd.Series, np.array, tuple, tf.constant])
@pytest.mark.parametrize("method", [methods.SOP, methods.CORES2])
def test_a_given_prior_in_any_container(method, kind):
    one = method(class_prior=kind([0.25, 0.25, 0.5]))
    assert list(one.class_prior) == [0.25, 0.25, 0.5]
    one.check(K)
    assert json.loads(json.dumps(one.get_config()))["class_prior"] == [0.25, 0.25, 0.5]
    with pytest.raises(ValueError, match="`class_prior` must be"):
        method(class_prior={"a": 1.0}).check(K)


def test_labels_of_weight_0_are_not_counted():
    weights = {"sample_weight": np.float32(Y == 0)}
    assert fitted(model(), LOGITS, Y, **weights) == balance_loss(np.array([1, 0, 0]))
    # Of which only the part counts that is trained on: 4 of 8, three of class 0.
    halved = {"sample_weight": np.ones(N, np.float32), "validation_split": 0.5}
    halved["sample_weight"][0] = 0
    found = fitted(model(), LOGITS, Y, **halved)
    assert found == balance_loss(np.array([2 / 3, 0, 1 / 3]), LOGITS[:4])


@pytest.mark.parametrize("jit_compile", [False, True])
def test_labels_are_counted_by_every_fit_on_arrays(jit_compile):
    one = model(jit_compile=jit_compile)
    assert fitted(one, LOGITS, Y) == balance_loss(np.array([1 / 2, 0, 1 / 2]))
    # The second fit runs the first one's compiled step.
    assert fitted(one, LOGITS, np.eye(K)[OTHERS]) == balance_loss(
        np.array([1 / 8, 6 / 8, 1 / 8])
    )


def test_labels_set_aside_for_validation_are_not_counted():
    # A quarter is: the last two. Of the others, four of six are class 0.
    found = fitted(model(), LOGITS, Y, validation_split=0.25)
    assert found == balance_loss(np.array([4 / 6, 0, 2 / 6]), LOGITS[:6])


def test_a_stream_needs_a_vector_or_an_earlier_count():
    one = model()
    message = r"labels of arrays.*stream or a single batch .*=empirical_class_prior\("
    before = [weight.numpy() for weight in one.weights]
    with pytest.raises(ValueError, match=message):
        one.fit(stream(), verbose=0)
    targets = {"label": Y, "index": np.arange(N)}
    with pytest.raises(ValueError, match=message):
        one.train_on_batch(LOGITS, targets)
    for weight, value in zip(one.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)

    given = model(empirical_class_prior(Y, K))
    found = fitted(given, stream())
    assert found == balance_loss(np.array([1 / 2, 0, 1 / 2]))
    fitted(one, LOGITS, Y)
    found = fitted(one, stream())
    assert found == balance_loss(np.array([1 / 2, 0, 1 / 2]))


def test_without_l_b_nothing_is_counted_or_needed():
    identity = keras.Sequential([keras.Input((K,)), keras.layers.Identity()])
    one = SOPModel(identity, N, K, class_prior="empirical")
    one.compile("sgd")
    history = one.fit(stream(), verbose=0).history
    assert "balance_loss" not in history


def test_the_count_is_saved_with_the_weights(tmp_path):
    one = model()
    fitted(one, LOGITS, Y)
    one.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    found = fitted(loaded, stream())
    assert found == balance_loss(np.array([1 / 2, 0, 1 / 2]))
    # And a fit on arrays counts anew, as it would without a save between.
    assert fitted(loaded, LOGITS, OTHERS) == balance_loss(
        np.array([1 / 8, 6 / 8, 1 / 8])
    )


def test_the_reference_counts_for_u_as_well():
    # u has no other gradient where its row's L_CE and L_MSE have the weight 0.
    def step(prior):
        identity = keras.Sequential([keras.Input((K,)), keras.layers.Identity()])
        one = SOPModel(
            identity, N, K, variant="reference", balance_weight=0.5, class_prior=prior
        )
        one.noise_table.u.assign(np.full((N, 1), 0.5))
        one.compile("sgd", u_optimizer=1.0)
        one.fit(LOGITS, Y, batch_size=N, sample_weight=np.zeros(N), verbose=0)
        return one.noise_table.u.numpy()

    counted, given, uniform = map(step, ("empirical", [0.5, 0.0, 0.5], None))
    np.testing.assert_allclose(counted, given, rtol=1e-6)
    assert np.abs(counted - uniform).max() > 1e-3
