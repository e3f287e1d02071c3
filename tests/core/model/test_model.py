"""Building and compiling: what is kept, what is refused, what a step touches."""

import graphs
import keras
import numpy as np
import pytest
import tensorflow as tf

from sop_keras import NoisyLabelModel, SOPModel, methods
from sop_keras.core.example_tables import ExampleTables

D, K, N = 4, 3, 50


def backbone():
    return keras.Sequential([keras.Input((D,)), keras.layers.Dense(K)])


def test_the_public_table():
    model = SOPModel(backbone(), num_examples=N, num_classes=K)
    table = model.noise_table
    assert isinstance(table, ExampleTables)
    assert isinstance(table.u, keras.Variable)
    assert (table.u.shape, table.v.shape) == ((N, 1), (N, K))
    values = np.random.default_rng(0).normal(size=(N, K)).astype(np.float32)
    table.v.assign(values)
    np.testing.assert_array_equal(table.v.numpy(), values)


def test_the_model_is_its_backbone():
    model = SOPModel(backbone(), N, K)
    x = np.random.default_rng(0).normal(size=(5, D)).astype(np.float32)
    expected = model.backbone(x)
    np.testing.assert_array_equal(model(x), expected)
    np.testing.assert_array_equal(model.predict(x, verbose=0), expected)
    np.testing.assert_array_equal(model.predict_on_batch(x), expected)
    own = [weight.path for weight in model.trainable_weights]
    assert own == [weight.path for weight in model.backbone.trainable_weights]


def test_training_mode_reaches_the_backbone():
    dropout = keras.Sequential([keras.Input((K,)), keras.layers.Dropout(0.5)])
    model = SOPModel(dropout, N, K)
    x = np.ones((20, K), np.float32)
    np.testing.assert_array_equal(model(x), x)
    # What is not dropped is divided by 0.5.
    assert set(np.unique(model(x, training=True))) == {0.0, 2.0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_examples": 0}, "`num_examples` must be an integer of at least 1"),
        ({"num_classes": 1}, "`num_classes` must be an integer of at least 2"),
        ({"num_classes": 4}, r"outputs have the shape \(None, 3\); .*num_classes=4"),
        ({"variant": "code"}, "`variant` must be one of paper, reference"),
        ({"init_std": -1.0}, "`init_std` must be a finite number of at least 0"),
        ({"balance_weight": np.nan}, "`balance_weight` must be a finite number"),
        ({"class_prior": [1.0]}, "`class_prior` must have one entry for each of the 3"),
        ({"class_prior": [0.5, 0.6, -0.1]}, "must be finite and non-negative. Rec"),
        ({"class_prior": [0.2, 0.2, 0.2]}, "must sum to 1. Received a sum of 0.6; div"),
        ({"class_prior": "balanced"}, '"uniform", "empirical" or .*: .balanced.'),
        ({"consistency_weight": -0.9}, "`consistency_weight` must be a finite number"),
        (
            {"backbone": "resnet34"},
            "must be a keras.Model or a keras layer.*Received: s",
        ),
    ],
)
def test_wrong_arguments(arguments, message):
    arguments = {
        "backbone": backbone(),
        "num_examples": N,
        "num_classes": K,
        **arguments,
    }
    with pytest.raises(ValueError, match=message):
        SOPModel(**arguments)


