"""Rows read and written in place; tables in the host's memory."""

import graphs
import keras
import numpy as np
import pytest
import tensorflow as tf

from sop_keras import SOPModel
from sop_keras.core import sparse_variable

VALUES = np.arange(12, dtype=np.float32).reshape(4, 3)


def variable():
    return keras.Variable(VALUES, trainable=False)


@pytest.mark.parametrize("kind", [np.int32, np.int64, list])
def test_gather_gives_the_rows_in_the_order_asked_for(kind):
    indices = [2, 0, 2] if kind is list else np.array([2, 0, 2], kind)
    rows = sparse_variable.gather(variable(), indices)
    np.testing.assert_array_equal(rows, [[6, 7, 8], [0, 1, 2], [6, 7, 8]])


@pytest.mark.parametrize("run", ["eagerly", "in a graph", "under XLA"])
def test_scatter_writes_the_rows_and_no_others(run):
    table = variable()

    def write(indices, rows):
        sparse_variable.scatter(table, indices, rows)

    if run != "eagerly":
        write = tf.function(write, jit_compile=run == "under XLA")
    rows = np.float32([[-1, -2, -3], [-4, -5, -6], [-1, -2, -3]])
    write(tf.constant([3, 1, 3]), tf.constant(rows))
    expected = [[0, 1, 2], [-4, -5, -6], [6, 7, 8], [-1, -2, -3]]
    np.testing.assert_array_equal(table.numpy(), expected)


def test_neither_passes_over_the_variable():
    table = variable()

    @tf.function
    def double(indices):
        rows = sparse_variable.gather(table, indices)
        sparse_variable.scatter(table, indices, 2 * rows)

    graph = double.get_concrete_function(tf.TensorSpec([None], tf.int64)).graph
    used = graphs.operations_on(table, graph)
    assert used == {"ResourceGather", "ResourceScatterUpdate"}


def test_a_variable_on_the_host_is_made_there_whatever_the_scope():
    for scope in (tf.device("CPU:0"), tf.distribute.OneDeviceStrategy("CPU:0").scope()):
        with scope:
            made = sparse_variable.on_host(variable)
        assert tf.DeviceSpec.from_string(made.value.device).device_type == "CPU"
        assert not isinstance(made.value, tf.distribute.DistributedValues)
        np.testing.assert_array_equal(made.numpy(), VALUES)


def test_what_making_a_variable_raises_is_raised():
    def fail():
        raise ValueError("no room")

    with pytest.raises(ValueError, match="no room"):
        sparse_variable.on_host(fail)


N, D, K = 30, 4, 3
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(N, D)).astype(np.float32), RNG.integers(0, K, N)


def trained(table_device, epochs=2):
    keras.utils.set_random_seed(1)
    network = keras.Sequential([keras.Input((D,)), keras.layers.Dense(K)])
    model = SOPModel(network, N, K, init_std=0.2, seed=2, table_device=table_device)
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    model.compile(optimizer, u_optimizer=2.0, v_optimizer=3.0, metrics=["accuracy"])
    model.fit(X, Y, batch_size=8, epochs=epochs, shuffle=False, verbose=0)
    return model


def assert_equal(model, other):
    for found, expected in zip(model.variables, other.variables, strict=True):
        np.testing.assert_array_equal(found.numpy(), expected.numpy())


def test_a_table_on_the_host_gives_the_same_numbers():
    model = trained("cpu")
    for table in (model.noise_table.u, model.noise_table.v):
        device = tf.DeviceSpec.from_string(table.value.device)
        assert (device.device_type, device.device_index) == ("CPU", 0)
    assert_equal(model, trained(None))
    ids = np.arange(N)
    noise = model.estimate_noise(ids, Y)
    np.testing.assert_array_equal(noise, trained(None).estimate_noise(ids, Y))


@pytest.mark.parametrize("table_device", ["cpu", None])
def test_a_saved_table_is_loaded_where_it_was(table_device, tmp_path):
    model = trained(table_device, epochs=1)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.table_device == loaded.noise_table.device == table_device
    # Weights go from one kind of table to the other.
    model.save_weights(tmp_path / "model.weights.h5")
    other = trained(None if table_device else "cpu", epochs=1)
    other.noise_table.v.assign(np.zeros((N, K)))
    other.load_weights(tmp_path / "model.weights.h5")
    expected = trained(table_device, epochs=2)
    for one in (loaded, other):
        assert_equal(one, model)
        one.fit(X, Y, batch_size=8, shuffle=False, verbose=0)
        one.reset_metrics()
    expected.reset_metrics()
    for one in (loaded, other):
        assert_equal(one, expected)


@pytest.mark.parametrize("table_device", ["cpu", None])
def test_the_device_is_in_the_config(table_device):
    network = keras.Sequential([keras.Input((D,)), keras.layers.Dense(K)])
    model = SOPModel(network, N, K, table_device=table_device)
    config = model.get_config()
    assert config["table_device"] == table_device
    copy = SOPModel.from_config(config)
    assert copy.get_config() == config
    assert copy.noise_table.device == table_device


@pytest.mark.parametrize("table_device", ["gpu", "CPU", "CPU:0", "", 0, True])
def test_other_devices_are_refused(table_device):
    network = keras.Sequential([keras.Input((D,)), keras.layers.Dense(K)])
    message = r"`table_device` must be \"cpu\" \(u and v in the host's .*or None .*Rec"
    with pytest.raises(ValueError, match=message):
        SOPModel(network, N, K, table_device=table_device)


def test_xla_is_refused_and_left_out():
    network = keras.Sequential([keras.Input((D,)), keras.layers.Dense(K)])
    model = SOPModel(network, N, K, table_device="cpu")
    with pytest.raises(ValueError, match="cannot reach a table in the host's memory"):
        model.compile("sgd", jit_compile=True)
    model.compile("sgd")
    assert model.jit_compile is False
