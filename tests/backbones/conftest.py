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


@pytest.fixture
def oracle():
    """Slow numpy twins of the layers, and random weights to compare them under."""
    return SimpleNamespace(
        convolution=convolution, batch_norm=batch_norm, relu=relu, shake=shake
    )
