"""What is no array of all examples is named, in few words."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image

from sop_keras import SOPModel
from sop_keras.core.views import check_stacked

N, SIDE, K = 50, 8, 3
IMAGES = np.random.default_rng(0).random((N, SIDE, SIDE, 3)).astype(np.float32)
Y = np.arange(N) % K


class Subclassed(keras.Model):
    """Its inputs are not known before it is called."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(K)

    def call(self, inputs):
        return self.dense(keras.layers.Flatten()(inputs))


def known():
    steps = [keras.Input((SIDE, SIDE, 3)), keras.layers.Flatten()]
    return keras.Sequential([*steps, keras.layers.Dense(K)])


def model(make=known):
    result = SOPModel(make(), N, K, init_std=0.1)
    result.compile("sgd", metrics=["accuracy"])
    return result


LISTS = {
    "arrays": list(IMAGES),
    "tuple": tuple(IMAGES),
    "tensors": [tf.constant(image) for image in IMAGES],
    "pictures": [Image.fromarray((255 * image).astype("uint8")) for image in IMAGES],
}
MESSAGE = (
    r"^`x` is a list of 50 arrays of shape \(8, 8, 3\)\. Make one array of them, "
    r"\(num_examples, \.\.\.\): np\.stack\(x\)"
)


@pytest.mark.parametrize("x", LISTS.values(), ids=LISTS.keys())
@pytest.mark.parametrize("make", [known, Subclassed])
def test_a_list_of_images(make, x):
    one = model(make)
    uses = [one.fit, one.evaluate, one.test_on_batch]
    if make is known:  # else, fifty inputs are what it might take
        uses += [lambda x, y: one.predict(x)]
        uses += [lambda x, y: one.fit(IMAGES, Y, validation_data=(x, y))]
    for use in uses:
        with pytest.raises(ValueError, match=MESSAGE) as error:
            use(x, Y)
        assert len(str(error.value)) < 200


def test_images_of_several_sizes():
    x = [np.zeros((8 + i % 2, 8, 3)) for i in range(N)]
    with pytest.raises(ValueError, match=r"of several shapes.*must be of one size fi"):
        model().fit(x, Y)


def test_a_column_of_images():
    column = np.empty(N, object)
    column[:] = list(IMAGES)
    for x in (column, pd.Series(list(IMAGES))):
        with pytest.raises(
            ValueError, match=r"^The inputs are 50 arrays in .*np.stack"
        ):
            model().fit(x, Y)


def test_pairs_of_lists():
    pairs = SOPModel(known(), N, K, consistency_weight=0.9)
    pairs.compile("sgd")
    with pytest.raises(ValueError, match=MESSAGE):
        pairs.fit((list(IMAGES), list(IMAGES)), Y)


def test_several_inputs_stay_several():
    # As many inputs as examples, each with one row an example.
    check_stacked([np.ones((5, SIDE))] * 5, 5)
    check_stacked([np.ones((5, SIDE)), np.ones((5, 3))], 5)
    inputs = [keras.Input((SIDE,)) for _ in range(5)]
    outputs = keras.layers.Dense(K)(keras.layers.Concatenate()(inputs))
    one = SOPModel(keras.Model(inputs, outputs), 5, K, init_std=0.1)
    one.compile("sgd")
    with pytest.raises(
        ValueError, match=r"Received: 6 inputs \(float32 \(5, 8\), .*\)"
    ):
        one.fit([np.ones((5, SIDE), np.float32)] * 6, Y[:5])
