"""ELR+ through fit: against the authors' trainer, and where it is something simpler."""

from dataclasses import dataclass

import keras
import numpy as np
import pytest
import tensorflow as tf
from in_turn import LinearNetworks, close, given_order, loaded
from keras import ops

from sop_keras import NoisyLabelModel, methods
from sop_keras.methods.elr_plus import ELRPlus
from sop_keras.methods.mixup import draws


@keras.saving.register_keras_serializable(package="sop_keras_tests")
@dataclass(frozen=True)
class Replayed(ELRPlus):
    """With the orders and draws of a golden file."""

    file: str = ""

    def batches(self, examples):
        steps = 4 * examples.epoch + np.arange(4)
        return given_order(loaded(self.file)[f"idx{examples.network + 1}"][steps])

    def draws(self, batch):
        one = loaded(self.file)
        number = batch.network + 1
        share = tf.gather(tf.constant(one[f"mix{number}"], tf.float32), batch.step)
        return share, tf.gather(tf.constant(one[f"perm{number}"]), batch.step)


@pytest.mark.parametrize("name", ["elrplus_train_k10", "elrplus_train_k10_plain_ema"])
def test_the_whole_loop_is_that_of_the_authors(name):
    one = loaded(name)
    is_plain = name.endswith("plain_ema")
    method = Replayed(
        target_momentum=float(one["beta"]),
        regularization_weight=float(one["lam"]),
        regularization_ramp=int(one["coef_step"]),
        average_decay=float(one["ema_alpha"]),
        average_ramp=0 if is_plain else int(one["ema_step"]),
        file=name,
    )
    networks = LinearNetworks(one)
    model = networks.model(method)
    # Theirs start apart from the networks; ours, as copies of them.
    start = model.averages.start

    def begin(owner):
        start(owner)
        for averages, weights in zip(
            model.averages.averages, (one["init_ema1"], one["init_ema2"]), strict=True
        ):
            averages[0].assign(weights[:, :-1].T)
            averages[1].assign(weights[:, -1])

    model.averages.start = begin
    seen = {place: [] for place in (1, 2)}
    averages = {place: [] for place in (1, 2)}

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            place = batch // 4 + 1
            network = self.model.networks()[place - 1]
            seen[place].append(networks.of(network.weights))
            averages[place].append(networks.of(model.averages.averages[place - 1]))

    model.fit(
        one["x"].astype(np.float32),
        one["y"],
        batch_size=16,
        epochs=5,
        callbacks=[Watch()],
        verbose=0,
    )
    for place in (1, 2):
        close(np.array(seen[place]), one[f"ref_net{place}"])
        close(np.array(averages[place]), one[f"ref_ema{place}"])
    close(model.tables.target.numpy(), one["ref_target1"])
    close(model.tables.peer_target.numpy(), one["ref_target2"])


N, D, K, BATCH = 24, 4, 3, 8
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D)).astype(np.float32)
Y = RNG.integers(0, K, N)


def network(seed):
    start = {"kernel_initializer": keras.initializers.GlorotUniform(seed)}
    return keras.Sequential([keras.Input((D,)), keras.layers.Dense(K, **start)])


def trained(method, seeds=(1, 2), num_examples=N, labels=Y, **arguments):
    model = NoisyLabelModel(
        network(seeds[0]), num_examples, K, method, peer=network(seeds[1]), seed=3
    )
    # A few small steps take less time than to trace one of each network.
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), run_eagerly=True)
    arguments = {"batch_size": BATCH, "epochs": 2, "shuffle": False, **arguments}
    model.fit(X, labels, verbose=0, **arguments)
    return model


def alone(method, place):
    """One network by itself, on the same batches."""
    model = NoisyLabelModel(network(place), N, K, method, seed=3)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), run_eagerly=True)
    model.fit(X, Y, batch_size=BATCH, epochs=2, shuffle=False, verbose=0)
    return model.backbone