@pytest.mark.parametrize(
    ("name", "value"),
    [("consistency_weight", 100), ("balance_weight", 0.5), ("variant", "reference")],
)
def test_what_the_compiled_step_holds_is_fixed(name, value):
    arguments = {"consistency_weight": 0.9, "balance_weight": 0.1}
    model = SOPModel(backbone(), N, K, **arguments)
    before = getattr(model, name)
    message = (
        rf"`{name}` of a model is fixed. Make a new one: SOPModel\(..., "
        rf"{name}={value!r}\); new.set_weights\(old.*Received: .*with {name}={before!r}"
    )
    with pytest.raises(ValueError, match=message):
        setattr(model, name, value)
    assert getattr(model, name) == model.get_config()[name] == before
    # As the message says.
    new = SOPModel(backbone(), N, K, **{**arguments, name: value})
    assert getattr(new, name) == value
    new.set_weights(model.get_weights())
    for found, expected in zip(new.weights, model.weights, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_probabilities_for_logits_are_warned_of():
    softmax = keras.Sequential([keras.layers.Dense(K, activation="softmax")])
    with pytest.warns(UserWarning, match="ends in a softmax, but from_logits=True"):
        SOPModel(softmax, N, K)


def test_an_unbuilt_backbone_of_another_width_is_refused_at_its_first_call():
    model = SOPModel(keras.Sequential([keras.layers.Dense(K + 1)]), N, K)
    with pytest.raises(ValueError, match=r"outputs have the shape \(2, 4\); expected"):
        model(np.zeros((2, D), np.float32))


def test_compile_takes_numbers_schedules_and_sgd():
    model = SOPModel(backbone(), N, K)
    model.compile(u_optimizer=10, v_optimizer=10.0)
    assert float(model.u_optimizer.learning_rate) == 10.0
    assert float(model.v_optimizer.learning_rate) == 10.0
    schedule = keras.optimizers.schedules.CosineDecay(1.0, 10)
    model.compile(
        keras.optimizers.Adam(),
        u_optimizer=schedule,
        v_optimizer=keras.optimizers.SGD(100.0),
    )
    assert float(model.u_optimizer.learning_rate) == 1.0
    assert float(model.v_optimizer.learning_rate) == 100.0


def test_compile_again_keeps_the_rates_that_it_is_not_given():
    model = SOPModel(backbone(), N, K)
    schedule = keras.optimizers.schedules.CosineDecay(1.0, 10)
    model.compile("sgd", u_optimizer=schedule, v_optimizer=3.0)
    model.fit(np.zeros((N, D)), np.zeros(N, int), batch_size=10, verbose=0)
    u_optimizer = model.u_optimizer
    model.compile(keras.optimizers.SGD(1e-3), metrics=["accuracy"])
    assert model.u_optimizer is u_optimizer
    # After 5 of 10 steps: (1 + cos(pi / 2)) / 2.
    assert float(model.u_optimizer.learning_rate) == pytest.approx(0.5)
    assert float(model.v_optimizer.learning_rate) == 3.0
    model.compile("sgd", v_optimizer=7.0)
    assert model.u_optimizer is u_optimizer
    assert float(model.v_optimizer.learning_rate) == 7.0
    # A method of the general model, likewise.
    general = NoisyLabelModel(backbone(), N, K, methods.SOP(u_learning_rate=2.0))
    general.compile("sgd", row_rates={"v": 5.0})
    general.compile("adam")
    rates = {n: float(o.learning_rate) for n, o in general.row_optimizers().items()}
    assert rates == {"u": 2.0, "v": 5.0}


def test_compile_refuses_what_would_be_ignored():
    model = SOPModel(backbone(), N, K)
    for arguments in ({"loss": "mse"}, {"loss_weights": [1.0]}):
        with pytest.raises(ValueError, match="SOPModel brings its own objective"):
            model.compile("sgd", **arguments)
    with pytest.raises(ValueError, match="SOPModel brings its own objective"):
        model.compile("adam", "sparse_categorical_crossentropy")
    with pytest.raises(
        ValueError, match=r"`weight_decay=0.001` on `v_optimizer` cannot"
    ):
        model.compile("sgd", v_optimizer=keras.optimizers.SGD(1.0, weight_decay=1e-3))
    with pytest.raises(
        ValueError, match=r"`u_optimizer` moves a few rows.*SGD\(10.*Received: 'sgd'"
    ):
        model.compile("sgd", u_optimizer="sgd")
    one, other = keras.optimizers.SGD(1.0), keras.optimizers.SGD(1.0)
    for main, of_u, of_v in ((one, other, other), (one, one, other), (one, other, one)):
        with pytest.raises(ValueError, match="must be three objects"):
            model.compile(main, u_optimizer=of_u, v_optimizer=of_v)
    assert not model.compiled


def test_a_strategy_of_another_kind_and_a_second_one_are_refused():
    model = SOPModel(backbone(), N, K)
    with tf.distribute.experimental.CentralStorageStrategy().scope():
        message = "every replica holds all variables. Received: CentralStorageStrategy"
        with pytest.raises(ValueError, match=message):
            SOPModel(backbone(), N, K)
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        SOPModel(backbone(), N, K).compile("sgd")
        with pytest.raises(ValueError, match="made outside of all strategies' scopes"):
            model.compile("sgd")


@pytest.mark.parametrize("consistency_weight", [0.0, 0.9])
@pytest.mark.parametrize("variant", ["paper", "reference"])
def test_a_training_step_reads_and_writes_rows_of_the_table_and_nothing_else(
    variant, consistency_weight
):
    model = SOPModel(
        backbone(),
        N,
        K,
        variant=variant,
        consistency_weight=consistency_weight,
        balance_weight=0.1,
    )
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), metrics=["accuracy"])
    targets = {
        "label": tf.TensorSpec([None], tf.int64),
        "index": tf.TensorSpec([None], tf.int64),
    }
    view = tf.TensorSpec([None, D])
    x = (view, view) if consistency_weight else view
    step = tf.function(model.train_step).get_concrete_function(
        (x, targets, tf.TensorSpec([None]))
    )
    for variable in (model.noise_table.u, model.noise_table.v):
        used = graphs.operations_on(variable, step.graph)
        assert used == {"ResourceGather", "ResourceScatterUpdate"}
    record = model.training_record.table
    # With weights, of which one may be 0, a row that stays is read.
    used = graphs.operations_on(record, step.graph)
    assert used == {"ResourceGather", "ResourceScatterUpdate"}
    # And no tensor of the table's length comes about by another way.
    outputs = [tensor for op in step.graph.get_operations() for tensor in op.outputs]
    assert not any(tensor.shape.rank and tensor.shape[0] == N for tensor in outputs)
    # The check itself sees a dense read where there is one.
    dense = tf.function(lambda: model.noise_table.v.value + 0.0).get_concrete_function()
    assert "ReadVariableOp" in graphs.operations_on(model.noise_table.v, dense.graph)
