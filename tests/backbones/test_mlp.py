import numpy as np

from sop_keras.backbones.mlp import mlp


def test_parameter_count():
    # 64 * 512 + 512 = 33,280; 512 * 512 + 512 = 262,656; 512 * 10 + 10 = 5,130.
    model = mlp((8, 8, 1), 10, seed=0)
    assert model.count_params() == 33_280 + 262_656 + 5_130 == 301_066


def test_forward(oracle):
    model = mlp((2, 3, 2), 4, seed=0)
    weights = oracle.shake(model, 0)
    images = np.random.default_rng(1).normal(size=(5, 2, 3, 2))
    x = images.reshape(5, 12)
    for name in ("dense1", "dense2"):
        kernel, bias = weights[name]
        x = oracle.relu(x @ kernel + bias)
    kernel, bias = weights["logits"]
    np.testing.assert_allclose(
        model.predict(images, verbose=0), x @ kernel + bias, rtol=1e-3, atol=1e-2
    )
