import itertools

import keras
import numpy as np
import pytest

from sop_keras.backbones.resnet import basic_block, resnet34


@pytest.fixture(scope="module")
def model():
    return resnet34((32, 32, 3), 10, seed=0)


def test_parameter_count(model):
    # 3x3 convolutions from a to b channels: 9 a b, without bias; BatchNorm: 2 b.
    # Stem: 27 * 64 + 128 = 1,856.
    # Stage 1, 64 channels, 3 blocks of two convolutions:
    #   6 * (36,864 + 128) = 221,952.
    # Stage 2, 128 channels, 4 blocks: first convolution 9 * 64 * 128 = 73,728, the
    #   other seven 147,456 each, projection 64 * 128 = 8,192, nine BatchNorms of 256:
    #   73,728 + 1,032,192 + 8,192 + 2,304 = 1,116,416.
    # Stage 3, 256 channels, 6 blocks: 294,912 + 11 * 589,824 + 32,768 + 13 * 512
    #   = 6,822,400.
    # Stage 4, 512 channels, 3 blocks: 1,179,648 + 5 * 2,359,296 + 131,072 + 7 * 1,024
    #   = 13,114,368.
    # Classifier: 512 * 10 + 10 = 5,130.
    parts = (1_856, 221_952, 1_116_416, 6_822_400, 13_114_368, 5_130)
    count = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    # The count published for the CIFAR ResNet34 by many projects.
    assert count == sum(parts) == 21_282_122


def test_layer_shapes(model):
    expected = {
        "stem_relu": (None, 32, 32, 64),
        "stage1_block3_out": (None, 32, 32, 64),
        "stage2_block4_out": (None, 16, 16, 128),
        "stage3_block6_out": (None, 8, 8, 256),
        "stage4_block3_out": (None, 4, 4, 512),
        "pool": (None, 512),
        "logits": (None, 10),
    }
    actual = {name: model.get_layer(name).output.shape for name in expected}
    assert actual == expected


def test_number_of_layers(model):
    # 34 weighted layers (the stem, 32 in the blocks, the classifier) and 3 projections.
    kinds = [type(layer) for layer in model.layers]
    assert kinds.count(keras.layers.Conv2D) == 33 + 3
    assert kinds.count(keras.layers.BatchNormalization) == 33 + 3
    assert kinds.count(keras.layers.Dense) == 1


def test_odd_sizes_and_grey_images():
    small = resnet34((9, 11, 1), 3, seed=0)
    # 9 -> 5 -> 3 -> 2 and 11 -> 6 -> 3 -> 2 pixels.
    assert small.get_layer("stage4_block3_out").output.shape == (None, 2, 2, 512)
    assert small.output_shape == (None, 3)


@pytest.mark.parametrize(
    ("channels", "stride", "projects"), [(3, 1, False), (3, 2, True), (2, 1, True)]
)
def test_basic_block(oracle, channels, stride, projects):
    inputs = keras.Input((6, 6, channels))
    outputs = basic_block(inputs, 3, stride, itertools.count(), "b")
    model = keras.Model(inputs, outputs)
    weights = oracle.shake(model, 0)
    assert ("b_shortcut_conv" in weights) is projects
    images = np.random.default_rng(1).normal(size=(2, 6, 6, channels))

    def by_hand(x):
        a = oracle.convolution(x, *weights["b_conv1"], stride)
        a = oracle.relu(oracle.batch_norm(a, weights["b_bn1"]))
        a = oracle.convolution(a, *weights["b_conv2"], 1)
        a = oracle.batch_norm(a, weights["b_bn2"])
        if projects:
            x = oracle.convolution(x, *weights["b_shortcut_conv"], stride)
            x = oracle.batch_norm(x, weights["b_shortcut_bn"])
        return oracle.relu(a + x)

    np.testing.assert_allclose(
        model.predict(images, verbose=0),
        np.stack([by_hand(x) for x in images]),
        rtol=1e-3,
        atol=1e-4,
    )
