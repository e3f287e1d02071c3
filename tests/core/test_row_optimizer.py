import keras
import numpy as np
import pytest

from sop_keras.core.row_optimizer import row_optimizer

SGD = keras.optimizers.SGD


@pytest.mark.parametrize("rate", [3, 3.0, np.float32(3.0), np.int64(3)])
def test_a_number_is_the_rate_of_plain_sgd(rate):
    optimizer = row_optimizer(rate, "u_optimizer")
    assert type(optimizer) is SGD
    assert optimizer.name == "u_optimizer"
    assert float(optimizer.learning_rate) == 3.0


def test_a_schedule_is_that_of_plain_sgd():
    schedule = keras.optimizers.schedules.ExponentialDecay(8.0, 1, 0.5)
    optimizer = row_optimizer(schedule, "v_optimizer")
    rates = []
    for _ in range(3):
        rates.append(float(optimizer.learning_rate))
        optimizer.iterations.assign_add(1)
    assert rates == [8.0, 4.0, 2.0]


def test_sgd_is_taken_as_it_is():
    optimizer = SGD(2.0, nesterov=True)  # which says nothing without momentum
    assert row_optimizer(optimizer, "u_optimizer") is optimizer


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("momentum", 0.9),
        ("weight_decay", 1e-4),
        ("use_ema", True),
        ("clipnorm", 1.0),
        ("clipvalue", 0.5),
        ("global_clipnorm", 1.0),
        ("gradient_accumulation_steps", 2),
        ("loss_scale_factor", 8.0),
    ],
)
def test_what_the_table_cannot_honour_is_refused_by_name(option, value):
    message = rf"`{option}={value}` on `v_optimizer` cannot be honoured: .*SGD\("
    with pytest.raises(ValueError, match=message):
        row_optimizer(SGD(1.0, **{option: value}), "v_optimizer")


@pytest.mark.parametrize(
    "optimizer",
    [
        keras.optimizers.Adam(1.0),
        keras.optimizers.LossScaleOptimizer(SGD(1.0)),
        "sgd",
        None,
        True,
        SGD,
    ],
    ids=["adam", "loss scale", "string", "none", "bool", "class"],
)
def test_anything_else_is_refused(optimizer):
    with pytest.raises(ValueError, match=r"`u_optimizer` moves a few rows.*Received: "):
        row_optimizer(optimizer, "u_optimizer")


@pytest.mark.parametrize("rate", [-1.0, np.nan, np.inf])
def test_a_rate_is_finite_and_not_negative(rate):
    with pytest.raises(
        ValueError, match=r"`u_optimizer` must be a finite number of at"
    ):
        row_optimizer(rate, "u_optimizer")
