"""Networks that learn in turn: what `fit` makes of them, stopped and resumed."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from sieve import Sieve
from turns import BATCH, D, K, N, Turns, X, Y, assert_same, fit, network, turns

from sop_keras import NoisyLabelModel
from sop_keras.core.example_source import ExampleSource
from sop_keras.core.passes import Pass

# 20 examples in batches of 6; from the second epoch on, 10 that are easy come twice.
STEPS = (2 * 4, 2 * 5, 2 * 5)


# Of the compiled step `test_compiled_it_is_the_same` says what is left to say.
EAGERLY = {"run_eagerly": True}


class StopError(Exception):
    pass


# In the backbone's pass; between two passes; in the peer's. Before a pass after a look:
# `test_backup_and_restore_goes_on`.
PLACES = [(0, 2), (1, 5), (2, 7)]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Weights on the way of a training, a file for each of `PLACES`; its end."""
    folder = tmp_path_factory.mktemp("on the way")

    class Save(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch
            self.save(0)

        def on_train_batch_end(self, batch, logs=None):
            self.save(batch + 1)

        def save(self, step):
            if (self.epoch, step) in PLACES:
                model.save_weights(folder / f"{self.epoch}-{step}.weights.h5")

    model = turns(**EAGERLY)
    history = fit(model, callbacks=[Save()]).history
    return folder, model, history


@pytest.fixture(scope="module")
def whole(saved):
    return saved[1:]


@pytest.mark.parametrize(("epoch", "step"), PLACES)
def test_resumed_anywhere_it_ends_as_if_never_stopped(saved, epoch, step):
    folder, whole, _ = saved
    resumed = turns(**EAGERLY)
    resumed.load_weights(folder / f"{epoch}-{step}.weights.h5")
    fit(resumed, initial_epoch=epoch, initial_step=step)
    assert_same(resumed, whole)


def test_an_epoch_is_a_pass_of_each_network(whole):
    model, _ = whole
    visits = model.tables.visits.numpy()
    assert visits.sum() == 2 * (3 * N + 2 * N // 2)
    assert int(model.optimizer.iterations) == sum(STEPS) // 2
    assert int(model.peer_optimizer.iterations) == sum(STEPS) // 2


def test_callbacks_see_one_training():
    calls = []

    class Watch(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            calls.append("begin")

        def on_train_end(self, logs=None):
            calls.append(("end", sorted(logs)))

        def on_epoch_begin(self, epoch, logs=None):
            calls.append((epoch, self.params["steps"]))

        def on_epoch_end(self, epoch, logs=None):
            calls.append(sorted(logs))

    names = ["accuracy", "agreement", "loss", "val_accuracy", "val_loss"]
    model = turns(**EAGERLY)
    history = fit(model, validation_data=(X, Y), callbacks=[Watch()])
    epochs = [entry for e, steps in enumerate(STEPS) for entry in ((e, steps), names)]
    assert calls == ["begin", *epochs, ("end", names)]
    assert history.epoch == [0, 1, 2]
    assert sorted(history.history) == names
    assert model.history is history


def test_a_callback_can_end_it():
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    assert fit(turns(**EAGERLY), callbacks=[Stop()]).epoch == [0, 1]


def test_backup_and_restore_goes_on(whole, tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise StopError

    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    with pytest.raises(StopError):
        fit(turns(**EAGERLY), callbacks=[backup, Stop()])
    model = turns(**EAGERLY)
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    assert fit(model, callbacks=[backup]).epoch == [2]
    assert_same(model, whole[0])


def test_a_schedule_is_both_optimizers_own_and_a_set_rate_the_backbones():
    rates = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            rates.append(float(self.model.peer_optimizer.learning_rate))

    model = turns(**EAGERLY)
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1))
    fit(model, callbacks=[schedule, Watch()])
    np.testing.assert_allclose(rates, [0.1, 0.05, 0.1 / 3], rtol=1e-6)


def test_a_source_gives_what_arrays_give(whole):
    source = ExampleSource(
        lambda places, number: tf.gather(X, places),
        Y,
        look=lambda places: tf.gather(X, places),
    )
    model = turns(**EAGERLY)
    fit(model, source, None)
    for one, other in zip(model.weights, whole[0].weights, strict=True):
        if "history" not in one.path:  # which keeps the range of arrays
            np.testing.assert_array_equal(one.numpy(), other.numpy(), one.path)


def test_a_source_is_told_each_networks_pass():
    numbers = set()

    def load(places, number):
        tf.py_function(lambda n: numbers.add(int(n)), [number], [])
        return tf.gather(X, places)

    source = ExampleSource(load, Y, ids=np.arange(N)[::-1].copy())
    model = turns(**EAGERLY)
    scan = tf.data.Dataset.from_tensor_slices((X, {"label": Y, "index": source.ids}))
    fit(model, source, None, epochs=2, scan_data=scan.batch(7))
    assert numbers == {0, 1, 2, 3}


def test_predictions_are_the_mean_of_both(whole, tmp_path):
    model, _ = whole
    expected = np.mean([one(X).numpy() for one in model.networks()], axis=0)
    np.testing.assert_allclose(model.predict(X, verbose=0), expected, atol=1e-6)
    deployed = model.predictor()
    deployed.save(tmp_path / "deployed.keras")
    loaded = keras.saving.load_model(tmp_path / "deployed.keras")
    np.testing.assert_allclose(loaded(X), expected, atol=1e-6)
    model.export(tmp_path / "exported", verbose=False)
    exported = tf.saved_model.load(tmp_path / "exported")
    served = exported.serve(X)
    np.testing.assert_allclose(served, expected, atol=1e-6)


def test_networks_of_one_name_predict_together():
    model = NoisyLabelModel(
        network(1, "net"), N, K, method=Turns(), peer=network(2, "net")
    )
    expected = np.mean([one(X).numpy() for one in model.networks()], axis=0)
    np.testing.assert_allclose(model.predictor()(X), expected, atol=1e-6)


def test_part_of_arrays_is_set_aside():
    model, other = turns(**EAGERLY), turns(**EAGERLY)
    history = fit(model, validation_split=0.25, epochs=1).history
    expected = fit(other, X[:15], Y[:15], validation_data=(X[15:], Y[15:]), epochs=1)
    assert history == expected.history
    assert_same(model, other)


def test_weights_count():
    weights = np.where(np.arange(N) < 5, 0.0, 1.0)
    model, other = (turns(Turns(weight=0.0), **EAGERLY) for _ in range(2))
    fit(model, epochs=1, sample_weight=weights)
    y = np.where(weights > 0, Y, (Y + 1) % K)  # what has no weight may say anything
    fit(other, X, y, epochs=1, sample_weight=weights)
    for one, two in zip(model.networks(), other.networks(), strict=True):
        for value, expected in zip(one.get_weights(), two.get_weights(), strict=True):
            np.testing.assert_allclose(value, expected, atol=1e-7)


def test_compiled_it_is_the_same(whole):
    model = turns()
    fit(model)
    for one, other in zip(model.variables, whole[0].variables, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-5)


def test_orders_hang_on_the_seed_the_pass_and_the_id():
    def order(ids=range(N), epoch=0, network=0, seed=0, **kwargs):
        one = Pass(epoch, network, np.array(ids), None, BATCH, seed)
        return one.ids[one.order(**kwargs)].tolist()

    whole = order()
    assert sorted(whole) == list(range(N))
    assert order() == whole
    others = [
        order(epoch=1),
        order(network=1),
        order(seed=1),
        order(stream="u"),
        order(turn=1),
    ]
    assert all(one != whole for one in others)
    some = order(ids=np.arange(0, N, 2))
    assert some == [one for one in whole if one % 2 == 0]


def test_a_stream_is_refused_by_name():
    stream = tf.data.Dataset.from_tensor_slices(
        (X, {"label": Y, "index": np.arange(N)})
    )
    with pytest.raises(ValueError, match="Turns chooses the examples of each batch"):
        fit(turns(), stream.batch(4), None)


def test_what_does_not_go_together_is_refused():
    source = ExampleSource(lambda places, number: tf.gather(X, places), Y)
    with pytest.raises(ValueError, match="looks at all examples before an epoch"):
        fit(turns(), source, None)
    with pytest.raises(ValueError, match="brings its own labels"):
        fit(turns(), source, Y)
    other = NoisyLabelModel(network(1), N, K, method=Sieve(), peer=network(2))
    other.compile("sgd")
    with pytest.raises(ValueError, match="for methods whose networks learn in turn"):
        fit(other, source, None)
    with pytest.raises(ValueError, match="`initial_step` is for methods that learn in"):
        fit(other, initial_step=1)
    with pytest.raises(ValueError, match="train_on_batch cannot"):
        turns().train_on_batch(X, {"label": Y, "index": np.arange(N)})
    with pytest.raises(ValueError, match="steps_per_execution=2; leave it at 1"):
        turns(steps_per_execution=2)
    with pytest.raises(ValueError, match="Leave `steps_per_epoch` out"):
        fit(turns(), steps_per_epoch=2)
    sparse = tf.sparse.from_dense(X)
    with pytest.raises(ValueError, match="Pass dense arrays"):
        fit(turns(), sparse)
    with pytest.raises(ValueError, match="Epoch 0 has 8 batches, of which 8 are to"):
        fit(turns(), initial_step=8)
    with pytest.raises(ValueError, match="`initial_step` must be"):
        fit(turns(), initial_step=-1)
    model = turns()
    with pytest.raises(ValueError, match="use_ema=True overwrites"):
        model.compile(keras.optimizers.SGD(0.1, use_ema=True))


def test_labels_of_a_source_are_checked():
    source = ExampleSource(lambda places, number: tf.gather(X, places), Y + 2)
    with pytest.raises(ValueError, match="Label 4 is not in"):
        fit(turns(), source, None)


def test_several_replicas_are_refused_by_name():
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    if strategy.num_replicas_in_sync < 2:
        pytest.skip("one logical device")
    with strategy.scope(), pytest.raises(ValueError, match="Turns cannot be trained"):
        turns()


def test_weights_of_a_source_are_those_of_arrays():
    weights = np.where(np.arange(N) < 5, 0.0, 1.0)
    models = [turns(**EAGERLY) for _ in range(3)]
    fit(models[0], epochs=1, sample_weight=weights)
    look = {"look": lambda places: tf.gather(X, places)}
    source = ExampleSource(lambda places, number: tf.gather(X, places), Y, **look)
    fit(models[1], source, None, epochs=1, sample_weight=weights)
    assert source.sample_weight is None
    source.sample_weight = weights
    fit(models[2], source, None, epochs=1)
    for model in models[1:]:
        for one, other in zip(model.networks(), models[0].networks(), strict=True):
            for value, expected in zip(one.weights, other.weights, strict=True):
                np.testing.assert_array_equal(value.numpy(), expected.numpy())


def test_the_loss_has_the_regularisers_of_the_network_that_learns():
    def regularized(seed, strength):
        dense = layers.Dense(
            K,
            kernel_initializer=keras.initializers.GlorotUniform(seed),
            kernel_regularizer=keras.regularizers.L2(strength),
            activity_regularizer=keras.regularizers.L2(0.0),
        )
        return keras.Sequential([keras.Input((D,)), dense])

    def loss(*strengths):
        first, second = map(regularized, (1, 2), strengths)
        model = NoisyLabelModel(first, N, K, Turns(weight=0.0), peer=second)
        model.compile(keras.optimizers.SGD(0.0), **EAGERLY)
        return fit(model, epochs=1).history["loss"][0]

    kernels = [regularized(seed, 0.0).get_weights()[0] for seed in (1, 2)]
    extra = [(kernel**2).sum() for kernel in kernels]
    mean = (extra[0] + 3 * extra[1]) / 2
    np.testing.assert_allclose(loss(1.0, 3.0) - loss(0.0, 0.0), mean, rtol=1e-4)


def test_beginning_again_says_that_it_repeats(caplog):
    model = turns(**EAGERLY)
    fit(model, epochs=1)
    fit(model, epochs=2, initial_epoch=1)
    assert "begins with epoch 0 again" not in caplog.text
    fit(model, epochs=1)
    assert "have had 9 batches already" in caplog.text


def test_a_peer_of_another_architecture_is_left_out_of_no_decay():
    other = keras.Sequential([keras.Input((D,)), layers.Dense(K)])
    model = NoisyLabelModel(network(1), N, K, method=Turns(), peer=other)
    optimizer = keras.optimizers.AdamW(1e-3)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    with pytest.raises(ValueError, match="`peer` has other weights than the backbone"):
        model.compile(optimizer)
    model.compile(keras.optimizers.AdamW(1e-3))  # which leaves nothing out
