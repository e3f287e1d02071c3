"""Averages of weights: their numbers, and what they leave as it was."""

import functools

import keras
import numpy as np
import pytest
from keras import layers
from replica_models import method_named
from turns import BATCH, K, N, Turns, X, Y
from turns import network as network_of_turns

from sop_keras import NoisyLabelModel, SOPModel, methods


def halving(weight_average):
    """A network of known steps.

    Its inputs are all 4: BatchNormalization makes them 0 in training, and the kernel
    has the gradient 2 (1/4) w of its L2 term alone, so that a step at rate 1 halves it:

        step            1      2      3        4        5         6
        kernel, +-      4      2      1        1/2      1/4       1/8
        moving mean     2      3      7/2      15/4     31/8      63/16
        variance        1/2    1/4    1/8      1/16     1/32      1/64
    """
    backbone = keras.Sequential(
        [
            keras.Input((1,)),
            layers.BatchNormalization(momentum=0.5, center=False, scale=False),
            layers.Dense(
                2, use_bias=False, kernel_regularizer=keras.regularizers.L2(0.25)
            ),
        ]
    )
    backbone.layers[-1].set_weights([np.array([[8.0, -8.0]])])
    model = NoisyLabelModel(
        backbone, 6, 2, method=methods.CrossEntropy(), weight_average=weight_average
    )
    model.compile(keras.optimizers.SGD(1.0), metrics=["accuracy"])
    return model


BY_HAND = {
    # Of steps 1 to 3, with 1/4, 1/2 and 1 of 7/4.
    "first": (
        (4 / 4 + 2 / 2 + 1) / (7 / 4),
        (2 / 4 + 3 / 2 + 7 / 2) / (7 / 4),
        (1 / 8 + 1 / 8 + 1 / 8) / (7 / 4),
    ),
    # Of steps 4 to 6, a third each.
    "last": (
        (1 / 2 + 1 / 4 + 1 / 8) / 3,
        (15 / 4 + 31 / 8 + 63 / 16) / 3,
        (1 / 16 + 1 / 32 + 1 / 64) / 3,
    ),
    "third": (1.0, 7 / 2, 1 / 8),
}


@pytest.mark.parametrize(
    ("weight_average", "epochs"),
    [
        ("none", ["third"]),
        ("ema:0.5", ["first"]),
        ("last:1", ["third", "last"]),  # before it begins, the network itself
    ],
)
def test_three_numbers_by_hand(weight_average, epochs):
    model = halving(weight_average)
    x, y = np.full((6, 1), 4.0, "float32"), np.array([0, 1] * 3)
    history = model.fit(
        x,
        y,
        batch_size=2,
        epochs=len(epochs),
        verbose=0,
        validation_data=(np.array([[2.0]], "float32"), np.array([0])),
    ).history
    # log(1 + exp(-2 k z)) where logits are (k z, -k z), in float64.
    expected = []
    for kernel, mean, variance in (BY_HAND[name] for name in epochs):
        z = (2.0 - mean) / np.sqrt(variance + 1e-3)
        expected.append(np.log1p(np.exp(-2 * kernel * z)))
    np.testing.assert_allclose(history["val_loss"], expected, rtol=2e-5)
    kernel, mean, variance = BY_HAND[epochs[-1]]
    saved = model.predictor().get_weights()
    for found, one in zip(
        saved, ([mean], [variance], [[kernel, -kernel]]), strict=True
    ):
        np.testing.assert_allclose(found, one, rtol=1e-6)
    # The network that is trained is where three steps of it are, or six.
    steps = 3 * len(epochs)
    assert model.backbone.layers[-1].get_weights()[0][0, 0] == 8.0 / 2**steps


