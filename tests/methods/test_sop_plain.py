"""Off means plain: with u = v = 0 and rates 0, SOP is ordinary Keras training."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from sop_keras import SOPModel
from sop_keras.methods.sop_record import VARIANTS

N, D, K, BATCH = 96, 6, 5, 8


class WrittenOut(keras.Model):
    """-log phi(softmax(f)) by Keras' own train_step."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def call(self, inputs, training=None):
        return self.backbone(inputs, training=training)

    def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
        w = ops.maximum(ops.softmax(y_pred, axis=-1), 1e-4)
        phi = w / ops.sum(w, axis=-1, keepdims=True)
        labels = ops.one_hot(y, K)
        return ops.sum(-ops.sum(labels * ops.log(phi), axis=-1)) / BATCH


def backbone(sharpness):
    """Logits proportional to `sharpness` at the start."""
    keras.utils.set_random_seed(11)
    model = keras.Sequential(
        [
            keras.Input((D,)),
            # Smooth: a kink would turn a last-bit difference into a visible one.
            keras.layers.Dense(16, activation="tanh"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.3, seed=4),
            keras.layers.Dense(K),
        ]
    )
    kernel = model.layers[-1].kernel
    kernel.assign(sharpness * kernel)
    return model


def data():
    rng = np.random.default_rng(2)
    return rng.normal(size=(N, D)).astype(np.float32), rng.integers(0, K, N)


def trained(model, x, y, loss=None, **compile_arguments):
    """The backbone's weights after 100 steps, every state included."""
    optimizer = keras.optimizers.SGD(0.02, momentum=0.9)
    if loss is not None:
        compile_arguments["loss"] = loss
    model.compile(optimizer=optimizer, **compile_arguments)
    batches = tf.data.Dataset.from_tensor_slices((x, y)).repeat().batch(BATCH)
    model.fit(batches, steps_per_epoch=100, shuffle=False, verbose=0)
    return [weight.numpy() for weight in model.backbone.variables]


def off(variant, sharpness):
    model = SOPModel(backbone(sharpness), N, K, init_std=0.0, variant=variant)
    assert not model.noise_table.v.numpy().any()
    return model


def indexed(y):
    return {"label": y, "index": np.arange(N)}


@pytest.mark.parametrize("variant", VARIANTS)
def test_within_1e_5_of_keras_own_cross_entropy(variant):
    x, y = data()
    model = off(variant, sharpness=1.0)
    found = trained(model, x, indexed(y), u_optimizer=0.0, v_optimizer=0.0)
    # phi changes nothing where no probability is below eps = 1e-4: far from it here.
    assert keras.ops.softmax(model.predict(x, verbose=0)).numpy().min() > 5e-3
    plain = WrittenOut(backbone(sharpness=1.0))
    plain.compute_loss = super(WrittenOut, plain).compute_loss
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    expected = trained(plain, x, np.eye(K)[y], loss)
    for weight, expected_weight in zip(found, expected, strict=True):
        np.testing.assert_allclose(weight, expected_weight, atol=1e-5)


def test_to_the_last_bit_of_the_same_loss_written_out():
    x, y = data()
    model = off("paper", sharpness=8.0)
    found = trained(model, x, indexed(y), u_optimizer=0.0, v_optimizer=0.0)
    # phi acts: some probabilities are below eps.
    assert keras.ops.softmax(model.predict(x, verbose=0)).numpy().min() < 1e-4
    expected = trained(WrittenOut(backbone(sharpness=8.0)), x, y)
    for weight, expected_weight in zip(found, expected, strict=True):
        np.testing.assert_array_equal(weight, expected_weight)
    assert not model.noise_table.u.numpy().any()
    assert not model.noise_table.v.numpy().any()
