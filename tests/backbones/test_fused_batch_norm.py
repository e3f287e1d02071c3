import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from sop_keras.backbones.fused_batch_norm import fuse_batch_norm

EPSILON, MOMENTUM = 1e-3, 0.8
RNG = np.random.default_rng(0)
X = RNG.normal(1.0, 3.0, (6, 5, 4, 3)).astype("float32")
GAMMA, BETA = np.array([0.5, 2.0, -1.0]), np.array([1.0, 0.0, -3.0])
TOWARDS = RNG.normal(size=X.shape)  # what the outputs are weighed by in a loss


def normed(fused=True, **arguments):
    arguments = {"epsilon": EPSILON, "momentum": MOMENTUM, **arguments}
    model = keras.Sequential(
        [keras.Input(X.shape[1:]), layers.BatchNormalization(**arguments)]
    )
    layer = model.layers[0]
    if layer.scale:
        layer.gamma.assign(GAMMA)
    if layer.center:
        layer.beta.assign(BETA)
    if fused:
        fuse_batch_norm(model)
    return model


def trained(model, x=X):
    """Outputs and gradients of a sum of them, for inputs and weights."""
    x = tf.Variable(x)
    with tf.GradientTape() as tape:
        out = model(x, training=True)
        loss = tf.reduce_sum(tf.cast(out, "float32") * TOWARDS.astype("float32"))
    gradients = tape.gradient(loss, [x, *model.trainable_variables])
    return np.array(out), [np.array(one) for one in gradients]


def operations(function):
    graph = tf.function(function).get_concrete_function().graph
    return [one.type for one in graph.get_operations()]


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("center", [True, False])
def test_by_hand(scale, center):
    model = normed(scale=scale, center=center)
    out, gradients = trained(model)
    gamma, beta = GAMMA if scale else 1.0, BETA if center else 0.0
    x = X.astype("float64")
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    root = np.sqrt(variance + EPSILON)
    known = (x - mean) / root
    np.testing.assert_allclose(out, known * gamma + beta, rtol=1e-5, atol=1e-5)
    # d loss / dx = gamma / root (g - mean of g - known times mean of g known).
    g = TOWARDS - TOWARDS.mean((0, 1, 2)) - known * (TOWARDS * known).mean((0, 1, 2))
    expected = [gamma / root * g]
    if scale:
        expected.append((TOWARDS * known).sum((0, 1, 2)))
    if center:
        expected.append(TOWARDS.sum((0, 1, 2)))
    for found, one in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(found, one, rtol=1e-4, atol=1e-5)
    # Over all 120 values, and not over 119.
    layer = model.layers[0]
    np.testing.assert_allclose(layer.moving_mean, 0.2 * mean, rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, 0.8 + 0.2 * variance, rtol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_is_as_without(policy):
    one, other = normed(dtype=policy), normed(fused=False, dtype=policy)
    out, gradients = trained(one)
    expected, expected_gradients = trained(other)
    assert out.dtype.name == policy.removeprefix("mixed_")
    # A unit of bfloat16 is 2^-8 of a number.
    close = {"rtol": 2**-7, "atol": 2**-7}
    np.testing.assert_allclose(out.astype("f4"), expected.astype("f4"), **close)
    for found, wanted in zip(gradients, expected_gradients, strict=True):
        scale = np.abs(wanted).max()
        np.testing.assert_allclose(found / scale, wanted / scale, atol=2**-6)
    moving = (one.layers[0].moving_variance, other.layers[0].moving_variance)
    np.testing.assert_allclose(*moving, rtol=1e-2)


def test_one_operation_of_a_step_and_none_in_evaluation():
    model = normed()
    found = operations(lambda: model(X, training=True))
    assert found.count("FusedBatchNormV3") == 1
    assert "SquaredDifference" not in found
    assert "FusedBatchNormV3" not in operations(lambda: model(X, training=False))
    plain = normed(fused=False)
    plain.set_weights(model.get_weights())
    np.testing.assert_array_equal(model(X), plain(X))


@pytest.mark.parametrize(
    "change",
    [
        {"trainable": False},
        {"synchronized": True},
        {"renorm": True},
        {"axis": 1},
        {"dtype": "float64"},
    ],
    ids=str,
)
def test_what_is_left_as_it_is(change):
    if "axis" in change:
        model = keras.Sequential(
            [keras.Input(X.shape[1:]), layers.BatchNormalization(**change)]
        )
        fuse_batch_norm(model)
    else:
        model = normed(**change)
    assert "FusedBatchNormV3" not in operations(lambda: model(X, training=True))


def test_vectors_masks_and_one_value():
    vectors = keras.Sequential([keras.Input((3,)), layers.BatchNormalization()])
    fuse_batch_norm(vectors)
    assert "FusedBatchNormV3" not in operations(
        lambda: vectors(X[:, 0, 0], training=True)
    )
    layer = normed().layers[0]
    mask = np.ones(X.shape[:3], bool)
    found = operations(lambda: layer(X, training=True, mask=mask))
    assert "FusedBatchNormV3" not in found
    # One value a channel: it is the mean, and there is no variance.
    model = normed()
    np.testing.assert_allclose(model(X[:1, :1, :1], training=True)[0, 0, 0], BETA)
    np.testing.assert_allclose(model.layers[0].moving_variance, [0.8] * 3)


def test_within_other_models_and_saved_as_keras_own(tmp_path):
    outer = keras.Sequential([keras.Input(X.shape[1:]), normed(), layers.Flatten()])
    fuse_batch_norm(outer)
    assert "FusedBatchNormV3" in operations(lambda: outer(X, training=True))
    outer.save(tmp_path / "outer.keras")
    loaded = keras.saving.load_model(tmp_path / "outer.keras")
    layer = loaded.layers[0].layers[0]
    assert type(layer) is layers.BatchNormalization
    assert "call" not in vars(layer)
    np.testing.assert_array_equal(loaded(X), outer(X))
