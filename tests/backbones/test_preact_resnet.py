import itertools

import keras
import numpy as np
import pytest

from sop_keras.backbones.preact_resnet import preact_block, preact_resnet18


@pytest.fixture(scope="module")
def model():
    return preact_resnet18((32, 32, 3), 10, seed=0)


def test_parameter_count(model):
    # 3x3 convolutions from a to b channels: 9 a b, without bias; BatchNorm: 2 b. A
    # block from a to b channels has BatchNorms of a and of b channels and no more.
    # Stem: 27 * 64 + 128 = 1,856.
    # Stage 1, 64 channels: 4 * (36,864 + 128) = 147,968.
    # Stage 2, 128 channels: 73,728 + 3 * 147,456 + projection 8,192
    #   + BatchNorms 128 + 3 * 256 = 525,184.
    # Stage 3, 256 channels: 294,912 + 3 * 589,824 + 32,768 + 256 + 3 * 512
    #   = 2,098,944.
    # Stage 4, 512 channels: 1,179,648 + 3 * 2,359,296 + 131,072 + 512 + 3 * 1,024
    #   = 8,392,192.
    # Classifier: 512 * 10 + 10 = 5,130. No BatchNorm before it.
    parts = (1_856, 147_968, 525_184, 2_098_944, 8_392_192, 5_130)
    count = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    # 11.17 M. The common form without the stem's BatchNorm has 128 fewer.
    assert count == sum(parts) == 11_171_274


def test_layer_shapes(model):
    expected = {
        "stem_relu": (None, 32, 32, 64),
        "stage1_block2_out": (None, 32, 32, 64),
        "stage2_block2_out": (None, 16, 16, 128),
        "stage3_block2_out": (None, 8, 8, 256),
        "stage4_block2_out": (None, 4, 4, 512),
        "pool": (None, 512),
        "logits": (None, 10),
    }
    actual = {name: model.get_layer(name).output.shape for name in expected}
    assert actual == expected


def test_number_of_layers(model):
    # The stem, 16 convolutions in the blocks and 3 projections; BatchNorm in the stem
    # and before each convolution of the blocks.
    kinds = [type(layer) for layer in model.layers]
    assert kinds.count(keras.layers.Conv2D) == 1 + 16 + 3
    assert kinds.count(keras.layers.BatchNormalization) == 1 + 16
    assert kinds.count(keras.layers.Dense) == 1


def test_nothing_between_the_last_block_and_the_pool(model):
    # Sums of the last block go to the average as they are: some are negative.
    last = model.get_layer("stage4_block2_out").output
    pooled = keras.Model(model.inputs, [last, model.get_layer("pool").output])
    images = np.random.default_rng(0).normal(size=(1, 32, 32, 3))
    sums, averages = pooled.predict(images, verbose=0)
    assert sums.min() < 0
    np.testing.assert_allclose(averages, sums.mean(axis=(1, 2)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("channels", "stride", "projects"), [(3, 1, False), (3, 2, True), (2, 1, True)]
)
def test_preact_block(oracle, channels, stride, projects):
    inputs = keras.Input((6, 6, channels))
    outputs = preact_block(inputs, 3, stride, itertools.count(), "b")
    model = keras.Model(inputs, outputs)
    weights = oracle.shake(model, 0)
    assert ("b_shortcut_conv" in weights) is projects
    images = np.random.default_rng(1).normal(size=(2, 6, 6, channels))

    def by_hand(x):
        activated = oracle.relu(oracle.batch_norm(x, weights["b_bn1"]))
        a = oracle.convolution(activated, *weights["b_conv1"], stride)
        a = oracle.relu(oracle.batch_norm(a, weights["b_bn2"]))
        a = oracle.convolution(a, *weights["b_conv2"], 1)
        if projects:
            return a + oracle.convolution(
                activated, *weights["b_shortcut_conv"], stride
            )
        return a + activated

    np.testing.assert_allclose(
        model.predict(images, verbose=0),
        np.stack([by_hand(x) for x in images]),
        rtol=1e-3,
        atol=1e-4,
    )
