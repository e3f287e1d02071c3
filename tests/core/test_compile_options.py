import keras
import pytest
import tensorflow as tf

from sop_keras import SOPModel
from sop_keras.backbones.synchronized import synchronize_batch_norm
from sop_keras.core.compile_options import (
    check_jit_compile,
    check_replicable,
    warn_of_unsynchronized,
)


def test_xla_is_left_off_where_it_cannot_be_had():
    assert check_jit_compile("auto", 1, None) == "auto"
    assert check_jit_compile(True, 1, None) is True
    assert check_jit_compile("auto", 2, None) is False
    assert check_jit_compile("auto", 1, "cpu") is False
    assert check_jit_compile(False, 2, "cpu") is False


@pytest.mark.parametrize(
    ("num_replicas", "table_device", "reason"),
    [(2, None, "with 2 replicas, TensorFlow"), (1, "cpu", "host's memory")],
)
def test_xla_is_refused_where_it_is_asked_for(num_replicas, table_device, reason):
    with pytest.raises(ValueError, match=f"jit_compile=True cannot.*{reason}"):
        check_jit_compile(True, num_replicas, table_device)


def test_what_keras_cannot_do_with_several_replicas():
    accumulating = keras.optimizers.SGD(0.1, gradient_accumulation_steps=4)
    scaled = keras.optimizers.LossScaleOptimizer(accumulating)
    check_replicable("sgd", 1, num_replicas=8)
    check_replicable(accumulating, 5, num_replicas=1)
    with pytest.raises(ValueError, match=r"steps_per_execution=5 fails.*2 replicas"):
        check_replicable("sgd", 5, num_replicas=2)
    for optimizer in (accumulating, scaled):
        with pytest.raises(ValueError, match=r"accumulation_steps=4 fails.*2 replicas"):
            check_replicable(optimizer, 1, num_replicas=2)


@pytest.mark.parametrize("option", ["clipnorm", "clipvalue", "global_clipnorm"])
def test_gradients_of_parts_are_not_clipped(option):
    optimizer = keras.optimizers.SGD(0.1, **{option: 0.5})
    check_replicable(optimizer, 1, num_replicas=1)
    with pytest.raises(ValueError, match=f"{option}=0.5 would be.*4 replicas"):
        check_replicable(optimizer, 1, num_replicas=4)


def test_batches_of_parts_are_warned_of():
    norm = keras.layers.BatchNormalization
    inner = keras.Sequential([keras.Input((3,)), norm(name="inside")])
    model = keras.Sequential([keras.Input((3,)), inner, norm(synchronized=True)])
    with pytest.warns(UserWarning, match=r"1 BatchNormalization layers \(inside,"):
        warn_of_unsynchronized(model)
    synchronize_batch_norm(model)
    warn_of_unsynchronized(model)


def test_compile_belongs_into_the_scope_of_the_model():
    backbone = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model = SOPModel(backbone, 4, 2)
    with (
        tf.distribute.OneDeviceStrategy("CPU:0").scope(),
        pytest.raises(ValueError, match="made outside of all strategies' scopes"),
    ):
        model.compile("sgd")
