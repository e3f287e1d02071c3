"""CORES2: the authors' trajectory and schedules, limits, the sieve, what it drops."""

import golden
import keras
import numpy as np
import pytest
import tensorflow as tf
from trajectory import Offset, trained

from sop_keras import NoisyLabelModel, methods
from sop_keras.methods.cores2 import sieve_quality
from sop_keras.methods.cores2_schedules import regularization_weight, share_of

FILE = golden.arrays("cores_k10")
STEPS = len(FILE["idx"])
PASS = 4  # batches of 16 of 64 examples


class Watch(keras.callbacks.Callback):
    """What each step comes to; every step begins from the given logits again."""

    def __init__(self):
        super().__init__()
        self.found = {"loss": [], "grad_logits": [], "loss_sel": [], "prior": []}

    def on_train_batch_end(self, batch, logs=None):
        model, offset = self.model, self.model.backbone.offset
        ids = FILE["idx"][len(self.found["loss"])]
        self.found["loss"].append(logs["loss"])
        self.found["grad_logits"].append(-offset.numpy())
        self.found["loss_sel"].append(model.tables.sieve.numpy()[ids, 0])
        self.found["prior"].append(model.shared["prior"].numpy())
        offset.assign(np.zeros(offset.shape))
        model.reset_metrics()


def made(jit_compile=False, **arguments):
    logits = FILE["logits"]
    one = methods.CORES2(**arguments)
    model = NoisyLabelModel(Offset(logits.shape[1:]), 64, 10, method=one)
    model.compile(keras.optimizers.SGD(1.0), jit_compile=jit_compile)
    return model


def train(model, steps, epoch, callbacks=(), total_epochs=100):
    """A step on each of some of the file's batches, as an epoch."""
    ids = FILE["idx"][steps]
    targets = {"label": FILE["y"][ids], "index": ids}
    batches = tf.data.Dataset.from_tensor_slices((FILE["logits"][steps], targets))
    model.fit(
        batches,
        initial_epoch=epoch,
        epochs=epoch + 1,
        total_epochs=total_epochs,
        callbacks=list(callbacks),
        verbose=0,
    )


@pytest.mark.parametrize(
    ("prior", "jit_compile"),
    [
        (tuple(FILE["prior_initial"].tolist()), False),
        (tuple(FILE["prior_initial"].tolist()), True),
        ("empirical", False),
    ],
    ids=["given", "compiled", "counted"],
)
def test_the_authors_trajectory(prior, jit_compile):
    model, watch = made(jit_compile, class_prior=prior), Watch()
    for start in range(0, STEPS, PASS):
        steps = slice(start, min(start + PASS, STEPS))
        train(model, steps, int(FILE["epoch"][start]), [watch])
    found = {name: np.stack(values) for name, values in watch.found.items()}
    if prior == "empirical":  # of a stream, not known in the first pass: beta is 0
        assert not found["prior"][:PASS].any()
        found["prior"][:PASS] = FILE["prior_initial"]
    for name, values in found.items():
        assert golden.error(values, FILE[name]) < 1e-5, name
    is_dropped = (found["loss_sel"] > 0) & (FILE["epoch"] > 30)[:, None]
    np.testing.assert_array_equal(~is_dropped, FILE["keep"])
    # Phase 2 drops what the pass of epoch 40 did: four of the file's batches.
    listed = FILE["epoch"] == 40
    expected = np.sort(FILE["idx"][listed][FILE["keep"][listed] == 0])
    np.testing.assert_array_equal(methods.CORES2.dropped_ids(model), expected)


def test_the_authors_schedules():
    weights = [regularization_weight(epoch, 100) for epoch in range(100)]
    np.testing.assert_allclose(weights, FILE["beta_schedule"], rtol=1e-14)
    one = methods.CORES2()
    for epoch, weight in enumerate(weights):
        found = one.schedule(epoch, 100)
        assert found["regularization_weight"] == weight
        assert found["sieves"] == (epoch > 30)
        assert found["lists"] == (epoch == 40)
    # Past 100 epochs, where the authors' list ends, beta holds.
    assert regularization_weight(130, 100) == 2.0
    steps = keras.optimizers.schedules.PiecewiseConstantDecay([99], [0.1, 0.01])
    rate = one.learning_rate(steps, 100, steps_per_epoch=2)
    found = [float(rate(2 * epoch)) for epoch in range(100)]
    np.testing.assert_allclose(found, FILE["lr_schedule"], rtol=1e-6)


