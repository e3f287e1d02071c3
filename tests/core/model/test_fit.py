"""What Keras users expect of fit: backbones, inputs, callbacks, metrics."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from sop_keras import SOPModel, with_index

N, D, K = 20, 4, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D)).astype(np.float32)
Y = RNG.integers(0, K, N)


def sequential():
    return keras.Sequential([keras.Input((D,)), layers.Dense(K)])


def compiled(backbone, optimizer=None, metrics=("accuracy",), **arguments):
    model = SOPModel(backbone, N, K, init_std=0.1, seed=1)
    optimizer = optimizer or keras.optimizers.SGD(0.1, momentum=0.9)
    arguments = {"u_optimizer": 10.0, "v_optimizer": 10.0, **arguments}
    model.compile(optimizer, metrics=list(metrics), **arguments)
    return model


class Subclassed(keras.Model):
    """Unbuilt until it is called, and different in training."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(K)
        self.dropout = layers.Dropout(0.2)

    def call(self, inputs, training=None):
        return self.dense(self.dropout(inputs, training=training))


class TwoInputs(keras.Model):
    def __init__(self, first, second):
        super().__init__()
        self.keys = first, second
        self.embedding, self.dense = layers.Embedding(5, 2), layers.Dense(K)

    def call(self, inputs):
        tokens, features = (inputs[key] for key in self.keys)
        return self.dense(keras.ops.concatenate([self.embedding(tokens), features], -1))


class Ragged(keras.Model):
    def __init__(self):
        super().__init__()
        self.embedding, self.dense = layers.Embedding(5, 2), layers.Dense(K)

    def call(self, inputs):
        if isinstance(inputs, tf.RaggedTensor):
            inputs = inputs.to_tensor(shape=(None, 3))
        return self.dense(keras.ops.mean(self.embedding(inputs), axis=1))


def functional_of_two():
    a, b = keras.Input((), dtype="int32", name="a"), keras.Input((D,), name="b")
    both = layers.Concatenate()([layers.Embedding(5, 2)(a), b])
    return keras.Model({"a": a, "b": b}, layers.Dense(K)(both))


TOKENS = RNG.integers(0, 5, N).astype(np.int32)


@pytest.mark.parametrize(
    ("backbone", "x"),
    [
        (keras.Sequential([layers.Dense(K)]), X),
        (Subclassed(), X),
        (layers.Dense(K), X),
        (functional_of_two(), {"a": TOKENS, "b": X}),
        (TwoInputs(0, 1), (TOKENS, X)),
        (Ragged(), tf.ragged.constant([[1, 2], [3], [0, 4, 2], [1]] * 5)),
    ],
    ids=str.split("unbuilt subclass layer dict sub-tuple ragged"),
)
def test_backbones_and_inputs(backbone, x):
    model = compiled(backbone)
    history = model.fit(
        x, Y, batch_size=10, epochs=2, validation_data=(x, Y), verbose=0
    ).history
    # Everything the backbone has is trained, with momentum from the first step on.
    weights = backbone.trainable_weights
    assert len(model.trainable_weights) == len(weights) == len(backbone.weights)
    assert len(model.optimizer.variables) == 2 + len(weights)
    assert all(np.any(variable.numpy()) for variable in model.optimizer.variables)
    assert set(history) == {
        *("loss", "ce_loss", "mse_loss", "accuracy"),
        *("val_loss", "val_accuracy"),
    }
    loss, accuracy = model.evaluate(x, Y, verbose=0)
    assert history["val_loss"][-1] == pytest.approx(loss)
    assert history["val_accuracy"][-1] == pytest.approx(accuracy)
    hits = model.predict(x, verbose=0).argmax(-1) == Y
    assert accuracy == pytest.approx(hits.mean())


def test_the_loss_counts_the_backbones_own_losses():
    def regularised():
        return keras.Sequential(
            [
                keras.Input((D,)),
                layers.Dense(K, kernel_regularizer="l2", kernel_initializer="ones"),
                layers.Activation(
                    "linear", activity_regularizer=keras.regularizers.L1(0.1)
                ),
            ]
        )

    model = compiled(regularised(), keras.optimizers.SGD(0.5))
    kernel = model.backbone.layers[0].kernel
    history = model.fit(X, Y, batch_size=N, verbose=0).history
    # l2 is 0.01 sum k^2 of D K ones; Keras divides an activity's loss by the batch.
    outputs = np.repeat(X.sum(axis=1, keepdims=True), K, axis=1)
    extra = 0.01 * D * K + 0.1 * np.abs(outputs).sum() / N
    assert history["loss"][0] == pytest.approx(history["ce_loss"][0] + extra, rel=1e-5)
    # And they are trained on: with equal logits, L_CE moves the classes apart, but
    # leaves their mean where it is. The regularisers move the mean.
    by_l2 = 2 * 0.01 * np.ones(D)
    by_activity = 0.1 * (X * np.sign(outputs[:, :1])).sum(axis=0) / N
    expected = 1 - 0.5 * (by_l2 + by_activity)
    np.testing.assert_allclose(kernel.numpy().mean(axis=1), expected, rtol=1e-5)


