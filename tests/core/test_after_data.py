import keras
import numpy as np
import pytest
import tensorflow as tf

from sop_keras.core.after_data import after_data


class Counter(keras.Model):
    """Counts its steps without looking at their data."""

    def __init__(self):
        super().__init__()
        self.steps = self.add_weight(shape=(), dtype="int32", initializer="zeros")

    def train_step(self, data):
        self.steps.assign_add(1)
        return {"loss": 0.0}


class Waiting(Counter):
    train_step = after_data(Counter.train_step)


def broken_at_the_third():
    targets = {"label": np.arange(12), "index": np.arange(12)}

    def check(x, y):
        tf.debugging.assert_less(y["index"], np.int64(8))
        return x, y

    data = tf.data.Dataset.from_tensor_slices((np.zeros((12, 1)), targets))
    return data.batch(4).map(check)


def test_a_step_waits_for_its_data():
    model = Waiting()
    model.compile("sgd")
    with pytest.raises(tf.errors.InvalidArgumentError):
        model.fit(broken_at_the_third(), shuffle=False, verbose=0)
    assert int(model.steps) == 2


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("with_ids", [True, False])
def test_no_step_is_counted_when_the_data_have_run_out(with_ids):
    data = broken_at_the_third().take(2)
    if not with_ids:
        data = data.map(lambda x, y: (x, y["label"]))
    # How long it is is not known: Keras asks for a third batch.
    data = data.filter(lambda x, y: True)
    model = Waiting()
    model.compile("sgd")
    model.fit(data, epochs=3, shuffle=False, verbose=0)
    assert int(model.steps) == 3 * 2


def test_eager_steps_are_untouched():
    model = Waiting()
    model.compile("sgd", run_eagerly=True)
    model.fit(broken_at_the_third().take(2), shuffle=False, verbose=0)
    assert int(model.steps) == 2
    assert Waiting.train_step.__name__ == "train_step"
