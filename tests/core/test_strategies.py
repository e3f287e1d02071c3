"""Which strategies there are, and what is refused before a training starts."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from sop_keras import SOPModel
from sop_keras.core.strategies import (
    check_cluster,
    check_strategy,
    is_chief,
    is_multi_worker,
    make_strategy,
    scope,
)

WORKERS = ["host1:12345", "host2:12345"]


def config(workers=WORKERS, kind="worker", index=0, **others):
    cluster = {"worker": workers, **others}
    return json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})


@pytest.mark.parametrize("index", [0, 1, "1"])
def test_a_cluster_that_can_be_used(index):
    check_cluster(config(index=index))


@pytest.mark.parametrize(
    ("tf_config", "message"),
    [
        (None, "needs the environment variable TF_CONFIG, which is not set"),
        ("", "needs the environment variable TF_CONFIG, which is not set"),
        ("worker 0", r"JSONDecodeError.*Received: worker 0\. Expected"),
        ("[1]", r"TypeError.*Received: \[1\]"),
        (json.dumps({"task": {}}), "KeyError: 'cluster'"),
        (json.dumps({"cluster": {"worker": WORKERS}}), "KeyError: 'task'"),
        (config(index="first"), "ValueError.*'first'"),
        (json.dumps({"cluster": {}, "task": {}}), "KeyError: 'worker'"),
        (config(index=2), "has the index 2, but the cluster has 2 workers"),
        (config(index=-1), "has the index -1, but the cluster has 2 workers"),
        (config([]), "has the index 0, but the cluster has 0 workers"),
        (config(chief=["host0:1"], kind="chief"), "All machines must be workers"),
        (config(chief=["host0:1"]), "All machines must be workers.*host0:1"),
        (config(kind="ps"), "All machines must be workers"),
    ],
)
def test_a_cluster_that_cannot(tf_config, message):
    expected = r'.*"worker": \["host1:12345", .*index being that of this machine'
    with pytest.raises(ValueError, match=message + expected):
        check_cluster(tf_config)


def test_strategies_by_name(monkeypatch):
    assert make_strategy("none") is tf.distribute.get_strategy()
    with pytest.raises(ValueError, match=r"one of none, .*Received: .*'horovod'"):
        make_strategy("horovod")
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match=r"strategy='multi_worker' needs .*TF_CONFIG"):
        make_strategy("multi_worker")


@pytest.mark.parametrize(
    "strategy",
    [tf.distribute.get_strategy(), tf.distribute.OneDeviceStrategy("CPU:0")],
)
def test_strategies_of_one_process(strategy):
    check_strategy(strategy)
    assert is_chief(strategy)
    assert not is_multi_worker(strategy)
    for _ in range(2):  # a scope that is in force is not entered again
        with scope(strategy), scope(strategy):
            assert tf.distribute.get_strategy() is strategy


def network():
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])


def test_variables_that_are_not_on_every_replica():
    # Like ParameterServerStrategy, which needs a cluster to be made.
    strategy = tf.distribute.experimental.CentralStorageStrategy()
    message = "MirroredStrategy, .*Received: CentralStorageStrategy"
    with pytest.raises(ValueError, match=message):
        check_strategy(strategy)
    with strategy.scope(), pytest.raises(ValueError, match=message):
        SOPModel(network(), 5, 2)


@pytest.mark.parametrize("table_device", ["gpu", "GPU:0", 0])
def test_other_devices_of_the_table(table_device):
    with pytest.raises(ValueError, match=f'"cpu".*Received: {table_device!r}'):
        SOPModel(network(), 5, 2, table_device=table_device)


def test_a_compiled_step_and_a_table_in_the_hosts_memory():
    model = SOPModel(network(), 5, 2, table_device="cpu")
    with pytest.raises(ValueError, match=r"table in the host's memory.*Leave"):
        model.compile(jit_compile=True)
    model.compile()
    assert not model.jit_compile


def test_compile_outside_of_the_models_scope():
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        model = SOPModel(network(), 5, 2)
    with pytest.raises(ValueError, match=r"OneDeviceStrategy.*with strategy\.scope"):
        model.compile()


def test_one_device_by_name_trains_like_the_default_one():
    x = np.random.default_rng(2).normal(size=(5, 3)).astype(np.float32)
    found = []
    for strategy in (
        tf.distribute.get_strategy(),
        tf.distribute.OneDeviceStrategy("CPU:0"),
    ):
        with scope(strategy):
            model = SOPModel(network(), 5, 2, init_std=0.1, seed=3)
            rates = {"u_optimizer": 10.0, "v_optimizer": 10.0}
            model.compile(keras.optimizers.SGD(0.1), metrics=["accuracy"], **rates)
        history = model.fit(
            x, np.arange(5) % 2, batch_size=2, epochs=2, shuffle=False, verbose=0
        ).history
        found.append([*model.get_weights(), *history.values()])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-6)