def test_running_eagerly_changes_nothing():
    models = []
    for eagerly in (False, True):
        keras.utils.set_random_seed(3)
        models.append(compiled(Subclassed(), run_eagerly=eagerly))
        models[-1].fit(X, Y, batch_size=8, verbose=0, shuffle=False)
    for one, other in zip(models[0].variables, models[1].variables, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("as_stream", [False, True])
def test_a_step_is_traced_once(as_stream):
    # Metrics that a step makes would have it traced twice.
    traces = []

    class Counted(SOPModel):
        def train_step(self, data):
            traces.append(data)
            return super().train_step(data)

    model = Counted(sequential(), N, K, seed=1)
    model.compile("sgd", metrics=["accuracy"])
    stream = with_index(tf.data.Dataset.from_tensor_slices((X, Y))).batch(10)
    if as_stream:
        model.fit(stream, shuffle=False, verbose=0)
    else:
        model.fit(X, Y, batch_size=10, verbose=0)
    assert len(traces) == 1


def test_a_learning_rate_scheduler_moves_the_networks_rate_alone():
    model = compiled(sequential(), u_optimizer=5.0, v_optimizer=7.0)
    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch: 0.01 / (epoch + 1))
    plateau = keras.callbacks.ReduceLROnPlateau(
        monitor="loss", factor=0.1, patience=0, min_delta=100.0
    )
    history = model.fit(X, Y, epochs=2, callbacks=[scheduler, plateau], verbose=0)
    assert history.history["learning_rate"] == pytest.approx([0.01, 0.005])
    # The plateau callback starts with the second epoch.
    assert float(model.optimizer.learning_rate) == pytest.approx(0.0005)
    assert float(model.u_optimizer.learning_rate) == 5.0
    assert float(model.v_optimizer.learning_rate) == 7.0


def test_early_stopping_restores_weights_and_table_of_its_best_epoch():
    class Tables(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            states.append([variable.numpy() for variable in self.model.variables])

    states = []
    model = compiled(sequential())
    # Nothing is less than the first value by 100, so the first epoch stays the best.
    stopping = keras.callbacks.EarlyStopping(
        "loss", min_delta=100.0, patience=2, restore_best_weights=True
    )
    model.fit(X, Y, epochs=5, callbacks=[Tables(), stopping], verbose=0)
    assert len(states) == 3
    for variable, best in zip(model.variables, states[0], strict=True):
        if "metric" not in variable.path:
            np.testing.assert_array_equal(variable.numpy(), best)


def test_validation_and_evaluation_leave_the_table_alone():
    model = compiled(sequential(), u_optimizer=0.0, v_optimizer=0.0)
    before = model.noise_table.u.numpy(), model.noise_table.v.numpy()
    model.fit(X, Y, validation_split=0.5, verbose=0)
    model.evaluate(X, {"label": Y, "index": np.arange(N)}, verbose=0)
    model.predict(X, verbose=0)
    np.testing.assert_array_equal(model.noise_table.u.numpy(), before[0])
    np.testing.assert_array_equal(model.noise_table.v.numpy(), before[1])


def test_only_the_rows_of_the_training_part_move():
    model = compiled(sequential())
    before = model.noise_table.v.numpy()
    model.fit(X, Y, validation_split=0.25, verbose=0)
    moved = (model.noise_table.v.numpy() != before).any(axis=1)
    assert moved.tolist() == [True] * 15 + [False] * 5


def test_a_frozen_backbone_keeps_its_weights_and_the_rows_move():
    backbone = sequential()
    backbone.trainable = False
    model = compiled(backbone)
    weights, rows = backbone.get_weights(), model.noise_table.v.numpy()
    model.fit(X, Y, verbose=0)
    np.testing.assert_array_equal(backbone.get_weights()[0], weights[0])
    assert (model.noise_table.v.numpy() != rows).any()


def test_metrics_of_every_kind_see_plain_labels():
    one_hot = np.eye(K)[Y]
    weights = np.linspace(0, 2, N)
    model = compiled(
        sequential(),
        metrics=[
            keras.metrics.CategoricalAccuracy(),
            keras.metrics.AUC(from_logits=True),
        ],
        weighted_metrics=[keras.metrics.CategoricalAccuracy(name="weighted")],
    )
    model.fit(X, one_hot, sample_weight=weights, verbose=0)
    found = model.evaluate(
        X, one_hot, sample_weight=weights, verbose=0, return_dict=True
    )
    hits = model.predict(X, verbose=0).argmax(-1) == Y
    assert found["categorical_accuracy"] == pytest.approx(hits.mean())
    assert found["weighted"] == pytest.approx(np.average(hits, weights=weights))
    assert set(found) == {"loss", "categorical_accuracy", "auc", "weighted"}


def test_balance_loss_is_reported_where_it_is_used():
    model = SOPModel(sequential(), N, K, balance_weight=0.5)
    model.compile("sgd")
    history = model.fit(X, Y, verbose=0).history
    assert set(history) == {"loss", "ce_loss", "mse_loss", "balance_loss"}
    expected = history["ce_loss"][0] + 0.5 * history["balance_loss"][0]
    assert history["loss"][0] == pytest.approx(expected)
    assert model.evaluate(X, Y, verbose=0, return_dict=True).keys() == {"loss"}


def test_the_documented_quick_start():
    model = SOPModel(sequential(), num_examples=N, num_classes=K)
    model.compile(
        optimizer=keras.optimizers.SGD(0.02, momentum=0.9),
        u_optimizer=keras.optimizers.SGD(10.0),
        v_optimizer=keras.optimizers.SGD(10.0),
        metrics=["accuracy"],
    )
    model.fit(X, Y, validation_data=(X, Y), verbose=0)
    data = tf.data.Dataset.from_tensor_slices((X, Y))
    model.fit(with_index(data).shuffle(50_000).batch(128), verbose=0)
    model.summary(print_fn=lambda line: None)
    assert model.estimate_noise([0, 3], Y[[0, 3]]).shape == (2, K)
