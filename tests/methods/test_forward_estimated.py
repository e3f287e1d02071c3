"""Forward with an estimated transition: two trainings in one, stopped and resumed."""

import logging
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from sop_keras import NoisyLabelModel, methods
from sop_keras.methods.anchor_points import estimate_transition

N, D, K, BATCH, HALF = 40, 3, 4, 8, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D)).astype(np.float32)
Y = np.arange(N) % K
TARGETS = {"label": Y, "index": np.arange(N)}
EPOCHS = 2 * HALF


class StopError(Exception):
    pass


class Stop(keras.callbacks.Callback):
    """Stops after two batches of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.stop, self.epoch = epoch, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == (self.stop, 1):
            raise StopError


def rate():
    """A schedule that ends within the first training, and within the second."""
    steps = [2 * N // BATCH]
    return keras.optimizers.schedules.PiecewiseConstantDecay(steps, [0.5, 0.1])


def made(method=None, jit_compile=False):
    start = keras.initializers.GlorotUniform(1)
    backbone = keras.Sequential(
        [keras.Input((D,)), keras.layers.Dense(K, kernel_initializer=start)]
    )
    method = method or methods.Forward(anchor_percentile=97)
    model = NoisyLabelModel(backbone, N, K, method=method)
    optimizer = keras.optimizers.SGD(rate(), momentum=0.9)
    model.compile(optimizer, jit_compile=jit_compile)
    return model


def fit(model, x=X, y=Y, **arguments):
    arguments = {"epochs": EPOCHS, "total_epochs": EPOCHS, **arguments}
    return model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0, **arguments)


def assert_equal(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy(), one.path)


def probs_of(model):
    return tf.nn.softmax(model.backbone(X)).numpy()


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_training_to_estimate_and_one_with_the_estimate(jit_compile):
    model = made(jit_compile=jit_compile)
    history = fit(model).history["loss"]
    # The first half is plain cross entropy, and the matrix is that of its end.
    plain = made(methods.CrossEntropy())
    expected = fit(plain, epochs=HALF).history["loss"]
    np.testing.assert_allclose(history[:HALF], expected, rtol=1e-5)
    found = estimate_transition(probs_of(plain))
    transition = model.shared["transition"].numpy()
    np.testing.assert_allclose(transition, found, atol=1e-5)
    # The second is Forward of the same first network with that matrix.
    given = made(methods.Forward(transition=transition / transition.sum(1)[:, None]))
    expected = fit(given, epochs=HALF).history["loss"]
    np.testing.assert_allclose(history[HALF:], expected, rtol=1e-5)
    for one, other in zip(model.backbone.weights, given.backbone.weights, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-5)
    assert int(model.optimizer.iterations) == HALF * N // BATCH
    # The label issues know the matrix that was found.
    issues = [one.label_issues(X, Y) for one in (model, given)]
    for name in ("label_quality", "noise_score"):
        np.testing.assert_allclose(issues[0][name], issues[1][name], atol=1e-4)


def test_of_many_classes_the_matrix_is_of_their_own_anchors(caplog):
    # 40 classes of 2.5%: labels are drawn of q = p T, T = 0.8 I + 0.2 / 40, which has
    # 0.805 on its diagonal. Below the 97th percentile, no example of a class is left.
    rng, classes, n = np.random.default_rng(3), 40, 4000
    true = np.arange(n) % classes
    logits = rng.normal(size=(n, classes)) + 9.0 * np.eye(classes)[true]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    q = 0.8 * p + 0.2 / classes
    labels = (q.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    look = types.SimpleNamespace(labels=labels, log_probs=[np.log(np.float32(q))])
    found = methods.Forward(anchor_percentile=97).before_epoch(look)["transition"]
    assert 0.7 < np.diag(found).mean() < 0.81
    assert "as with anchor_percentile=100" in caplog.text
    caplog.clear()
    methods.Forward(anchor_percentile=100).before_epoch(look)
    assert not caplog.text


def test_before_the_estimate_a_label_is_as_good_as_it_is_probable():
    model = made()
    fit(model, epochs=1)
    issues = model.label_issues(X, Y)
    expected = probs_of(model)[np.arange(N), Y]
    np.testing.assert_allclose(issues["label_quality"], expected, rtol=1e-4)


def test_with_validation_data_the_best_epoch_is_asked():
    # Labels of validation that training moves away from: the first epoch is the best.
    model, wrong = made(), (Y + 1) % K
    kept = []

    class Keep(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            kept.append((logs["val_loss"], probs_of(self.model)))

    fit(model, validation_data=(X, wrong), callbacks=[Keep()])
    losses = [loss for loss, _ in kept[:HALF]]
    best = int(np.argmin(losses))
    assert best < HALF - 1
    expected = estimate_transition(kept[best][1])
    found = model.shared["transition"].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(("epoch", "kind"), [(1, "file"), (HALF, "weights")])
def test_stopped_inside_of_either_training_it_ends_alike(epoch, kind, tmp_path):
    # Begun with weights of its own, that only the stopped one saw.
    weights = [0.1 * np.ones((D, K)), np.arange(K)]
    validation = {"validation_data": (X, (Y + 1) % K)}
    whole, stopped = made(), made()
    for one in (whole, stopped):
        one.backbone.set_weights(weights)
    fit(whole, **validation)
    with pytest.raises(StopError):
        fit(stopped, callbacks=[Stop(epoch)], **validation)
    if kind == "file":
        stopped.save(tmp_path / "model.keras")
        resumed = keras.saving.load_model(tmp_path / "model.keras")
    else:
        stopped.save_weights(tmp_path / "model.weights.h5")
        resumed = made()
        resumed.load_weights(tmp_path / "model.weights.h5")
    rest = slice(2 * BATCH, N)
    targets = {"label": Y[rest], "index": np.arange(N)[rest]}
    scanned = tf.data.Dataset.from_tensor_slices((X, TARGETS)).batch(256)
    options = {"initial_epoch": epoch, "epochs": epoch + 1, "scan_data": scanned}
    fit(resumed, X[rest], targets, **options, **validation)
    fit(resumed, X, TARGETS, initial_epoch=epoch + 1, **validation)
    assert_equal(resumed.weights, whole.weights)
    assert_equal(resumed.optimizer.variables, whole.optimizer.variables)


def test_the_second_training_has_the_rate_that_the_first_began_with():
    # As ReduceLROnPlateau lowers it, which works on rates that are numbers.
    model, rates = made(), []

    class Lower(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            rates.append(float(model.optimizer.learning_rate))

        def on_epoch_end(self, epoch, logs=None):
            if epoch == 0:
                model.optimizer.learning_rate = 0.125

    model.compile(keras.optimizers.SGD(0.5, momentum=0.9))
    fit(model, callbacks=[Lower()])
    assert rates == [0.5, 0.125, 0.125, 0.5, 0.5, 0.5]


@pytest.mark.parametrize("kind", ["schedule", "function"])
def test_a_rate_that_no_config_brings_back(kind):
    class Own(keras.optimizers.schedules.LearningRateSchedule):  # not registered
        def __call__(self, step):
            return rate()(step)

        def get_config(self):
            return {}

    expected, model = made(), made()
    fit(expected)
    schedule = Own()
    model.compile(
        keras.optimizers.SGD(schedule, momentum=0.9)
        if kind == "schedule"
        else keras.optimizers.SGD(lambda: 0.5, momentum=0.9)
    )
    fit(model)
    if kind == "schedule":
        assert_equal(model.backbone.weights, expected.backbone.weights)
    peer = methods.CoTeaching(noise_rate=0.2)
    backbone = keras.Sequential([keras.Input((D,)), keras.layers.Dense(K)])
    two = NoisyLabelModel(backbone, N, K, method=peer)
    two.compile(keras.optimizers.SGD(schedule))
    assert two.peer_optimizer is not two.optimizer
    assert two.peer_optimizer._learning_rate is schedule


def test_stopped_before_the_estimate_it_says_so(caplog):
    class StopTraining(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    fit(made(), callbacks=[StopTraining()])
    assert "stopped in epoch 1, and Forward trains anew from epoch 3 on" in caplog.text
    caplog.clear()
    model = made()
    fit(model, epochs=2)  # of more, which follow
    fit(model, initial_epoch=2)
    # Others than this library may have something to say, and it of sizes.
    ours = [one for one in caplog.records if one.name.startswith("sop_keras")]
    assert not [one for one in ours if one.levelno >= logging.WARNING]
    fit(model)
    assert "begins with epoch 0 again: so does what Forward changes" in caplog.text


def test_a_class_without_an_example():
    message = r"No example is labelled 3 \(1 of 4 classes have none\)"
    labels = Y % (K - 1)
    model = made()
    with pytest.raises(ValueError, match=message):
        fit(model, y=labels)
    targets = {"label": labels, "index": np.arange(N)}
    batches = tf.data.Dataset.from_tensor_slices((X, targets)).batch(BATCH)
    options = {"epochs": 2, "scan_data": batches, "verbose": 0}
    with pytest.raises(ValueError, match=message):
        model.fit(batches, **options)
    with pytest.raises(ValueError, match=message):
        methods.record("forward").settings().arguments(labels, K, False)


def test_a_stream_needs_something_to_look_at_where_a_look_is_due():
    batches = tf.data.Dataset.from_tensor_slices((X, TARGETS)).batch(BATCH)
    with pytest.raises(ValueError, match=r"Forward looks at all.*scan_data="):
        made().fit(batches, epochs=2, verbose=0)
    made(methods.Forward(transition=np.eye(K))).fit(batches, epochs=2, verbose=0)


def test_a_network_without_weights_cannot_start_anew():
    backbone = keras.Sequential([keras.layers.Dense(K)])
    with pytest.raises(ValueError, match=r"Forward starts its network anew.*build"):
        NoisyLabelModel(backbone, N, K, method=methods.Forward(anchor_percentile=97))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Received: neither"),
        ({"transition": np.eye(2), "anchor_percentile": 97}, "Received: both"),
        ({"anchor_percentile": 0}, "`anchor_percentile` must be above 0"),
    ],
)
def test_given_or_estimated(arguments, message):
    with pytest.raises(ValueError, match=message):
        methods.Forward(**arguments)
