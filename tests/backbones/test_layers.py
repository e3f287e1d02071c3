import itertools

import keras
import numpy as np
import pytest

from sop_keras.backbones import layers


@pytest.mark.parametrize("size", [(6, 6), (5, 8)])
@pytest.mark.parametrize(("kernel_size", "stride"), [(3, 1), (3, 2), (1, 1), (1, 2)])
def test_convolution_pads_as_pytorch(oracle, size, kernel_size, stride):
    inputs = keras.Input((*size, 2))
    outputs = layers.convolution(
        inputs, 3, kernel_size, itertools.count(), stride=stride, name="conv"
    )
    model = keras.Model(inputs, outputs)
    (kernel,) = oracle.shake(model, 0)["conv"]  # one weight: there is no bias
    x = np.random.default_rng(1).normal(size=(2, *size, 2))
    expected = np.stack([oracle.convolution(image, kernel, stride) for image in x])
    actual = model.predict(x, verbose=0)
    assert actual.shape == (2, -(-size[0] // stride), -(-size[1] // stride), 3)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_batch_norm_constants():
    inputs = keras.Input((2, 2, 1))
    model = keras.Model(inputs, layers.batch_norm(inputs, "bn"))
    x = np.array([1.0, 3.0, 5.0, 7.0], "float32").reshape(1, 2, 2, 1)
    # Mean 4, variance (9 + 1 + 1 + 9) / 4 = 5. The moving values start at 0 and 1 and
    # take a tenth of the batch's: 0.4 and 0.9 + 0.5.
    model(x, training=True)
    _, _, mean, variance = model.get_layer("bn").get_weights()
    assert mean == pytest.approx([0.4], rel=1e-5)
    assert variance == pytest.approx([1.4], rel=1e-5)
    # Scale 1, the other three 0: the factor is 1 / sqrt(1e-5) = 316.2278.
    model.get_layer("bn").set_weights(list(np.eye(4, 1)))
    y = keras.ops.convert_to_numpy(model(x, training=False))
    np.testing.assert_allclose(y.ravel(), 316.2278 * x.ravel(), rtol=1e-5)


def test_dense_starts_kernel_and_bias_within_the_fan_in_bound():
    inputs = keras.Input((64,))
    outputs = layers.dense(inputs, 5000, itertools.count(), name="dense")
    kernel, bias = keras.Model(inputs, outputs).get_weights()
    # 1 / sqrt(64)
    for values in (kernel, bias):
        assert 0.124 < np.abs(values).max() <= 0.125
    assert not np.array_equal(kernel[0], bias)


@pytest.mark.parametrize(
    "shape", [(32, 32), (32, 32, 3, 1), (None, None, 3), (0, 8, 1), (8.0, 8, 1)]
)
def test_image_input_refuses(shape):
    with pytest.raises(ValueError, match=r"\(height, width, channels\).*Received"):
        layers.image_input(shape)


def test_image_input_refuses_small_images():
    with pytest.raises(ValueError, match=r"at least 8x8 pixels.*\(32, 7, 3\)"):
        layers.image_input((32, 7, 3), smallest=8)