class Watch(keras.callbacks.Callback):
    """Keeps all weights after each batch, float64."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        weights = [one.astype(float) for one in self.model.backbone.get_weights()]
        self.seen.append(weights)


def slow_mean(seen, decay):
    """The mean of lists of arrays, each by `decay` times the next one."""
    sums, total = [np.zeros_like(one) for one in seen[0]], 0.0
    for age, weights in enumerate(reversed(seen)):
        for place, weight in enumerate(weights):
            sums[place] += decay**age * weight
        total += decay**age
    return [one / total for one in sums]


def sop(weight_average="none", **options):
    model = SOPModel(network_of_turns(1), N, K, seed=5, weight_average=weight_average)
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9), metrics=["accuracy"], **options
    )
    return model


def fit(model, *args, epochs=4, **options):
    options = {"batch_size": BATCH, "epochs": epochs, "verbose": 0, **options}
    return model.fit(*(args or (X, Y)), **options).history


@pytest.fixture(scope="module")
def whole():
    """By an average: a model that has been trained to the end, in one order."""

    @functools.cache
    def trained(weight_average):
        model = sop(weight_average)
        fit(model, shuffle=False)
        return model

    return trained


@pytest.mark.parametrize(
    ("weight_average", "decay", "of_last"), [("ema:0.7", 0.7, 99), ("last:2", 1, 8)]
)
def test_a_slow_mean_of_all_that_a_training_went_through(
    weight_average, decay, of_last
):
    watch = Watch()
    model = sop(weight_average)
    history = fit(model, callbacks=[watch], shuffle=False, validation_data=(X, Y))
    expected = slow_mean(watch.seen[-of_last:], decay)
    found = model.predictor().get_weights()
    assert len(found) == 8
    for one, value in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, value, rtol=1e-5, atol=1e-6)
    assert np.abs(found[0] - watch.seen[-1][0]).max() > 1e-3
    plain = sop()
    plain.backbone.set_weights(expected)
    loss = plain.evaluate(X, Y, verbose=0)[0]
    assert history["val_loss"][-1] == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize(
    "options",
    [{"jit_compile": True}, {"steps_per_execution": 3}],
    ids=lambda options: next(iter(options)),
)
def test_however_the_step_is_run(options):
    whole, other = sop("ema:0.8", run_eagerly=True), sop("ema:0.8", **options)
    for one in (whole, other):
        one.backbone.layers[2].rate = 0.0  # XLA draws other numbers
        fit(one, shuffle=False)
    for one, value in zip(
        other.predictor().get_weights(), whole.predictor().get_weights(), strict=True
    ):
        np.testing.assert_allclose(one, value, atol=1e-4)


def state_of(model):
    """All that a training moves."""
    own = {id(one) for one in model.averaged.variables} if model.averaged else ()
    variables = [one for one in model.variables if id(one) not in own]
    variables += [one for each in model.optimizers() for one in each.variables]
    return {one.path: one.numpy() for one in variables if "/average" not in one.path}


def trained(name, weight_average):
    method = Turns() if name == "turns" else method_named(name)
    peer = network_of_turns(2) if method.num_networks > 1 else None
    model = NoisyLabelModel(
        network_of_turns(1, name="first"),
        23,
        K,
        method=method,
        peer=peer,
        seed=5,
        weight_average=weight_average,
    )
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), metrics=["accuracy"])
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(23, 3)).astype("float32"), rng.integers(0, K, 23)
    views = (x, x + 1) if method.num_views > 1 else x
    history = fit(model, views, y, validation_data=(x, y), shuffle=False)
    return model, history


# One network; a look; two networks, which leave steps out; a start anew; in turn.
@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["sop_plus", "truncated_gce", "coteaching_plus", "forward", "turns"]
)
def test_training_is_the_same_to_the_bit(name):
    plain, expected = trained(name, "none")
    model, history = trained(name, "ema:0.9")
    states = state_of(plain), state_of(model)
    assert len(states[0]) == len(states[1])
    for one, value in zip(states[0].values(), states[1].values(), strict=True):
        np.testing.assert_array_equal(one, value)
    assert history["loss"] == expected["loss"]
    assert history["val_loss"][-1] != expected["val_loss"][-1]


def test_off_adds_nothing_to_a_model():
    model = sop()
    assert model.averaged is None
    assert model.predictor() is model.backbone
    assert "averaged" not in {layer.name for layer in model.layers}


def test_two_networks_are_averaged_each_and_predict_together():
    first, peer = map(network_of_turns, (1, 2))
    model = NoisyLabelModel(
        *(first, N, K), method=Turns(), peer=peer, weight_average="last:1"
    )
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9))
    fit(model, epochs=2)
    # Of the last pass of each: 20 examples and 10 easy ones, in batches of 6.
    assert [float(one.numpy()) for one in model.averaged.totals] == [5.0, 5.0]
    together = model.predict(X, verbose=0)
    copies = model.averaged.networks(model.networks())
    each = [one.predict(X, verbose=0) for one in copies]
    np.testing.assert_allclose(together, np.mean(each, axis=0), atol=1e-6)
    deployed = model.predictor().predict(X, verbose=0)
    np.testing.assert_allclose(deployed, together, atol=1e-6)
    trained = [one.predict(X, verbose=0) for one in model.networks()]
    assert np.abs(together - np.mean(trained, axis=0)).max() > 1e-3


def test_batches_that_accumulate_are_one_step():
    model = sop("ema:0.5")
    model.compile(keras.optimizers.SGD(0.1, gradient_accumulation_steps=2))
    watch = Watch()
    fit(model, epochs=1, callbacks=[watch])  # 4 batches
    assert float(model.averaged.totals[0].numpy()) == 1.5
    expected = slow_mean(watch.seen[1::2], 0.5)
    for one, value in zip(model.predictor().get_weights(), expected, strict=True):
        np.testing.assert_allclose(one, value, atol=1e-6)


def test_frozen_weights_stay_as_they_are_to_the_bit():
    model = sop("ema:0.7")
    model.backbone.layers[0].trainable = False
    model.compile(keras.optimizers.SGD(0.1))
    kernel = model.backbone.layers[0].get_weights()[0]
    fit(model)
    np.testing.assert_array_equal(model.predictor().get_weights()[0], kernel)


def test_in_training_the_network_itself_is_asked():
    model = sop("ema:0.9")
    fit(model, epochs=1)
    model.backbone.layers[2].rate = 0.0
    said = model(X, training=True).numpy()
    expected = model.backbone(X, training=True).numpy()
    np.testing.assert_array_equal(said, expected)
    np.testing.assert_allclose(
        model(X).numpy(), model.predictor()(X).numpy(), atol=1e-6
    )
    assert np.abs(model(X).numpy() - model.backbone(X).numpy()).max() > 1e-3


def test_labels_are_judged_by_the_average(whole):
    model = whole("ema:0.9")
    issues = model.label_issues(X, Y)
    logits = model.predictor().predict(X, verbose=0)
    probs = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
    expected = probs[np.arange(N), Y]
    np.testing.assert_allclose(issues["given_label_prob"], expected, rtol=1e-4)


@pytest.mark.parametrize("weight_average", ["ema:0.9", "last:3"])
def test_saved_within_the_average_and_gone_on_with(whole, tmp_path, weight_average):
    whole, part = whole(weight_average), sop(weight_average)
    fit(part, epochs=2, total_epochs=4, shuffle=False)
    part.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert loaded.weight_average == weight_average
    fit(loaded, initial_epoch=2, shuffle=False)
    pairs = zip(whole.weights, loaded.weights, strict=True)
    for one, value in pairs:
        np.testing.assert_array_equal(one.numpy(), value.numpy(), one.path)
    # What is deployed needs nothing of this library.
    loaded.predictor().save(tmp_path / "p.keras")
    deployed = keras.saving.load_model(tmp_path / "p.keras")
    np.testing.assert_array_equal(
        deployed.predict(X, verbose=0), whole.predict(X, verbose=0)
    )


def test_another_training_has_last_epochs_of_its_own():
    model = sop("last:1")
    fit(model, epochs=2)
    watch = Watch()
    fit(model, epochs=2, callbacks=[watch])
    expected = slow_mean(watch.seen[4:], 1.0)
    for one, value in zip(model.predictor().get_weights(), expected, strict=True):
        np.testing.assert_allclose(one, value, atol=1e-6)


def test_networks_that_start_anew_are_averaged_from_there():
    # Two trainings of 2 epochs; what the first one is judged by decides how it ends.
    histories = {}
    for average in ("none", "ema:0.5", "last:4"):
        watch = Watch()
        model = NoisyLabelModel(
            network_of_turns(1),
            N,
            K,
            method=methods.Forward(anchor_percentile=97),
            weight_average=average,
        )
        model.compile(keras.optimizers.SGD(0.1))
        options = {"callbacks": [watch], "shuffle": False, "validation_data": (X, Y)}
        histories[average] = fit(model, **options)["val_loss"]
        if average == "none":
            continue
        assert histories[average][:2] == histories["none"][:2]
        assert histories[average][2] != histories["none"][2]
        expected = slow_mean(watch.seen[8:], 0.5 if average == "ema:0.5" else 1.0)
        for one, value in zip(model.predictor().get_weights(), expected, strict=True):
            np.testing.assert_allclose(one, value, atol=1e-6)


def test_an_unbuilt_network_is_refused():
    unbuilt = keras.Sequential([layers.Dense(K)])
    with pytest.raises(ValueError, match=r"is not built has none yet.*Build it first"):
        SOPModel(unbuilt, N, K, weight_average="ema:0.9")


class Closed(keras.Model):
    """Whose constructor takes what no configuration has."""

    def __init__(self, activation):
        super().__init__()
        self.dense, self.activation = layers.Dense(K), activation

    def call(self, x):
        return self.activation(self.dense(x))


class Open(keras.Model):
    """Layers of which a configuration is enough."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.norm, self.dense = layers.BatchNormalization(), layers.Dense(K)

    def call(self, x):
        return self.dense(self.norm(x))


def of_own_class(backbone):
    backbone(X)
    model = SOPModel(backbone, N, K, weight_average="ema:0.9")
    model.compile(keras.optimizers.SGD(0.1))
    fit(model, epochs=1)
    return model


def test_networks_of_ones_own_class():
    model = of_own_class(Open())
    said = model.predict(X, verbose=0)
    np.testing.assert_allclose(model.predictor().predict(X, verbose=0), said, atol=1e-6)
    assert np.abs(model.backbone.predict(X, verbose=0) - said).max() > 1e-3


def test_a_network_that_cannot_be_copied_is_evaluated_but_not_deployed():
    model = of_own_class(Closed(lambda x: x))
    assert np.isfinite(model.evaluate(X, Y, verbose=0))
    with pytest.raises(
        ValueError, match=r"copy of the Closed.*get_config.*must have all that"
    ):
        model.predictor()