def assert_same_network(one, other, atol=1e-6):
    for value, expected in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(value, expected, atol=atol)


def test_without_regulariser_and_mixing_it_is_two_cross_entropies():
    model = trained(ELRPlus(regularization_weight=0.0, alpha=0.0))
    for one, seed in zip(model.networks(), (1, 2), strict=True):
        assert_same_network(one, alone(methods.CrossEntropy(), seed))


def test_without_regulariser_it_is_mixup():
    @dataclass(frozen=True)
    class SameDraws(ELRPlus):
        def draws(self, batch):
            return draws(self.alpha, batch.seed, batch.step, ops.shape(batch.ids)[0])

    model = trained(SameDraws(regularization_weight=0.0))
    for one, seed in zip(model.networks(), (1, 2), strict=True):
        assert_same_network(one, alone(methods.MixUp(), seed))


def test_of_equal_networks_without_mixing_and_averaging_it_is_elr():
    # With gamma = 0, of the second network: the first has gone ahead of its average.
    # In the first epoch, the first's targets are of a second that has not moved; with
    # a rate of 0, nothing moves at all. ELR clips its targets, too: to 1e-4.
    method = ELRPlus(alpha=0.0, average_decay=0.0, average_ramp=0)
    model = NoisyLabelModel(network(1), N, K, method, peer=network(1))
    elr = NoisyLabelModel(network(1), N, K, methods.ELR())
    for one in (model, elr):
        one.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
        history = one.fit(X, Y, batch_size=BATCH, epochs=3, shuffle=False, verbose=0)
        losses = history.history["loss"]
        target = one.tables.target.numpy()
        if one is model:
            expected = losses, target
    np.testing.assert_allclose(losses, expected[0], rtol=2e-4)
    np.testing.assert_allclose(target, expected[1], atol=2e-4)


def test_targets_without_momentum_are_the_peers_last_word():
    method = ELRPlus(target_momentum=0.0, average_decay=0.0, average_ramp=0, alpha=0.0)
    model = trained(method, epochs=1)
    # The backbone's pass was first: the peer, and its average, were as they began.
    expected = ops.softmax(network(2)(X))
    np.testing.assert_allclose(model.tables.target.numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(
        model.tables.peer_target.numpy(), ops.softmax(model.backbone(X)), atol=1e-6
    )


def test_an_average_that_keeps_nothing_is_the_network():
    model = trained(ELRPlus(average_decay=0.0))
    for network_, averages in zip(
        model.networks(), model.averages.averages, strict=True
    ):
        for weight, average in zip(network_.weights, averages, strict=True):
            np.testing.assert_array_equal(weight.numpy(), average.numpy())


def test_other_ids_change_nothing():
    places = np.random.default_rng(4).permutation(np.append(np.arange(17, 40), 0))
    model = trained(ELRPlus())
    other = trained(ELRPlus(), num_examples=40, labels={"label": Y, "index": places})
    for one, two in zip(model.networks(), other.networks(), strict=True):
        assert_same_network(one, two, atol=0)
    for name in ("target", "peer_target"):
        rows = other.tables.by_name()[name].numpy()
        np.testing.assert_array_equal(rows[places], model.tables.by_name()[name])
        assert np.count_nonzero(rows.any(axis=1)) == N


def test_label_issues_are_of_both_networks_targets():
    model = trained(ELRPlus())
    issues = model.label_issues(X, Y)
    mean = np.mean(
        [model.tables.target.numpy(), model.tables.peer_target.numpy()], axis=0
    )
    own = mean[np.arange(N), Y]
    np.testing.assert_allclose(
        issues["noise_score"], -np.log10(own / mean.sum(axis=1)), rtol=1e-5
    )


def test_numbers_out_of_range_are_refused():
    for wrong in (
        {"target_momentum": 1.5},
        {"regularization_weight": -1.0},
        {"average_decay": 2.0},
        {"average_ramp": -1},
        {"alpha": -0.1},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            ELRPlus(**wrong)