def test_other_numbers_of_epochs_stretch_the_schedules():
    assert [regularization_weight(epoch, 10) for epoch in range(10)] == [
        *(0.0, 0.0, 1.0, *([2.0] * 7))
    ]
    # 0 for 1, a half of 2 each, from 4 on 2: of 10 epochs, parts of 1, 3 and 6.
    assert [share_of(31, epochs) for epochs in (1, 3, 10, 100, 200)] == [
        *(1, 1, 4, 31, 62)
    ]


def test_without_regulariser_and_sieve_it_is_cross_entropy():
    file = golden.arrays("ref_ce_k10")
    logits, ids = file["logits"][:, :16], file["idx"]
    one = methods.CORES2(largest_regularization=0.0, sieve_start=100)
    model = NoisyLabelModel(Offset(logits.shape[1:]), 128, 10, method=one)
    model.compile(keras.optimizers.SGD(1.0))
    targets = {"label": file["y"][ids], "index": ids}
    data = tf.data.Dataset.from_tensor_slices((logits, targets))
    losses, gradients = [], []

    class Losses(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            losses.append(logs["loss"])
            gradients.append(-self.model.backbone.offset.numpy())
            self.model.backbone.offset.assign(np.zeros(logits.shape[1:]))
            self.model.reset_metrics()

    options = {"initial_epoch": 60, "epochs": 61, "total_epochs": 100}
    model.fit(data, callbacks=[Losses()], verbose=0, **options)
    assert golden.error(np.array(losses), file["loss_1view"]) < 1e-6
    assert golden.error(np.stack(gradients), file["grad_logits_1view"]) < 1e-6


def test_a_batch_of_which_nothing_is_kept_moves_nothing():
    # p_y = 1e-4 of two classes: s = 9.2 - (9.2 + 0) / 2 > 0 for all of them.
    model = NoisyLabelModel(Offset((4, 2)), 4, 2, method=methods.CORES2())
    model.compile(keras.optimizers.SGD(1.0))
    x = np.tile(np.log(np.float32([[1e-4, 1 - 1e-4]])), (4, 1))
    y = np.zeros(4, np.int64)
    options = {"epochs": 51, "initial_epoch": 50, "total_epochs": 100, "verbose": 0}
    history = model.fit(x, y, batch_size=4, **options).history
    assert history["loss"] == history["kept"] == [0.0]
    np.testing.assert_array_equal(model.backbone.offset.numpy(), np.zeros((4, 2)))
    assert (model.tables.sieve.numpy() > 4).all()
    # The prior stays what it was where an epoch keeps nothing.
    np.testing.assert_array_equal(model.shared["prior"].numpy(), [1, 0])


def test_uniform_probabilities_are_kept_and_half_right():
    model = NoisyLabelModel(Offset((2, 4)), 2, 4, method=methods.CORES2())
    model.compile(keras.optimizers.SGD(0.0))
    options = {"epochs": 51, "initial_epoch": 50, "total_epochs": 100, "verbose": 0}
    x, y = np.zeros((2, 4), np.float32), np.array([0, 3])
    assert model.fit(x, y, batch_size=2, **options).history["kept"] == [1.0]
    quality = model.label_issues(x, y, batch_size=2)["label_quality"]
    np.testing.assert_allclose(quality, 0.5, atol=1e-6)
    np.testing.assert_allclose(sieve_quality(np.array([0.0, -np.log(3)])), [0.5, 0.75])


def test_what_phase_2_drops_is_known_after_the_epoch_that_it_asks():
    model = made()
    train(model, slice(0, PASS), 39)
    with pytest.raises(ValueError, match="has not been trained so far"):
        methods.CORES2.dropped_ids(model)
    train(model, slice(0, PASS), 40)
    dropped = methods.CORES2.dropped_ids(model)
    assert len(dropped)
    assert model.shared["has_listed"].numpy() == 1
    train(model, slice(PASS, 2 * PASS), 41)  # a later one changes nothing
    np.testing.assert_array_equal(methods.CORES2.dropped_ids(model), dropped)
    other = NoisyLabelModel(Offset((16, 10)), 64, 10, method=methods.CrossEntropy())
    with pytest.raises(ValueError, match=r"methods\.CORES2\(\)\. Received one of Cros"):
        methods.CORES2.dropped_ids(other)


class Break(keras.callbacks.Callback):
    """Breaks an epoch off after its second batch."""

    def on_train_batch_end(self, batch, logs=None):
        if batch == 1:
            raise KeyboardInterrupt


def test_an_epoch_that_is_broken_off_lists_nothing():
    model = made()
    with pytest.raises(KeyboardInterrupt):
        train(model, slice(0, PASS), 40, [Break()])
    for epoch in (None, 41):  # nor does a later one complete it
        if epoch:
            train(model, slice(0, PASS), epoch)
        with pytest.raises(ValueError, match="not to the end of that epoch"):
            methods.CORES2.dropped_ids(model)
    # Again as a whole: what the same training had listed without a break.
    train(model, slice(0, PASS), 40)
    assert len(methods.CORES2.dropped_ids(model)) > 0


def test_of_one_epoch_it_is_that_one_that_phase_2_asks():
    listing = [
        [epoch for epoch in range(n) if methods.CORES2().schedule(epoch, n)["lists"]]
        for n in (1, 2, 3, 10, 100)
    ]
    assert listing == [[0], [1], [2], [4], [40]]
    model = made()
    train(model, slice(0, PASS), 0, total_epochs=1)
    is_dropped = model.tables.sieve.numpy()[:, 0] > 0
    found = methods.CORES2.dropped_ids(model)
    np.testing.assert_array_equal(found, np.flatnonzero(is_dropped))


@pytest.mark.parametrize("weights", [{"sample_weight": np.float32([1, 2, 0, 0])}, None])
def test_examples_of_weight_0_have_no_part_in_the_prior(weights):
    # Labels 0, 0, 1, 1; by class too. An epoch before the sieve keeps all.
    weights = weights or {"class_weight": {0: 1.0, 1: 0.0}}
    model = NoisyLabelModel(Offset((4, 2)), 4, 2, method=methods.CORES2())
    model.compile(keras.optimizers.SGD(0.0))
    priors = []

    class Priors(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            priors.append(model.shared["prior"].numpy().tolist())

    x, y = np.zeros((4, 2), np.float32), np.array([0, 0, 1, 1])
    options = {"batch_size": 4, "epochs": 2, "total_epochs": 100, "verbose": 0}
    model.fit(x, y, callbacks=[Priors()], **weights, **options)
    assert priors == [[1, 0], [1, 0]]


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"largest_regularization": -1.0}, "`largest_regularization` must be a finite"),
        ({"sieve_start": 101}, r"`sieve_start` must be an integer in \[0, 100\]"),
        ({"class_prior": [0.5, 0.4]}, "`class_prior` must sum to 1"),
    ],
)
def test_numbers_out_of_range(numbers, message):
    with pytest.raises(ValueError, match=message):
        NoisyLabelModel(Offset((2, 2)), 4, 2, method=methods.CORES2(**numbers))


def test_a_class_that_a_mask_rules_out_costs_nothing():
    # beta is 0 in the first epoch: -log 1/2, and the gradient p - y.
    logits, ids = np.float32([[[0.0, 0.0, -np.inf]]]), np.array([[0]])
    _, loss, gradient = trained(methods.CORES2(), logits, ids, np.array([0]))
    np.testing.assert_allclose(loss, [np.log(2)], rtol=1e-6)
    np.testing.assert_allclose(gradient, [[[-0.5, 0.5, 0]]], atol=1e-6)
