import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from sop_keras.augment.keyed_draws import keyed_draws, trace

KEYS = tf.range(4000, dtype=tf.int64) * 12345


class Draws(keras.layers.Layer):
    """Numbers that a layer's function of its generator draws, whatever the inputs."""

    def __init__(self, draw):
        super().__init__()
        self.draw = draw
        self.generator = tf.random.Generator.from_seed(1)

    def call(self, inputs):
        return self.draw(self.generator)


def outputs_by_key(layer, keys):
    """What a layer gives by each key, float64 of shape `(len(keys), ...)`."""

    def output(key):
        with keyed_draws(layer, key):
            return layer(tf.zeros(1))

    @tf.function
    def outputs(keys):
        return tf.map_fn(output, keys, fn_output_signature=tf.float32)

    return outputs(keys).numpy().astype(np.float64)


def drawn(draw, keys=KEYS):
    """What is drawn by each key, by a layer in a layer: those are found, too."""
    return outputs_by_key(keras.layers.Pipeline([Draws(draw)]), keys)


def assert_mean(numbers, mean, deviation):
    """The mean of independent numbers of this deviation, to 4 sigma."""
    assert abs(numbers.mean() - mean) < 4 * deviation / np.sqrt(numbers.size)


def test_uniform_draws():
    numbers = drawn(lambda generator: generator.uniform((3,), 50, 200))
    assert numbers.shape == (4000, 3)
    assert numbers.min() >= 50
    assert numbers.max() < 200
    # Variance 150^2 / 12; that of squared deviations from the mean, 150^4 / 180.
    assert_mean(numbers, 125, 150 / 12**0.5)
    assert_mean((numbers - 125) ** 2, 150**2 / 12, 150**2 / 180**0.5)


def test_integers():
    numbers = drawn(
        lambda generator: tf.cast(
            generator.uniform((), minval=0, maxval=10, dtype=tf.int32), tf.float32
        )
    )
    counts = np.bincount(numbers.astype(int), minlength=10)
    # Pearson's chi-square with 9 degrees of freedom: variance 18.
    assert abs(np.sum((counts - 400) ** 2) / 400 - 9) < 4 * np.sqrt(18)


def test_normal_draws():
    numbers = drawn(lambda generator: generator.normal((3,), 100, 20))
    assert_mean(numbers, 100, 20)
    assert_mean((numbers - 100) ** 2, 20**2, 20**2 * 2**0.5)


def test_the_draws_of_a_call_are_independent():
    one, other = drawn(
        lambda generator: tf.stack([generator.normal(()), generator.normal(())])
    ).T
    assert_mean(one * other, 0, 1)


def test_the_key_decides():
    def draw(generator):
        return generator.uniform((2,))

    numbers, backwards = drawn(draw), drawn(draw, KEYS[::-1])
    np.testing.assert_array_equal(numbers, backwards[::-1])
    assert len(np.unique(numbers)) > 7990  # 2**23 values: 4 of 8,000 meet by chance


def test_the_layer_gets_its_own_back():
    layer = Draws(lambda generator: generator.uniform(()))
    generator, inputs = layer.generator, tf.zeros(1)
    state = generator.state.numpy()
    with keyed_draws(layer, KEYS[0]):
        assert layer.generator is not generator
        layer(inputs)
    assert layer.generator is generator
    np.testing.assert_array_equal(generator.state, state)
    layer(inputs)
    assert (generator.state.numpy() != state).any()
    layer.draw = None  # which cannot be called: an error on the way
    with pytest.raises(TypeError), keyed_draws(layer, KEYS[0]):
        layer(inputs)
    assert layer.generator is generator


def in_a_branch():
    return tf.cond(tf.timestamp() > 0, lambda: tf.random.normal(()), lambda: 0.0)


@pytest.mark.parametrize(
    ("draw", "expected"),
    [
        (lambda: tf.random.uniform(()), ["RandomUniform"]),
        (lambda: tf.random.gamma((), 0.5), ["RandomGamma"]),
        (lambda: tf.random.shuffle([1.0, 2.0])[0], ["RandomShuffle"]),
        (in_a_branch, ["RandomStandardNormal"]),
        (lambda: tf.random.get_global_generator().normal(()), ["RngReadAndSkip"]),
        (lambda: keras.random.uniform(()), ["AssignVariableOp"]),
        (lambda: tf.constant(random.random()), ["Python's random"]),
        (lambda: tf.constant(np.random.rand()), ["numpy.random"]),
        (lambda: keras.random.uniform((), seed=1), []),
        (lambda: tf.random.stateless_uniform((), [1, 2]), []),
    ],
)
def test_what_else_draws(draw, expected):
    keras.random.uniform(())  # Keras seeds its global generator by Python's, once
    traced, others = trace(draw, ())
    assert others == expected
    assert traced().shape == ()


def test_the_samplers_of_keras_cv():
    core = pytest.importorskip("keras_cv", reason="keras-cv is not installed").core

    class Sampled(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.normal = core.NormalFactorSampler(100, 20, 80, 130)
            self.uniform = core.UniformFactorSampler(50, 200)
            self.constant = core.ConstantFactorSampler(7)

        def call(self, inputs):
            samplers = (self.normal, self.uniform, self.constant)
            return tf.concat([sampler(shape=(2,)) for sampler in samplers], 0)

    layer = Sampled()
    numbers = outputs_by_key(layer, KEYS)
    normal, uniform, constant = np.split(numbers, 3, axis=1)
    # N(100, 20^2), clipped at -1 and 1.5 sigma: 15.87% and 6.68% are at the bounds.
    assert normal.min() == 80
    assert normal.max() == 130
    assert_mean(normal == 80, 0.1587, 0.3654)
    assert_mean(normal == 130, 0.0668, 0.2497)
    assert_mean(normal < 100, 0.5, 0.5)
    assert uniform.min() >= 50
    assert uniform.max() < 200
    assert_mean(uniform, 125, 150 / 12**0.5)
    assert (constant == 7).all()
    np.testing.assert_array_equal(outputs_by_key(layer, KEYS), numbers)
    assert isinstance(layer.normal, core.NormalFactorSampler)
