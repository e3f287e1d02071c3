"""What every method keeps: saved, resumed, in float16, on the host, label issues."""

import dataclasses
import functools

import graphs
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from open_gate import open_gate

from sop_keras import NoisyLabelModel, methods
from sop_keras.label_issues.find import COLUMNS

N, D, K, BATCH = 24, 4, 3, 8  # three batches an epoch
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D)).astype(np.float32)
Y = RNG.integers(0, K, N)

every_method = pytest.mark.parametrize("name", methods.names())

# In place of adaptive rates, which sop has, with a gate that is open.
NUMBERS = {
    "sop_plus": {"u_learning_rate": 10.0, "v_learning_rate": 10.0},
    # It looks before the second and the third of three epochs.
    "truncated_gce": {"truncation": 0.4, "first_pruning": 2, "pruning_interval": 1},
    "cores2": {"sieve_start": 0},
    "dividemix": {"warm_up": 1},
    # The rate is full, and disagreement counts, in the second of three epochs.
    "coteaching": {"num_gradual": 1},
    "coteaching_plus": {"num_gradual": 1, "init_epochs": 1},
}

# What a run before has found.
FOUND = {"cores_star": {"dropped_ids": tuple(range(0, N, 3))}}


def network(seed=1):
    start = {"kernel_initializer": keras.initializers.GlorotUniform(seed)}
    return keras.Sequential(
        [
            keras.Input((D,)),
            layers.Dense(5, **start),
            layers.BatchNormalization(),
            layers.Dropout(0.3, seed=3),
            layers.Dense(K, **start),
        ]
    )


def method(name):
    """With the default settings of a run, or its `NUMBERS`, and what it is told."""
    record = methods.record(name)
    settings = record.settings(**NUMBERS.get(name, {}))
    return record.load()(**settings.arguments(Y, K, False), **FOUND.get(name, {}))


def compiled(name, run_eagerly=False, **options):
    """Run eagerly where little is trained, and nothing said of a compiled step."""
    one = method(name)
    peer = network(2) if one.num_networks > 1 else None
    model = NoisyLabelModel(network(), N, K, method=one, peer=peer, seed=6, **options)
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    model.compile(optimizer, metrics=["accuracy"], run_eagerly=run_eagerly)
    return open_gate(model) if "gate_totals" in model.shared else model


def inputs(model):
    return (X, 0.5 * X) if model.method.num_views > 1 else X


def train(model, until, start=0, callbacks=()):
    return model.fit(
        inputs(model),
        Y,
        batch_size=BATCH,
        epochs=until,
        initial_epoch=start,
        shuffle=False,
        callbacks=list(callbacks),
        verbose=0,
    ).history


def assert_same(found, expected):
    pairs = [(found.variables, expected.variables)]
    for one, other in zip(found.optimizers(), expected.optimizers(), strict=True):
        pairs.append((one.variables, other.variables))
    for ours, theirs in pairs:
        for value, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(value.numpy(), other.numpy(), value.path)


class Save(keras.callbacks.Callback):
    """Saves a model after its first epoch, and its weights."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            self.model.save(self.folder / "model.keras")
            self.model.save_weights(self.folder / "model.weights.h5")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """By a method's name: a model after three epochs, their history, what is saved."""

    @functools.cache
    def trained(name):
        folder = tmp_path_factory.mktemp(name)
        model = compiled(name)
        return model, train(model, until=3, callbacks=[Save(folder)]), folder

    return trained


@every_method
def test_saved_it_goes_on_to_the_last_bit(name, whole):
    model, history, folder = whole(name)
    loaded = keras.saving.load_model(folder / "model.keras")
    other = compiled(name)
    other.load_weights(folder / "model.weights.h5")
    assert_same(other, loaded)
    later = {key: values[1:] for key, values in history.items()}
    assert train(loaded, until=3, start=1) == later
    assert_same(loaded, model)


@every_method
def test_its_config_makes_its_like(name):
    model = compiled(name)
    copy = NoisyLabelModel.from_config(model.get_config())
    assert copy.method == model.method
    assert copy.get_config() == model.get_config()


