import itertools
import math
import random

import keras
import numpy as np
import pytest

from sop_keras.backbones.initializers import default_seeds, fan_in_uniform, layer_seeds


def draw(initializer, shape):
    return keras.ops.convert_to_numpy(initializer(shape))


@pytest.mark.parametrize(
    ("shape", "fan_in", "limit"),
    [
        # A 3x3 convolution of 16 channels sums over 144 inputs: 1/12.
        ((3, 3, 16, 256), 144, 1 / 12),
        # A 1x1 convolution of 64 channels: 1/8.
        ((1, 1, 64, 512), 64, 1 / 8),
        # A dense layer of 100 inputs: 1/10.
        ((100, 400), 100, 1 / 10),
        # The bias of a dense layer of 25 inputs: 1/5.
        ((40_000,), 25, 1 / 5),
    ],
)
def test_bounds_and_spread(shape, fan_in, limit):
    values = draw(fan_in_uniform(fan_in, seed=0), shape)
    assert values.shape == shape
    assert values.dtype == np.float32
    assert np.abs(values).max() <= limit * (1 + 1e-6)
    assert values.max() > 0.99 * limit
    assert values.min() < -0.99 * limit
    # U(-a, a) has mean 0 and deviation a / sqrt(3). Over n >= 32,768 values the
    # sample's deviation is off by sqrt(0.2 / n) = 0.25% (one sigma), its mean by
    # 0.3% of a.
    assert values.std() == pytest.approx(limit / math.sqrt(3), rel=0.015)
    assert abs(values.mean()) < 0.02 * limit


def test_seeds():
    shape = (5, 7)
    np.testing.assert_array_equal(
        draw(fan_in_uniform(5, seed=3), shape), draw(fan_in_uniform(5, seed=3), shape)
    )
    assert not np.array_equal(
        draw(fan_in_uniform(5, seed=3), shape), draw(fan_in_uniform(5, seed=4), shape)
    )


def test_without_a_seed_keras_global_seed_decides():
    def two():
        keras.utils.set_random_seed(5)
        return [draw(fan_in_uniform(4), (4, 4)) for _ in range(2)]

    first, second = two()
    np.testing.assert_array_equal(two()[0], first)
    assert not np.array_equal(first, second)


def test_it_is_keras_own_so_that_networks_load_anywhere():
    initializer = fan_in_uniform(9, seed=7)
    assert type(initializer) is keras.initializers.RandomUniform


@pytest.mark.parametrize("fan_in", [0, -3])
def test_refuses_a_fan_in_below_one(fan_in):
    with pytest.raises(ValueError, match=f"integer of at least 1.*fan_in={fan_in}"):
        fan_in_uniform(fan_in)


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**63])
def test_layer_seeds_are_distinct_and_fit_keras(seed):
    seeds = np.array(list(itertools.islice(layer_seeds(seed), 1000)))
    assert seeds.tolist() == list(itertools.islice(layer_seeds(seed), 1000))
    # On TensorFlow Keras draws under the seed modulo 2**31 - 2.
    assert len(np.unique(seeds % (2**31 - 2))) == 1000
    assert seeds.min() >= 0


def test_different_seeds_share_no_layer_seed():
    first = set(itertools.islice(layer_seeds(0), 1000))
    assert first.isdisjoint(itertools.islice(layer_seeds(1), 1000))


def test_layer_seeds_without_a_seed():
    assert list(itertools.islice(layer_seeds(None), 3)) == [None, None, None]


def test_refuses_a_negative_seed():
    with pytest.raises(ValueError, match=r"integer of at least 0.*seed=-1"):
        layer_seeds(-1)


def test_default_seeds_reach_layers_without_seeds_and_end_there():
    def kernel():
        layer = keras.layers.Dense(4)
        layer.build((None, 4))
        return layer.kernel.numpy()

    def within(seed):
        with default_seeds(seed):
            return kernel()

    keras.utils.set_random_seed(7)
    expected = [random.random(), kernel()]
    keras.utils.set_random_seed(7)
    first, other, again = within(0), within(1), within(0)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    # What comes after draws as if nothing had been drawn.
    assert random.random() == expected[0]
    np.testing.assert_array_equal(kernel(), expected[1])


def test_default_seeds_of_none_leave_keras_global_seed_in_charge():
    def value():
        with default_seeds(None):
            return draw(keras.initializers.RandomUniform(), (3,))

    keras.utils.set_random_seed(7)
    first, second = value(), value()
    keras.utils.set_random_seed(7)
    np.testing.assert_array_equal(value(), first)
    assert not np.array_equal(first, second)
