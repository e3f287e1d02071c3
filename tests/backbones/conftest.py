import math
from types import SimpleNamespace

import keras
import numpy as np
import pytest


def convolution(x, kernel, stride):
    """A convolution of one image that pads `side // 2` zeros all round, by loops."""
    side, _, _, filters = kernel.shape
    padding = side // 2
    padded = np.pad(x, ((padding, padding), (padding, padding), (0, 0)))
    rows = range(0, padded.shape[0] - side + 1, stride)
    columns = range(0, padded.shape[1] - side + 1, stride)
    out = np.zeros((len(rows), len(columns), filters))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            window = padded[row : row + side, column : column + side]
            for k in range(filters):
                out[i, j, k] = np.sum(window * kernel[..., k])
    return out


def batch_norm(x, weights):
    """Inference: `weights` are scale, offset, moving mean and moving variance."""
    scale, offset, mean, variance = weights
    return scale * (x - mean) / np.sqrt(variance + 1e-5) + offset


def relu(x):
    return np.maximum(x, 0)


def shake(model, seed):
    """Replace all weights by random float64 values; return them by layer name."""
    rng = np.random.default_rng(seed)
    weights = {}
    for layer in model.layers:
        values = [rng.normal(0, 0.5, w.shape) for w in layer.get_weights()]
        if isinstance(layer, keras.layers.BatchNormalization):
            values[3] = rng.uniform(0.5, 2, values[3].shape)
        if values:
            layer.set_weights(values)
            weights[layer.name] = values
    return weights


def check_starts_as_in_pytorch(model):
    """Kernels and biases are U(-1/sqrt(fan_in), 1/sqrt(fan_in)), all drawn apart."""
    firsts = []
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            kernel, *bias = layer.get_weights()
            limit = 1 / math.sqrt(math.prod(kernel.shape[:-1]))
            for values in (kernel, *bias):
                # Scaled back to U(-1, 1), equal seeds show as equal first numbers.
                firsts.append(values.ravel()[0] / limit)
                assert np.abs(values).max() <= limit * (1 + 1e-6)
                if values.size > 1000:
                    assert np.abs(values).max() > 0.98 * limit
                    assert values.std() == pytest.approx(limit / math.sqrt(3), rel=0.05)
    assert len(np.unique(firsts)) == len(firsts)


@pytest.fixture
def oracle():
    """Slow numpy twins of the layers, and random weights to compare them under."""
    return SimpleNamespace(
        convolution=convolution,
        batch_norm=batch_norm,
        relu=relu,
        shake=shake,
        check_starts_as_in_pytorch=check_starts_as_in_pytorch,
    )
