import golden
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from sop_keras import NoisyLabelModel, methods, with_index

N, D, K = 24, 4, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D)).astype(np.float32)
Y = RNG.integers(0, K, N)


class Offset(keras.Model):
    """The given logits plus a weight: after a step of SGD(1), minus their gradient."""

    def build(self, input_shape):
        self.offset = self.add_weight(shape=(16, 10), initializer="zeros")

    def call(self, inputs):
        return inputs + self.offset


def model_of(backbone, num_examples=N, num_classes=K, **arguments):
    method = methods.CrossEntropy()
    return NoisyLabelModel(backbone, num_examples, num_classes, method, **arguments)


def sparse_loss():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_authors_cross_entropy(jit_compile):
    class Recorder(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            losses.append(logs["loss"])
            gradients.append(-self.model.backbone.offset.numpy())
            self.model.backbone.offset.assign(np.zeros((16, 10)))
            self.model.reset_metrics()

    file, losses, gradients = golden.arrays("ref_ce_k10"), [], []
    targets = {"label": file["y"][file["idx"]], "index": file["idx"]}
    first_view = file["logits"][:, :16]
    batches = tf.data.Dataset.from_tensor_slices((first_view, targets))
    model = model_of(Offset(), 64, 10)
    model.compile(keras.optimizers.SGD(1.0), jit_compile=jit_compile)
    model.fit(batches, callbacks=[Recorder()], verbose=0)
    assert golden.error(np.array(losses), file["loss_1view"]) < 1e-5
    assert golden.error(np.stack(gradients), file["grad_logits_1view"]) < 1e-5


def network():
    return keras.Sequential([keras.Input((D,)), layers.Dropout(0.4), layers.Dense(K)])


def trained(model, x, y=None, epochs=2, **arguments):
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    loss = None if isinstance(model, NoisyLabelModel) else sparse_loss()
    model.compile(optimizer, loss, metrics=["accuracy"])
    arguments = (
        {"batch_size": 8, "shuffle": False, **arguments} if y is not None else {}
    )
    return model.fit(x, y, epochs=epochs, verbose=0, **arguments)


def test_it_is_keras_training_to_the_last_bit():
    results = []
    targets = {"label": Y, "index": np.arange(N)}
    weights = np.linspace(0.5, 2, N)
    for wrapped, arguments in ((False, (X, Y)), (True, (X, targets)), (True, (X, Y))):
        keras.utils.set_random_seed(3)
        plain = network()
        model = model_of(plain) if wrapped else plain
        history = trained(model, *arguments, sample_weight=weights).history
        results.append((history, plain.get_weights()))
    for history, found in results[1:]:
        assert history == results[0][0]
        for weight, expected in zip(found, results[0][1], strict=True):
            np.testing.assert_array_equal(weight, expected)


def test_data_sets_evaluation_and_prediction():
    model = model_of(keras.Sequential([layers.Dense(K)]))
    data = tf.data.Dataset.from_tensor_slices((X, Y))
    trained(model, with_index(data).shuffle(N).batch(8))
    logits = model.predict(X, verbose=0)
    np.testing.assert_allclose(logits, model.backbone(X), rtol=1e-6)
    logits = logits.astype(np.float64)
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[range(N), Y]
    expected = [losses.mean(), (logits.argmax(-1) == Y).mean()]
    np.testing.assert_allclose(model.evaluate(X, Y, verbose=0), expected, rtol=1e-5)


def test_two_views_are_refused():
    targets = {"label": Y, "index": np.arange(N)}
    pairs = tf.data.Dataset.from_tensors(((X, X + 1), targets))
    message = r"a pair .* like two views.*This method takes one view.*\(x\[0\], y\)"
    for data in (((X, X + 1), Y), (pairs,)):
        model = model_of(network())
        model.compile("sgd")
        with pytest.raises(ValueError, match=message):
            model.fit(*data, verbose=0)
    one_view = pairs.map(lambda x, y: (x[0], y))
    model.fit(one_view, verbose=0)
    assert int(model.optimizer.iterations) == 1


def test_a_backbone_of_unknown_inputs_fails_on_two_views():
    class Backbone(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(K)

        def call(self, inputs):
            return self.dense(inputs)

    backbone = Backbone()
    backbone(X)
    model = model_of(backbone)
    model.compile("sgd")
    message = r"failed on a pair .* two views: This method takes one view"
    with pytest.raises(ValueError, match=message):
        model.fit((X, X + 1), Y, verbose=0)


def test_saved_training_continues_to_the_last_bit(tmp_path):
    model = model_of(network())
    trained(model, X, Y, epochs=1)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for one in (model, loaded):
        one.fit(X, Y, batch_size=8, shuffle=False, verbose=0)
    for found, expected in zip(loaded.variables, model.variables, strict=True):
        np.testing.assert_array_equal(found.numpy(), expected.numpy())
    for found, expected in zip(
        loaded.optimizer.variables, model.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(found.numpy(), expected.numpy())


def test_the_policy_is_the_backbones():
    mixed = keras.Sequential([layers.Dense(K)])
    mixed.dtype_policy = "mixed_float16"
    model = model_of(mixed)
    model.compile("sgd")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)


def test_config_round_trip():
    model = model_of(network(), name="mine")
    config = model.get_config()
    assert NoisyLabelModel.from_config(config).get_config() == config
