"""Saved and resumed training is to the last bit the training that was not stopped."""

import contextlib

import h5py
import keras
import numpy as np
import pytest
from keras import layers
from open_gate import open_gate

from sop_keras import SOPModel

N, D, K, BATCH = 24, 4, 3, 8  # three batches an epoch
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D)).astype(np.float32)
Y = RNG.integers(0, K, N)


@keras.saving.register_keras_serializable(package="sop_keras_tests")
class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden, self.normalize = layers.Dense(5), layers.BatchNormalization()
        self.dropout, self.logits = layers.Dropout(0.3), layers.Dense(K)

    def call(self, inputs, training=None):
        hidden = self.normalize(self.hidden(inputs), training=training)
        return self.logits(self.dropout(hidden, training=training))


def functional():
    inputs = keras.Input((D,))
    hidden = layers.BatchNormalization()(layers.Dense(5)(inputs))
    outputs = layers.Dense(K)(layers.Dropout(0.3)(hidden))
    # Softmax and its losses belong in float32 under mixed precision; logits need not.
    return keras.Model(inputs, outputs)


def plain_rates():
    return keras.optimizers.SGD(0.1, momentum=0.9), 2.0, 3.0


def adaptive():
    return keras.optimizers.SGD(0.1, momentum=0.9), "auto", "auto"


def schedules():
    of = keras.optimizers.schedules
    return (
        keras.optimizers.Adam(of.CosineDecay(0.1, 12)),
        of.PiecewiseConstantDecay([4, 8], [4.0, 2.0, 1.0]),
        of.ExponentialDecay(3.0, 2, 0.8),
    )


def fresh(backbone=functional, rates=plain_rates):
    keras.utils.set_random_seed(5)
    model = SOPModel(backbone(), N, K, init_std=0.1, seed=6)
    optimizer, u_optimizer, v_optimizer = rates()
    model.compile(
        optimizer,
        u_optimizer=u_optimizer,
        v_optimizer=v_optimizer,
        metrics=["accuracy"],
    )
    return open_gate(model) if rates is adaptive else model


def train(model, until, start=0, **arguments):
    return model.fit(
        X,
        Y,
        batch_size=BATCH,
        epochs=until,
        initial_epoch=start,
        shuffle=False,
        verbose=0,
        **arguments,
    )


def state(model):
    """All that training depends on: weights, table, seeds, the gate, the optimizers."""
    optimizers = (model.optimizer, *model.row_optimizers().values())
    variables = [
        *model.backbone.weights,
        *(v for layer in model.backbone._flatten_layers() for v in layer.variables),
        model.noise_table.u,
        model.noise_table.v,
        *model.shared.values(),
        *(variable for optimizer in optimizers for variable in optimizer.variables),
    ]
    return [variable.numpy() for variable in variables]


def assert_same(model, expected):
    found, expected = state(model), state(expected)
    assert len(found) == len(expected)
    for value, expected_value in zip(found, expected, strict=True):
        np.testing.assert_array_equal(value, expected_value)


@contextlib.contextmanager
def policy(name):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


@pytest.mark.parametrize(
    ("backbone", "rates", "dtype_policy"),
    [
        (functional, schedules, "float32"),
        (Subclassed, plain_rates, "float32"),
        (functional, plain_rates, "mixed_float16"),
    ],
    ids=["functional-schedules", "subclassed", "mixed_float16"],
)
def test_keras_file_and_weights_file(backbone, rates, dtype_policy, tmp_path):
    with policy(dtype_policy):
        model, other = (fresh(backbone, rates) for _ in range(2))
    train(model, until=1)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")

    # The policy that is in force where it is loaded does not matter.
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    other(X)  # weights can be loaded into what has weights alone
    other.load_weights(tmp_path / "model.weights.h5")
    assert_same(loaded, model)
    assert_same(other, model)
    for one in (model, loaded, other):
        train(one, until=3, start=1)
    assert_same(loaded, model)
    assert_same(other, model)


def test_two_views_and_counted_labels_go_on(tmp_path):
    def sop_plus():
        keras.utils.set_random_seed(5)
        options = {"consistency_weight": 0.9, "balance_weight": 0.1}
        model = SOPModel(
            functional(), N, K, class_prior="empirical", init_std=0.1, seed=6, **options
        )
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9), metrics=["accuracy"])
        return open_gate(model)  # of rates that set themselves

    def go_on(model):
        # One batch after the other: no labels are counted, the last count is used.
        for start in range(0, N, BATCH):
            rows = np.arange(start, start + BATCH)
            targets = {"label": Y[rows], "index": rows}
            logs = model.train_on_batch((X[rows], 0.5 * X[rows]), targets)
        return logs

    model, other = sop_plus(), sop_plus()
    model.fit((X, 0.5 * X), Y, batch_size=BATCH, shuffle=False, verbose=0)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    other.load_weights(tmp_path / "model.weights.h5")
    for one in (loaded, other):
        assert one.consistency_weight == 0.9
        assert_same(one, model)
    logs = [go_on(one) for one in (model, loaded, other)]
    assert logs[0] == logs[1] == logs[2]
    assert_same(loaded, model)
    assert_same(other, model)


