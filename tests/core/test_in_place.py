"""XLA updates what examples own in place: no step has a copy of a table."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from sop_keras import NoisyLabelModel, methods

N, K = 10_007, 24  # N is a length that nothing else has


@pytest.mark.parametrize(
    ("method", "table"),
    [
        (methods.SOP(), "dense"),
        (methods.SOP(), "compact"),
        (methods.SOP(10.0, 10.0), "compact"),
        (methods.ELR(), "dense"),
    ],
    ids=["auto", "auto in slots", "numbers in slots", "elr"],
)
def test_a_step_copies_no_table(method, table):
    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(K)])
    options = {"table": table, "table_slots": 4} if table == "compact" else {}
    model = NoisyLabelModel(network, N, K, method=method, seed=0, **options)
    model.compile(keras.optimizers.SGD(0.1), jit_compile=True)
    ids = np.arange(4)
    y = {"label": ids, "index": ids}
    model.fit(np.ones((4, 3), "float32"), y, batch_size=4, verbose=0)
    step = tf.function(model.train_step, jit_compile=True)
    data = (tf.ones((4, 3)), {name: tf.constant(ids) for name in y})
    text = step.experimental_get_compiler_ir(data)(stage="optimized_hlo")
    assert f"f32[{N},3]" in text  # what is recorded of each example
    assert not re.findall(rf"f32\[{N},\d+\]\S* copy\(.*", text)