# Rates of their own; looks; rows that do not begin alike; networks in turn.
@pytest.mark.parametrize("name", ["sop", "truncated_gce", "cores_star", "elr_plus"])
def test_tables_in_the_hosts_memory_give_the_same_numbers(name, whole):
    model, history, _ = whole(name)
    other = compiled(name, table_device="cpu")
    assert train(other, until=3) == history
    assert_same(other, model)


@every_method
def test_tables_on_disk_give_the_same_numbers(name, whole, tmp_path):
    model, history, _ = whole(name)
    other = compiled(name, table_device="disk", table_folder=tmp_path)
    assert train(other, until=3) == history
    pairs = zip(other.tables.on_disk(), model.tables.by_name().values(), strict=True)
    for rows, variable in pairs:
        np.testing.assert_array_equal(rows.numpy(), variable.numpy(), rows.path)


@every_method
def test_a_step_touches_the_rows_of_its_batch_alone(name):
    model = compiled(name)
    model._learner = 0 if model.method.in_turn else None
    view = tf.TensorSpec([None, D])
    x = (view, view) if model.method.num_views > 1 else view
    targets = dict.fromkeys(("label", "index"), tf.TensorSpec([None], tf.int64))
    step = tf.function(model.train_step).get_concrete_function((x, targets))
    for variable in model.tables.by_name().values():
        used = graphs.operations_on(variable, step.graph)
        assert used <= {"ResourceGather", "ResourceScatterUpdate"}, variable.path
    tensors = [one for op in step.graph.get_operations() for one in op.outputs]
    assert not any(one.shape.rank and one.shape[0] == N for one in tensors)


@every_method
def test_in_float16_its_tables_are_float32_and_its_numbers_finite(name):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = compiled(name)
    finally:
        keras.config.set_dtype_policy(before)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert all(one.dtype == "float32" for one in model.tables.by_name().values())
    history = train(model, until=2)
    assert np.isfinite(history["loss"]).all()
    assert all(np.isfinite(one.numpy()).all() for one in model.weights)


@every_method
def test_examples_of_weight_0_do_not_train_the_network(name, monkeypatch):
    one = method(name)
    if "balance_loss" in one.loss_parts:  # of the batch's mean, which has no weights
        one = dataclasses.replace(one, balance_weight=0.0)
    monkeypatch.setitem(globals(), "method", lambda name: one)
    model = compiled(name, run_eagerly=True)
    before = [[w.numpy() for w in net.trainable_weights] for net in model.networks()]
    weighted = {"sample_weight": np.zeros(N), "batch_size": BATCH, "verbose": 0}
    if not one.takes_weights:
        with pytest.raises(ValueError, match="Leave `sample_weight` and"):
            model.fit(inputs(model), Y, **weighted)
        return
    model.fit(inputs(model), Y, **weighted)
    for values, net in zip(before, model.networks(), strict=True):
        for value, weight in zip(values, net.trainable_weights, strict=True):
            np.testing.assert_allclose(weight.numpy(), value, atol=1e-7)
    assert model.training_record.is_empty()


@every_method
def test_it_finds_label_issues_or_says_that_it_does_not(name):
    model = compiled(name, run_eagerly=True)
    if not model.method.finds_label_issues:
        with pytest.raises(ValueError, match="finds no wrong labels"):
            model.label_issues(X, Y)
        return
    with pytest.raises(ValueError, match="has not been trained"):
        model.label_issues(X, Y)
    train(model, until=2)
    issues = model.label_issues(X, Y)
    assert tuple(issues.columns) == COLUMNS
    assert issues["id"].tolist() == list(range(N))
    assert issues["given_label"].tolist() == Y.tolist()
    assert (issues["suggested_label"] != issues["given_label"]).all()
    assert issues["label_quality"].between(0, 1).all()
    assert np.isfinite(issues["noise_score"]).all()
    other = Y.copy()
    other[3] = (Y[3] + 1) % K
    with pytest.raises(ValueError, match=r"under another label: the first is index 3"):
        model.label_issues(X, other)


@every_method
def test_ids_and_labels_are_checked(name):
    model = compiled(name)
    for labels, ids, message in (
        (Y, np.full(N, N), "Index 24 is outside"),
        (np.full(N, K), np.arange(N), r"Label 3 is not in \[0, 3\)"),
    ):
        with pytest.raises(ValueError, match=message):
            model.fit(inputs(model), {"label": labels, "index": ids}, verbose=0)