def test_what_is_compared_depends_on_everything_that_is_restored(tmp_path):
    # Else the test above could pass without restoring it.
    model = fresh(rates=schedules)
    train(model, until=1)
    model.save_weights(tmp_path / "model.weights.h5")
    train(model, until=2, start=1)
    expected = state(model)
    forgets = [
        lambda: None,
        lambda: model.u_optimizer.iterations.assign(0),
        lambda: model.v_optimizer.iterations.assign(0),
        lambda: model.optimizer.iterations.assign(0),
        lambda: model.optimizer.variables[-1].assign(np.ones(K)),
        lambda: model.noise_table.u.assign(np.zeros((N, 1))),
        lambda: model.noise_table.v.assign(np.zeros((N, K))),
        lambda: model.backbone.layers[3].seed_generator.state.assign([1, 2]),
    ]
    same = []
    for forget in forgets:
        model.load_weights(tmp_path / "model.weights.h5")
        forget()
        train(model, until=2, start=1)
        same.append(all(map(np.array_equal, state(model), expected)))
    assert same == [True] + [False] * 7


class Crash(keras.callbacks.Callback):
    """Ends the process, as far as fit is concerned, after so many steps."""

    def __init__(self, after):
        super().__init__()
        self.left = after

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("backbone", "rates"), [(functional, adaptive), (Subclassed, plain_rates)]
)
def test_backup_and_restore(backbone, rates, tmp_path):
    uninterrupted = fresh(backbone, rates)
    start = uninterrupted.noise_table.v.numpy()
    train(uninterrupted, until=3)
    assert (uninterrupted.noise_table.v.numpy() != start).any()
    backup = keras.callbacks.BackupAndRestore(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        # In the middle of the second epoch, which is done again.
        train(fresh(backbone, rates), until=3, callbacks=[backup, Crash(after=4)])
    resumed = fresh(backbone, rates)
    backup = keras.callbacks.BackupAndRestore(tmp_path)
    history = train(resumed, until=3, callbacks=[backup])
    assert history.epoch == [1, 2]
    assert_same(resumed, uninterrupted)


def test_model_checkpoint(tmp_path):
    model = fresh()
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras")
    weights = keras.callbacks.ModelCheckpoint(
        tmp_path / "{epoch}.weights.h5", save_weights_only=True
    )
    train(model, until=2, callbacks=[checkpoint, weights])
    one = keras.saving.load_model(tmp_path / "1.keras")
    train(one, until=2, start=1)
    assert_same(one, model)
    other = fresh()
    other.load_weights(tmp_path / "2.weights.h5")
    assert_same(other, model)


def test_the_backbone_alone_is_what_is_deployed(tmp_path):
    model = fresh()
    train(model, until=1)
    model.backbone.save(tmp_path / "clean.keras")
    deployed = keras.saving.load_model(tmp_path / "clean.keras")
    assert not isinstance(deployed, SOPModel)
    np.testing.assert_array_equal(
        deployed.predict(X, verbose=0), model.predict(X, verbose=0)
    )
    model.backbone.save_weights(tmp_path / "clean.weights.h5")
    sizes = []
    with h5py.File(tmp_path / "clean.weights.h5") as file:
        file.visititems(lambda _, item: sizes.append(getattr(item, "shape", ())))
    assert (N, 1) not in sizes
    assert (N, K) not in sizes


def test_config_round_trip():
    arguments = {
        "num_examples": N,
        "num_classes": K,
        "from_logits": False,
        "variant": "reference",
        "consistency_weight": 0.9,
        "balance_weight": 0.25,
        "class_prior": [0.5, 0.25, 0.25],
        "init_std": 0.5,
        "seed": 9,
    }
    backbone = keras.Sequential([functional(), layers.Softmax()])
    model = SOPModel(backbone, **arguments, name="mine")
    config = model.get_config()
    assert {key: config[key] for key in arguments} == arguments
    assert config["name"] == "mine"
    for clone in (SOPModel.from_config(config), keras.models.clone_model(model)):
        assert clone.get_config() == config == model.get_config()
        assert clone.backbone is not model.backbone
        np.testing.assert_array_equal(clone.noise_table.v, model.noise_table.v)


@pytest.mark.parametrize(
    ("prior", "saved"),
    [(None, [1 / K] * K), ("uniform", [1 / K] * K), ("empirical", "empirical")],
)
def test_config_of_the_prior(prior, saved):
    config = SOPModel(functional(), N, K, class_prior=prior).get_config()
    found = config["class_prior"]
    assert found == (saved if isinstance(saved, str) else pytest.approx(saved))
    assert SOPModel.from_config(config).get_config() == config


def test_compile_config_round_trip():
    model = fresh(rates=schedules)
    config = model.get_compile_config()
    other = SOPModel(functional(), N, K)
    assert other.get_compile_config() == {}
    other.compile_from_config(config)
    for name in ("optimizer", "u_optimizer", "v_optimizer"):
        found, expected = (getattr(one, name).get_config() for one in (other, model))
        assert str(found) == str(expected)
    assert other.optimizer.built


def test_the_config_of_rates_that_set_themselves():
    model = fresh(rates=adaptive)
    assert SOPModel(functional(), N, K).get_config()["init_std"] == "auto"
    found = model.get_compile_config()
    assert {name: found.get(f"{name}_optimizer") for name in "uv"} == {
        "u": "auto",
        "v": "auto",
    }
    other = SOPModel.from_config(model.get_config())
    other.compile_from_config(found)
    assert other.row_optimizers() == {}


def test_a_copy_by_json():
    model = fresh()
    copy = keras.models.model_from_json(model.to_json())
    assert copy.to_json() == model.to_json()
    copy.set_weights(model.get_weights())
    np.testing.assert_array_equal(copy.noise_table.v, model.noise_table.v)
    np.testing.assert_array_equal(copy(X), model(X))
