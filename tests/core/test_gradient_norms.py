import keras
import numpy as np
import pytest
import tensorflow as tf

from sop_keras import SOPModel
from sop_keras.core.gradient_norms import global_norm, unscaled


def test_norm_by_hand():
    # sqrt(9 + 16 + 144) = 13; a weight without a part has none.
    assert float(global_norm([np.array([3.0]), None, np.array([[4.0], [12.0]])])) == 13


def test_norm_of_an_embedding():
    # Row 1 is met twice, its gradients 1 and 2 add up to 3; row 0 has 4.
    slices = tf.IndexedSlices(
        tf.constant([[1.0], [4.0], [2.0]]), tf.constant([1, 0, 1]), tf.constant([2, 1])
    )
    assert float(global_norm([slices])) == 5.0


def test_norm_of_a_scaled_loss():
    optimizer = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.SGD(), initial_scale=8.0
    )
    optimizer.build([keras.Variable([0.0])])
    assert float(unscaled(24.0, optimizer)) == 3.0
    assert float(unscaled(24.0, keras.optimizers.SGD())) == 24.0


def fit(**kwargs):
    backbone = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(2, kernel_initializer="zeros")]
    )
    model = SOPModel(backbone, 2, 2, init_std=0.0, **kwargs)
    u, v = [[0.5], [0.0]], [[0.0, 0.1], [0.0, 0.0]]
    model.noise_table.u.assign(u)
    model.noise_table.v.assign(v)
    model.compile(keras.optimizers.SGD(0.1), u_optimizer=10.0, v_optimizer=10.0)
    x, y = np.array([[3.0, 0.0], [0.0, 0.0]], "float32"), np.array([0, 0])
    return model.fit(x, y, verbose=0, shuffle=False).history


def test_norms_of_one_step_by_hand():
    history = fit(gradient_norms=True)
    # p = (1/2, 1/2). First example: s = (0.25, -0.01), w = (0.75, 0.49), S = 1.24;
    # argmax is class 0 = y. u: 2 * 0.5 (1/1.24 - 1/0.75) / 2 = -0.263441. v_1: h = 0,
    # -4 * 0.1 (0 - 0.01) / 2 = 0.002. The second example has u = v = 0.
    assert history["u_gradient_norm"][0] == pytest.approx(0.2634409, rel=1e-5)
    assert history["v_gradient_norm"][0] == pytest.approx(0.002, rel=1e-5)
    # The network: dL/dp = (1/S - 1/w_0, 1/S) = (-0.526882, 0.806452), through the
    # softmax p_k (g_k - sum p g): (-1/3, 1/3), as 0.25 (g_0 - g_1) = -1/3; without
    # noise, the second example has (-1/2, 1/2). Halved, over both: kernel 3 * (-1/6,
    # 1/6), biases (-5/12, 5/12): sqrt(2 (1/4 + 25/144)) = 0.920447.
    assert history["gradient_norm"][0] == pytest.approx(0.9204468, rel=1e-5)


def test_without_them_they_are_no_metrics():
    assert not any("norm" in name for name in fit())
