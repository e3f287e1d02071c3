"""Co-teaching+: golden steps, batches without disagreement, and limiting cases."""

from dataclasses import dataclass

import golden
import keras
import numpy as np
import pytest
from test_coteaching import (
    BATCH,
    EPOCHS,
    K,
    N,
    X,
    Y,
    check_ids_and_order,
    network,
    trained,
)
from two_networks import steps_on

from sop_keras import NoisyLabelModel, methods

FILE = golden.arrays("coteaching_plus_k10")


@keras.saving.register_keras_serializable(package="sop_keras_tests")
@dataclass(frozen=True)
class Given(methods.CoTeachingPlus):
    """Co-teaching+ whose forget rates are the file's, an epoch a step."""

    def schedule(self, epoch, epochs):
        rate = float(FILE["forget_rate"][epoch])
        return {"forget_rate": rate, "counts": 1.0, "takes_all": 0.0}


@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_papers_steps_on_given_logits(jit_compile):
    model, logs, gradients = steps_on(Given(noise_rate=0.5), FILE, jit_compile)
    for name, number in (("ce_loss", 1), ("peer_ce_loss", 2)):
        found = np.array([one[name] for one in logs])
        assert golden.error(found, FILE[f"paper_loss{number}"]) < 1e-5
        found = gradients[number - 1]
        assert golden.error(found, FILE[f"paper_grad_logits{number}"]) < 1e-5
    differs = FILE["paper_disagree"].mean(axis=1)
    np.testing.assert_allclose([one["disagreement"] for one in logs], differs)
    for step, picked in enumerate(FILE["paper_select1"]):
        peers = gradients[1][step].any(axis=-1)
        assert set(np.flatnonzero(peers)) == set(picked[picked >= 0])
    # Of the steps without disagreement none is taken.
    num_taken = int((FILE["paper_num_remember"] > 0).sum())
    assert 0 < num_taken < len(FILE["idx"])
    for optimizer in model.network_optimizers():
        assert int(optimizer.iterations) == num_taken


def test_the_authors_schedule_is_that_of_co_teaching():
    schedules = golden.arrays("two_network_schedules")
    # To tau in nine epochs, as theirs is.
    method = methods.CoTeachingPlus(noise_rate=0.5, num_gradual=9)
    found = [method.schedule(epoch, 200) for epoch in range(200)]
    expected = schedules["coteaching_plus_forget_rate_tau0.5"]
    rates = [one["forget_rate"] for one in found]
    np.testing.assert_allclose(rates, expected, rtol=1e-14)
    takes_all = [one["takes_all"] for one in found]
    assert takes_all == [1.0] * 20 + [0.0] * 180


def test_it_begins_as_co_teaching():
    numbers = {"noise_rate": 0.4, "num_gradual": 2}
    method = methods.CoTeachingPlus(**numbers, init_epochs=EPOCHS)
    model, history = trained(method)
    plain, expected = trained(methods.CoTeaching(**numbers))
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-5)
    for found, other in zip(model.networks(), plain.networks(), strict=True):
        for ours, theirs in zip(found.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-6)


def two_models(seeds, optimizer, **options):
    networks = [network(seed) for seed in seeds]
    method = methods.CoTeachingPlus(noise_rate=0.3, num_gradual=2, init_epochs=0)
    model = NoisyLabelModel(networks[0], N, K, method=method, peer=networks[1])
    model.compile(optimizer, **options)
    return model


@pytest.mark.parametrize(
    ("name", "jit_compile"),
    [("momentum", False), ("adam", True), ("loss scale", False)],
)
def test_identical_networks_never_move(name, jit_compile):
    optimizer = {
        "momentum": lambda: keras.optimizers.SGD(0.2, momentum=0.9, weight_decay=0.1),
        "adam": lambda: keras.optimizers.Adam(0.1),
        "loss scale": lambda: keras.optimizers.LossScaleOptimizer(
            keras.optimizers.Adam(0.1), initial_scale=8.0, dynamic_growth_steps=2
        ),
    }[name]()
    model = two_models((1, 1), optimizer, jit_compile=jit_compile)
    before = [
        one.numpy() for each in model.network_optimizers() for one in each.variables
    ]
    history = model.fit(X, Y, batch_size=BATCH, epochs=2, verbose=0).history
    for each in model.networks():
        for one, first in zip(
            each.get_weights(), network(1).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(one, first)
    after = [
        one.numpy() for each in model.network_optimizers() for one in each.variables
    ]
    for one, first in zip(after, before, strict=True):
        np.testing.assert_array_equal(one, first)
    assert history["loss"] == history["disagreement"] == [0.0, 0.0]
    # Yet it is known what they said.
    assert np.isfinite(model.label_issues(X, Y)["label_quality"]).all()


def test_momentum_does_not_carry_networks_on_that_agree():
    model = two_models((1, 2), keras.optimizers.SGD(0.2, momentum=0.9))
    model.fit(X, Y, batch_size=BATCH, epochs=2, verbose=0)
    backbone, peer = model.networks()
    moved = [
        each.numpy() for each in model.optimizer.variables if "moment" in each.path
    ]
    assert any(each.any() for each in moved)
    peer.set_weights(backbone.get_weights())
    before = [one.numpy() for one in model.weights if "kernel" in one.path]
    model.fit(X, Y, batch_size=BATCH, epochs=4, initial_epoch=3, verbose=0)
    after = [one.numpy() for one in model.weights if "kernel" in one.path]
    for one, other in zip(after, before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_ids_are_names_and_networks_are_alike():
    method = methods.CoTeachingPlus(noise_rate=0.4, num_gradual=2, init_epochs=2)
    check_ids_and_order(method)


def test_of_equal_largest_logits_the_first_is_what_is_predicted():
    logits = np.zeros((BATCH, K), np.float32)
    logits[:, :2] = 1.0
    file = {
        "logits1": logits[None],
        "logits2": 3 * logits[None],
        "idx": np.arange(BATCH)[None],
        "y": np.arange(BATCH) % K,
    }
    method = methods.CoTeachingPlus(noise_rate=0.0, init_epochs=0)
    _, logs, gradients = steps_on(method, file)
    assert logs[0]["disagreement"] == 0.0
    assert not gradients.any()


@pytest.mark.parametrize("value", [-1, 2.5, None])
def test_numbers_out_of_range(value):
    with pytest.raises(ValueError, match="`init_epochs` must be an integer"):
        methods.CoTeachingPlus(noise_rate=0.2, init_epochs=value)
    with pytest.raises(ValueError, match="`noise_rate` must be a number"):
        methods.CoTeachingPlus(noise_rate=2.0)


def test_the_settings_of_a_run():
    record = methods.record("coteaching_plus")
    settings = record.settings(forget_rate=0.4, init_epochs=5)
    made = record.load()(**settings.arguments(Y, K, False))
    assert made == methods.CoTeachingPlus(noise_rate=0.4, init_epochs=5)
