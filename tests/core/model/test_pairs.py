"""Two views (SOP+): one batch to the network, but L_C alone sees the strong one."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from sop_keras import SOPModel, with_index

N, D, K = 12, 4, 3
RNG = np.random.default_rng(0)
WEAK = RNG.normal(size=(N, D)).astype(np.float32)
STRONG = (WEAK + RNG.normal(size=(N, D))).astype(np.float32)
Y = RNG.integers(0, K, N)
TARGETS = {"label": Y, "index": np.arange(N)}


def network(**arguments):
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input((D,)), layers.Dense(K, **arguments)])


def compiled(backbone, consistency_weight=0.9, metrics=(), rate=0.1, **arguments):
    options = {"consistency_weight": consistency_weight, "init_std": 0.1, "seed": 2}
    model = SOPModel(backbone, N, K, **options)
    optimizer = keras.optimizers.SGD(rate, momentum=0.9)
    arguments = {"u_optimizer": 10.0, "v_optimizer": 10.0, **arguments}
    model.compile(optimizer, metrics=list(metrics), **arguments)
    return model


def state(model):
    # Of arrays alone the range is known.
    known = {id(one) for one in model.training_history.weights}
    return [one.numpy() for one in model.weights if id(one) not in known]


def assert_same(model, expected, **tolerance):
    for found, value in zip(state(model), state(expected), strict=True):
        np.testing.assert_allclose(found, value, **{"rtol": 1e-6, **tolerance})


def batches():
    for start in range(0, N, 4):
        rows = slice(start, start + 4)
        targets = {key: values[rows] for key, values in TARGETS.items()}
        # Other keys are for the pipeline alone.
        yield WEAK[rows], STRONG[rows], {**targets, "epoch": np.zeros(4, np.int64)}


class Batches(keras.utils.PyDataset):
    def __init__(self, pair):
        super().__init__()
        self.pair = pair

    def __len__(self):
        return 3

    def __getitem__(self, position):
        weak, strong, targets = [*batches()][position]
        return self.pair((weak, strong)), targets


def by_arrays(model, pair):
    model.fit(pair((WEAK, STRONG)), Y, batch_size=4, shuffle=False, verbose=0)


def by_tensors(model, pair):
    x = pair((tf.constant(WEAK), tf.constant(STRONG)))
    model.fit(x, TARGETS, batch_size=4, shuffle=False, verbose=0)


def by_data_set(model, pair):
    views = {"x": WEAK, "more": STRONG}
    data = with_index(tf.data.Dataset.from_tensor_slices((views, Y)))
    data = data.map(lambda x, y: ((x["x"], x["more"]), {**y, "epoch": 0}))
    model.fit(data.batch(4), verbose=0)


def by_py_dataset(model, pair):
    model.fit(Batches(pair), shuffle=False, verbose=0)


def by_generator(model, pair):
    generator = ((pair((weak, strong)), y) for weak, strong, y in batches())
    model.fit(generator, steps_per_epoch=3, verbose=0)


def by_batch(model, pair):
    for weak, strong, targets in batches():
        logs = model.train_on_batch(pair((weak, strong)), targets, return_dict=True)
    assert set(logs) == {"loss", "ce_loss", "mse_loss", "consistency_loss"}


@pytest.fixture(scope="module")
def expected():
    """What test_step.py compares with the oracle: arrays."""
    model = compiled(network())
    model.fit((WEAK, STRONG), Y, batch_size=4, shuffle=False, verbose=0)
    return model


# Lists are told from arrays where data are taken apart: whole, and by the batch.
@pytest.mark.parametrize(
    ("train", "pair"),
    [
        *((by_arrays, tuple), (by_tensors, list), (by_data_set, tuple)),
        *((by_py_dataset, tuple), (by_generator, list), (by_batch, list)),
    ],
)
def test_every_kind_of_data(train, pair, expected):
    model = compiled(network())
    train(model, pair)
    assert_same(model, expected)


@pytest.mark.parametrize(
    "options",
    [{"run_eagerly": True}, {"jit_compile": True}, {"steps_per_execution": 2}],
)
def test_every_way_to_run(options, expected):
    model = compiled(network(), **options)
    by_arrays(model, tuple)
    assert_same(model, expected, rtol=1e-5)


@pytest.mark.parametrize("evaluated", [False, True])
def test_under_a_strategy_of_one_device(evaluated, expected):
    # Keras calls the model on the first batch, of pairs or not, to build the metrics.
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        model = compiled(network(), metrics=["accuracy"])
        if evaluated:
            model.evaluate(WEAK, Y, verbose=0)
        by_arrays(model, tuple)
        assert_same(model, expected)


class OfTwo(keras.Model):
    """The dense layer of `network`, on inputs that come in two parts."""

    def __init__(self, first, second):
        super().__init__()
        self.keys = first, second
        self.network = network()

    def call(self, inputs):
        parts = [inputs[key] for key in self.keys]
        return self.network(keras.ops.concatenate(parts, axis=-1))


def functional_of_two():
    parts = [keras.Input((2,), name=name) for name in ("a", "b")]
    joined = layers.Concatenate()(parts)
    return keras.Model(dict(zip("ab", parts, strict=True)), network()(joined))


def as_dict(x):
    return {"a": x[:, :2], "b": x[:, 2:]}


def as_tuple(x):
    return x[:, :2], x[:, 2:]


@pytest.mark.parametrize(
    ("backbone", "parts"),
    [
        (functional_of_two, as_dict),
        (lambda: OfTwo("a", "b"), as_dict),
        (lambda: OfTwo(0, 1), as_tuple),
    ],
    ids=["dict", "subclassed dict", "tuple"],
)
def test_backbones_of_several_inputs(backbone, parts, expected):
    model = compiled(backbone())
    x = parts(WEAK), parts(STRONG)
    model.fit(x, Y, batch_size=4, shuffle=False, verbose=0)
    assert_same(model, expected)
    np.testing.assert_allclose(
        model.predict(parts(WEAK), verbose=0), expected.predict(WEAK, verbose=0), 1e-5
    )


def test_an_unbuilt_backbone_is_built_on_one_view():
    class Look(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            # Of D features; and the optimizer has its state, to restore into.
            assert [tuple(weight.shape) for weight in backbone.weights] == [
                (D, K),
                (K,),
            ]
            assert len(self.model.optimizer.variables) == 4

    for data in ((Batches(tuple),), ((WEAK, STRONG), Y)):
        backbone = layers.Dense(K)
        compiled(backbone).fit(*data, callbacks=[Look()], verbose=0)


def test_a_model_without_l_c_may_take_two_inputs_of_one_shape():
    keys = [keras.Input((D,)), keras.Input((D,))]
    backbone = keras.Model(keys, layers.Dense(K)(layers.Concatenate()(keys)))
    model = compiled(backbone, consistency_weight=0.0)
    history = model.fit([WEAK, STRONG], Y, verbose=0).history
    assert set(history) == {"loss", "ce_loss", "mse_loss"}
    assert backbone.layers[-1].kernel.shape == (2 * D, K)


def smooth():
    """Without randomness and kinks, but with BatchNormalization."""
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [
            keras.Input((D,)),
            layers.Dense(8, activation="tanh"),
            layers.BatchNormalization(),
            layers.Dense(K),
        ]
    )


def test_of_equal_views_sop_plus_is_sop():
    # L_C and its gradient are 0, and the statistics of (x, x) are those of x.
    models, histories = [], []
    for weight, x in ((0.9, (WEAK, WEAK)), (0.0, WEAK)):
        model = compiled(smooth(), weight)
        fit = {"batch_size": 6, "epochs": 5, "shuffle": False, "verbose": 0}
        histories.append(model.fit(x, Y, **fit).history)
        models.append(model)
    assert histories[0].pop("consistency_loss") == pytest.approx([0] * 5, abs=1e-6)
    for name, values in histories[1].items():
        assert histories[0][name] == pytest.approx(values, rel=1e-5)
    assert_same(*models, rtol=1e-4, atol=1e-6)


def test_l_c_is_left_out_of_what_is_not_the_strong_view():
    # A rate of 0: all values are those of the first weights, whatever the weight is.
    values = []
    for weight, x in ((0.9, (WEAK, STRONG)), (1.8, (WEAK, STRONG)), (0.0, WEAK)):
        model = compiled(network(), weight, rate=0.0)
        history = model.fit(x, Y, batch_size=N, verbose=0).history
        values.append((history, *state(model)))
    (one, *rows), (other, *same_rows), (none, *rows_without) = values
    for weight, history in ((0.9, one), (1.8, other)):
        parts = none["ce_loss"][0], weight * one["consistency_loss"][0]
        assert history["loss"][0] == pytest.approx(sum(parts), rel=1e-6)
    for table, same, without in zip(rows, same_rows, rows_without, strict=True):
        np.testing.assert_array_equal(table, same)
        np.testing.assert_array_equal(table, without)


def test_batch_normalization_sees_the_joined_batch():
    normalization = layers.BatchNormalization(momentum=0.9)
    backbone = keras.Sequential([keras.Input((D,)), normalization, layers.Dense(K)])
    compiled(backbone).fit((WEAK, STRONG), Y, batch_size=N, verbose=0)
    joined = np.concatenate([WEAK, STRONG]).astype(np.float64)
    # They start at 0 and 1; Keras takes the variance that divides by the size.
    np.testing.assert_allclose(
        normalization.moving_mean, 0.1 * joined.mean(axis=0), rtol=1e-5, atol=1e-7
    )
    np.testing.assert_allclose(
        normalization.moving_variance, 0.9 + 0.1 * joined.var(axis=0), rtol=1e-5
    )


def test_metrics_are_those_of_the_weak_view():
    # The network gives its inputs: the weak view is right 3 times of 4, the strong one
    # never.
    identity = keras.Sequential([keras.Input((2,)), layers.Identity()])
    weak = np.float32([[2, 0], [2, 0], [0, 2], [0, 2]])
    strong = np.float32([[0, 2], [0, 2], [2, 0], [0, 2]])
    labels = np.array([0, 0, 1, 0])
    model = SOPModel(identity, 4, 2, consistency_weight=0.5, init_std=0.0)
    metrics = [
        "accuracy",
        keras.metrics.SparseCategoricalCrossentropy("entropy", None, True),
    ]
    model.compile("sgd", metrics=metrics, weighted_metrics=["accuracy"])
    weights = np.array([1.0, 1.0, 2.0, 4.0])
    history = model.fit(
        (weak, strong), labels, sample_weight=weights, verbose=0
    ).history
    # With a = 1 / (1 + e^-2) and b = 1 - a: L_CE is -log a if right, -log b = 2 - log a
    # if not; L_C of views that disagree is a log(a/b) + b log(b/a) = 2 (a - b), and
    # a - b = tanh 1.
    right = np.log(1 + np.exp(-2))
    losses = np.array([right, right, right, right + 2])
    divergences = 2 * np.tanh(1) * np.array([1, 1, 1, 0])
    expected = {
        "accuracy": 3 / 4,
        "weighted_accuracy": 4 / 8,
        "entropy": losses.mean(),
        "ce_loss": (losses * weights).mean(),
        "consistency_loss": (divergences * weights).mean(),
        "mse_loss": 4 * 2 / 4,  # |h - y|^2 is 2 if wrong: once, with the weight 4
        "loss": (losses * weights).mean() + 0.5 * (divergences * weights).mean(),
    }
    assert set(history) == set(expected)
    for name, value in expected.items():
        assert history[name][0] == pytest.approx(value, rel=1e-5), name


def test_evaluation_and_prediction_take_one_view():
    model = compiled(network(), metrics=["accuracy"])
    history = model.fit((WEAK, STRONG), Y, validation_data=(WEAK, Y), verbose=0).history
    loss, accuracy = model.evaluate(WEAK, Y, verbose=0)
    assert history["val_loss"] == [pytest.approx(loss)]
    assert history["val_accuracy"] == [pytest.approx(accuracy)]
    assert "val_consistency_loss" not in history
    np.testing.assert_allclose(model.predict(WEAK, verbose=0), model(WEAK), rtol=1e-5)
    np.testing.assert_allclose(model(WEAK), model.backbone(WEAK), rtol=1e-6)


def test_losses_of_the_backbone_are_of_the_joined_batch():
    backbone = network(activity_regularizer=keras.regularizers.L1(0.1))
    outputs = backbone(np.concatenate([WEAK, STRONG])).numpy()
    history = compiled(backbone).fit((WEAK, STRONG), Y, batch_size=N, verbose=0).history
    # Keras divides an activity's loss by the batch, of 2 N here.
    extra = 0.1 * np.abs(outputs).sum() / (2 * N)
    parts = history["ce_loss"][0] + 0.9 * history["consistency_loss"][0]
    assert history["loss"][0] == pytest.approx(parts + extra, rel=1e-5)
