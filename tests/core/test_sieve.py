"""Two networks, looks and roles: against a loop in float64, stopped and resumed."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from sieve import Sieve

from sop_keras import NoisyLabelModel, methods
from sop_keras.optimizers.adam import Adam
from sop_keras.optimizers.sgd import SGD

N, D, K, BATCH, EPOCHS, RATE = 20, 3, 4, 6, 3, 0.3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D)).astype(np.float32)
Y = RNG.integers(0, K, N)


class StopError(Exception):
    pass


def network(seed):
    start = keras.initializers.GlorotUniform(seed)
    return keras.Sequential(
        [keras.Input((D,)), keras.layers.Dense(K, kernel_initializer=start)]
    )


def sieve():
    model = NoisyLabelModel(network(1), N, K, method=Sieve(), peer=network(2))
    model.compile(keras.optimizers.SGD(RATE, momentum=0.9), metrics=["accuracy"])
    return model


def fit(model, x=X, y=Y, **arguments):
    arguments = {"batch_size": BATCH, "epochs": EPOCHS, **arguments}
    return model.fit(x, y, shuffle=False, verbose=0, **arguments)


def log_probs(weights, x):
    logits = x @ weights[0] + weights[1]
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def expected():
    """The same in NumPy: weights of both networks, roles, and losses of each epoch."""
    x = X.astype(np.float64)
    networks = [
        [weight.astype(np.float64) for weight in network(seed).get_weights()]
        for seed in (1, 2)
    ]
    velocities = [[np.zeros_like(w) for w in weights] for weights in networks]
    kept, losses = np.ones((N, 2)), []
    for epoch in range(EPOCHS):
        if epoch:
            of_all = [-log_probs(w, x)[np.arange(N), Y] for w in networks]
            easy = [one <= np.quantile(one, 0.5) for one in of_all]
            kept = np.stack(easy[::-1], axis=1).astype(float)
        total, weight = 0.0, 1 - epoch / (2 * EPOCHS)
        for start in range(0, N, BATCH):
            rows = np.arange(start, min(start + BATCH, N))
            for place, weights in enumerate(networks):
                logs = log_probs(weights, x[rows])
                total -= (logs[np.arange(len(rows)), Y[rows]] * kept[rows, place]).sum()
                by_logits = np.exp(logs) - np.eye(K)[Y[rows]]
                by_logits *= weight * kept[rows, place][:, None] / len(rows)
                gradients = [x[rows].T @ by_logits, by_logits.sum(axis=0)]
                for index, gradient in enumerate(gradients):
                    velocity = velocities[place][index]
                    velocity[...] = 0.9 * velocity - RATE * gradient
                    weights[index] += velocity
        losses.append(weight * total / N)
    return networks, kept, losses


@pytest.fixture(scope="module")
def trained():
    """A model after all epochs, and their history."""
    model = sieve()
    return model, fit(model).history


def test_fit_agrees_with_a_loop_in_float64(trained):
    model, history = trained
    networks, kept, losses = expected()
    for found, weights in zip(model.networks(), networks, strict=True):
        for one, other in zip(found.get_weights(), weights, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)
    np.testing.assert_array_equal(model.tables.kept.numpy(), kept)
    np.testing.assert_array_equal(model.tables.visits.numpy(), np.full((N, 1), EPOCHS))
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-5)
    assert {"first_loss", "second_loss", "accuracy"} <= history.keys()


def test_a_look_leaves_the_rows_of_trusted_labels_alone():
    model = sieve()
    model.trust([0, N - 1])
    fit(model)
    # Of the others, each network is trained on half after the first epoch.
    kept, visits = model.tables.kept.numpy(), model.tables.visits.numpy()
    assert kept[[0, N - 1]].tolist() == [[1, 1], [1, 1]]
    assert kept[1:-1].min() == 0
    assert visits[[0, N - 1]].tolist() == [[0], [0]]
    assert visits[1:-1].min() == EPOCHS


@pytest.mark.parametrize("kind", ["weights", "file"])
def test_stopped_inside_an_epoch_it_goes_on_to_the_same_end(kind, tmp_path, trained):
    class Stop(keras.callbacks.Callback):
        epoch = 0

        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_train_batch_end(self, batch, logs=None):
            if (self.epoch, batch) == (1, 1):  # two batches of the second epoch
                raise StopError

    whole, stopped = trained[0], sieve()
    with pytest.raises(StopError):
        fit(stopped, callbacks=[Stop()])
    if kind == "file":
        stopped.save(tmp_path / "model.keras")
        resumed = keras.saving.load_model(tmp_path / "model.keras")
    else:
        stopped.save_weights(tmp_path / "model.weights.h5")
        resumed = sieve()
        resumed.load_weights(tmp_path / "model.weights.h5")
    rest = np.arange(2 * BATCH, N)
    # The roles of the epoch are those of its begin: there is no second look.
    targets = {"label": Y[rest], "index": rest}
    options = {"batch_size": BATCH, "shuffle": False, "verbose": 0}
    all_data = (X, {"label": Y, "index": np.arange(N)})
    # Of three epochs, as the schedule must hear.
    options["total_epochs"] = EPOCHS
    resumed.fit(X[rest], targets, epochs=2, initial_epoch=1, **options)
    resumed.fit(*all_data, epochs=EPOCHS, initial_epoch=2, **options)
    for found, other in zip(resumed.weights, whole.weights, strict=True):
        np.testing.assert_array_equal(found.numpy(), other.numpy())
    for one, other in zip(
        resumed.network_optimizers(), whole.network_optimizers(), strict=True
    ):
        for found, wanted in zip(one.variables, other.variables, strict=True):
            np.testing.assert_array_equal(found.numpy(), wanted.numpy())


def test_a_peer_is_a_clone_with_weights_of_its_own_or_is_asked_for():
    unseeded = keras.Sequential([keras.Input((D,)), keras.layers.Dense(K)])
    model = NoisyLabelModel(unseeded, N, K, method=Sieve())
    one, other = (each.get_weights()[0] for each in model.networks())
    assert not np.array_equal(one, other)
    with pytest.raises(ValueError, match=r"initializers have seeds.*other seeds as `p"):
        NoisyLabelModel(network(1), N, K, method=Sieve())
    with pytest.raises(ValueError, match=r"cannot be cloned: pass the second network"):
        NoisyLabelModel(keras.layers.Dense(K), N, K, method=Sieve())


def test_networks_that_are_not_built_are_built_by_the_data():
    class Plain(keras.Model):
        def __init__(self):
            super().__init__()
            self.kernel = self.add_weight(shape=(D, K))

        def call(self, inputs):
            return inputs @ self.kernel

    model = NoisyLabelModel(Plain(), N, K, method=Sieve(), peer=Plain())
    model.compile("sgd")
    fit(model, epochs=1)  # a warning would be an error
    assert all(each.built for each in model.networks())


def test_a_peer_is_another_network():
    backbone = network(1)
    with pytest.raises(ValueError, match="`peer` is the backbone itself"):
        NoisyLabelModel(backbone, N, K, method=Sieve(), peer=backbone)


def test_a_stream_is_looked_at_by_what_is_given_for_it(trained):
    targets = {"label": Y, "index": np.arange(N)}
    examples = tf.data.Dataset.from_tensor_slices((X, targets))
    arrays, streamed = trained[0], sieve()
    with pytest.raises(ValueError, match=r"Sieve looks at all.*fit\(..., scan_data="):
        fit(streamed, examples.batch(BATCH), None, batch_size=None)
    looked = {"scan_data": examples.batch(7), "batch_size": None}
    fit(streamed, examples.batch(BATCH), None, **looked)
    for one, other in zip(streamed.weights, arrays.weights, strict=True):
        if "history" not in one.path:  # which keeps the range of arrays
            np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-6)


def test_what_is_set_aside_is_not_looked_at():
    class Watch(Sieve):
        def before_epoch(self, look):
            seen.append(look.ids)
            return super().before_epoch(look)

    seen = []
    model = NoisyLabelModel(network(1), N, K, method=Watch(), peer=network(2))
    model.compile("sgd")
    fit(model, epochs=2, validation_split=0.25)
    np.testing.assert_array_equal(np.concatenate(seen), np.arange(15))


def test_a_look_may_set_what_all_examples_share():
    class Priors(Sieve):
        def state(self, num_classes):
            return {"counts": np.zeros(num_classes)}

        def before_epoch(self, look):
            np.testing.assert_array_equal(look.state["counts"], np.zeros(K))
            return {name: np.bincount(look.labels, minlength=K)}

    name = "counts"
    model = NoisyLabelModel(network(1), N, K, method=Priors(), peer=network(2))
    model.compile("sgd")
    fit(model, epochs=2)
    np.testing.assert_array_equal(model.shared["counts"].numpy(), np.bincount(Y))
    name = "others"
    model = NoisyLabelModel(network(1), N, K, method=Priors(), peer=network(2))
    model.compile("sgd")
    with pytest.raises(ValueError, match=r"no table 'others'.* only: kept, visits\."):
        fit(model, epochs=2)


def test_the_peers_optimizer_ends_and_decays_like_the_backbones():
    rate = 0.1
    optimizer = keras.optimizers.AdamW(rate, weight_decay=0.5, use_ema=True)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    model = NoisyLabelModel(network(1), N, K, method=Sieve(), peer=network(2))
    model.compile(optimizer)
    fit(model, epochs=1)
    for one, weights in zip(model.network_optimizers(), model.networks(), strict=True):
        kernel, bias = weights.trainable_variables
        assert [one._use_weight_decay(each) for each in (kernel, bias)] == [True, False]
        averages = [each for each in one.variables if "average" in each.path]
        assert len(averages) == 2
        for average, weight in zip(averages, (kernel, bias), strict=True):
            np.testing.assert_array_equal(average.numpy(), weight.numpy())


@pytest.mark.parametrize(
    "make",
    [
        lambda: keras.optimizers.AdamW(0.1, weight_decay=0.5),
        lambda: SGD(0.1, l2=0.5),
        lambda: Adam(0.1, l2=0.5),
    ],
)
def test_the_peers_decay_leaves_out_what_the_backbones_does(make):
    optimizer = make()
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    model = NoisyLabelModel(network(1), N, K, method=Sieve(), peer=network(2))
    model.compile(optimizer)
    for one, weights in zip(model.network_optimizers(), model.networks(), strict=True):
        kernel, bias = weights.trainable_variables
        assert [one._use_weight_decay(each) for each in (kernel, bias)] == [True, False]


@pytest.mark.parametrize("scaled", [False, True])
def test_compiled_again_with_the_same_optimizer_both_keep_their_state(scaled):
    model = NoisyLabelModel(network(1), N, K, method=Sieve(), peer=network(2))
    optimizer = keras.optimizers.SGD(RATE, momentum=0.9)
    if scaled:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(optimizer)
    fit(model, epochs=1)
    before = [[v.numpy() for v in one.variables] for one in model.network_optimizers()]
    assert [int(one.iterations) for one in model.network_optimizers()] == [4, 4]
    model.compile(optimizer, metrics=["accuracy"])
    for one, values in zip(model.network_optimizers(), before, strict=True):
        for variable, value in zip(one.variables, values, strict=True):
            np.testing.assert_array_equal(variable.numpy(), value)
    # Another one is new to both.
    model.compile(keras.optimizers.SGD(RATE, momentum=0.9))
    assert [int(one.iterations) for one in model.network_optimizers()] == [0, 0]


def test_the_peer_learns_at_the_rate_that_callbacks_set():
    model = sieve()
    fit(model, callbacks=[keras.callbacks.LearningRateScheduler(lambda epoch: 0.0)])
    for found, seed in zip(model.networks(), (1, 2), strict=True):
        np.testing.assert_array_equal(
            found.get_weights()[0], network(seed).get_weights()[0]
        )


@pytest.mark.parametrize(
    ("method", "is_refused"),
    [
        (Sieve(), True),
        (methods.CORES2(), True),
        (methods.CoTeaching(noise_rate=0.2), True),
        (methods.TruncatedGCE(k=0.5, start=2, every=1), True),
        (methods.Forward(anchor_percentile=97), True),
        (methods.Forward(transition=0.7 * np.eye(K) + 0.3 / K), False),
        (methods.CrossEntropy(), False),
        (methods.ELR(), False),
        (methods.SOP(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_hangs_on_the_epoch_is_no_loop_of_batches(method, is_refused):
    peer = network(2) if method.num_networks == 2 else None
    model = NoisyLabelModel(network(1), N, K, method=method, peer=peer)
    model.compile(keras.optimizers.SGD(RATE))
    targets = {"label": Y, "index": np.arange(N)}
    if not is_refused:
        model.train_on_batch(X, targets)
        assert int(model.optimizer.iterations) == 1
        return
    message = f"What {type(method).__name__} does hangs on the epoch.*total_epochs="
    with pytest.raises(ValueError, match=message):
        model.train_on_batch(X, targets)
    assert int(model.optimizer.iterations) == 0


def test_an_epoch_at_a_time_as_the_refusal_says():
    model = sieve()
    for epoch in range(EPOCHS):
        fit(model, initial_epoch=epoch, epochs=epoch + 1, total_epochs=EPOCHS)
    networks, kept, _ = expected()
    for found, weights in zip(model.networks(), networks, strict=True):
        for one, value in zip(found.get_weights(), weights, strict=True):
            np.testing.assert_allclose(one, value, atol=1e-5)
    np.testing.assert_array_equal(model.tables.kept, kept)
