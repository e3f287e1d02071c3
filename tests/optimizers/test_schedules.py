import math

import keras
import numpy as np
import pytest

from sop_keras.optimizers.schedules import (
    ScaledByEpoch,
    Triangle,
    cosine_decay,
    step_decay,
)
from sop_keras.optimizers.sgd import SGD


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        # 10 steps an epoch, decays after 2 and after 5 epochs: steps 0 to 19 belong to
        # epochs 0 and 1, steps 20 to 49 to epochs 2 to 4, steps from 50 on to the rest.
        (0, 0.02),
        (19, 0.02),
        (20, 0.002),
        (49, 0.002),
        (50, 0.0002),
        (1000, 0.0002),
    ],
)
def test_step_decay_at_both_sides_of_each_boundary(step, expected):
    schedule = step_decay(0.02, decay_epochs=(2, 5), steps_per_epoch=10)
    assert float(schedule(step)) == pytest.approx(expected, rel=1e-6)
    # The optimizer counts its steps in int64.
    assert float(schedule(np.int64(step))) == pytest.approx(expected, rel=1e-6)


def test_step_decay_multiplies_by_the_given_factor():
    schedule = step_decay(0.8, decay_epochs=[1, 2, 3], steps_per_epoch=1, factor=0.5)
    # 0.8, 0.4, 0.2, 0.1
    np.testing.assert_allclose(
        [float(schedule(step)) for step in range(5)], [0.8, 0.4, 0.2, 0.1, 0.1], 1e-6
    )


def test_the_optimizer_takes_the_lower_rate_in_the_first_step_of_the_epoch():
    variable = keras.Variable([0.0])
    optimizer = SGD(step_decay(0.1, decay_epochs=[1], steps_per_epoch=2))
    path = []
    for _ in range(4):
        optimizer.apply([np.ones(1, "float32")], [variable])
        path.append(float(variable[0]))
    # Two steps of 0.1 x 1 in epoch 0, then two of 0.01 x 1 in epoch 1.
    np.testing.assert_allclose(path, [-0.1, -0.2, -0.21, -0.22], rtol=1e-5)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        # From 0.02 to 0.0002 in 300 epochs of 4 steps, T = 1200; half the fall is
        # 0.0099 and the middle 0.0101.
        (0, 0.02),
        (200, 0.0101 + 0.0099 * math.sqrt(3) / 2),  # cos(pi/6)
        (400, 0.0101 + 0.0099 / 2),  # cos(pi/3)
        (600, 0.0101),  # cos(pi/2)
        (800, 0.0101 - 0.0099 / 2),
        (1200, 0.0002),
        (1300, 0.0002),  # stays there
    ],
)
def test_cosine_decay(step, expected):
    schedule = cosine_decay(
        0.02, epochs=300, steps_per_epoch=4, final_learning_rate=2e-4
    )
    assert float(schedule(step)) == pytest.approx(expected, rel=1e-4)


def test_cosine_decay_to_zero():
    schedule = cosine_decay(0.1, epochs=1, steps_per_epoch=2, final_learning_rate=0)
    assert float(schedule(1)) == pytest.approx(0.05, rel=1e-6)
    assert float(schedule(2)) == pytest.approx(0, abs=1e-8)


def test_integer_rates_are_not_rounded():
    # Keras' schedules compute in the type of the first rate, int32 for 1.
    assert float(step_decay(1, [1], 1)(1)) == pytest.approx(0.1)
    assert float(cosine_decay(1, 1, 2, 0)(1)) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "schedule",
    [
        step_decay(0.02, (40, 80), 352),
        cosine_decay(0.02, 300, 391, 2e-4),
        Triangle(0.75, 880, 0.23, 0.15, 0.05),
    ],
    ids=["step", "cosine", "triangle"],
)
def test_schedules_survive_serialization(schedule):
    optimizer = SGD(schedule, momentum=0.9)
    restored = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert restored.get_config() == optimizer.get_config()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 0.0}, "`learning_rate` must be positive.*0.0"),
        ({"decay_epochs": ()}, "constant rate pass a float"),
        ({"decay_epochs": (80, 40)}, r"increasing.*\(80, 40\)"),
        ({"decay_epochs": (40, 40)}, r"increasing.*\(40, 40\)"),
        ({"decay_epochs": (0, 40)}, r"`decay_epochs\[0\]` must be an integer of at.*0"),
        (
            {"decay_epochs": (0.5,)},
            r"`decay_epochs\[0\]` must be an integer of at.*0.5",
        ),
        ({"steps_per_epoch": 0}, "`steps_per_epoch` must be an integer of at.*0"),
        ({"steps_per_epoch": 35.2}, "`steps_per_epoch` must be an integer of at.*35.2"),
        ({"factor": 1.0}, "`factor` must be between 0 and 1.*1.0"),
        ({"factor": 0}, "`factor` must be between 0 and 1.*0"),
    ],
)
def test_step_decay_refuses(changes, message):
    arguments = {
        "learning_rate": 0.02,
        "decay_epochs": (40, 80),
        "steps_per_epoch": 352,
    }
    with pytest.raises(ValueError, match=message):
        step_decay(**(arguments | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": -1}, "`learning_rate` must be positive.*-1"),
        ({"epochs": 0}, "`epochs` must be an integer of at.*0"),
        ({"steps_per_epoch": None}, "`steps_per_epoch` must be an integer of at.*None"),
        ({"final_learning_rate": 0.03}, "between 0 and `learning_rate`.*0.03"),
        ({"final_learning_rate": -1e-4}, "between 0 and `learning_rate`.*-0.0001"),
    ],
)
def test_cosine_decay_refuses(changes, message):
    arguments = {
        "learning_rate": 0.02,
        "epochs": 300,
        "steps_per_epoch": 391,
        "final_learning_rate": 2e-4,
    }
    with pytest.raises(ValueError, match=message):
        cosine_decay(**(arguments | changes))


def test_a_warm_up_rises_in_a_line_and_half_a_cosine_takes_the_rest():
    rate = cosine_decay(0.3, 6, 10, 0.0, warmup_epochs=2, warmup_learning_rate=0.1)
    found = [float(rate(step)) for step in (0, 10, 20, 40, 60, 90)]
    # 0.1 to 0.3 in 20 steps, then 0.3 (1 + cos(pi t / 40)) / 2.
    np.testing.assert_allclose(found, [0.1, 0.2, 0.3, 0.15, 0, 0], atol=1e-7)
    with pytest.raises(
        ValueError, match=r"`warmup_epochs` must be an integer in \[0, "
    ):
        cosine_decay(0.3, 6, 10, 0.0, warmup_epochs=6)


def test_a_rate_scaled_by_epoch():
    rate = ScaledByEpoch(0.1, [1.0, 0.5, 0.25], steps_per_epoch=2)
    found = [float(rate(step)) for step in (0, 1, 2, 3, 4, 9)]
    np.testing.assert_allclose(found, [0.1, 0.1, 0.05, 0.05, 0.025, 0.025], rtol=1e-6)
    steps = step_decay(0.1, (1,), steps_per_epoch=2)
    scaled = ScaledByEpoch(steps, [1.0, 0.5], steps_per_epoch=2)
    copy = keras.optimizers.schedules.deserialize(
        keras.optimizers.schedules.serialize(scaled)
    )
    for one in (scaled, copy):
        found = [float(one(step)) for step in (1, 2)]
        np.testing.assert_allclose(found, [0.1, 0.005], rtol=1e-6)
    with pytest.raises(ValueError, match="`factors` must have one number or more"):
        ScaledByEpoch(0.1, [], steps_per_epoch=2)
    with pytest.raises(ValueError, match="`factors` must be a finite number of at"):
        ScaledByEpoch(0.1, [-1.0], steps_per_epoch=2)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        # 0.2 to 1 in int(0.25 * 41) = 10 steps, 1 to 0.07 in 31: 0.03 a step.
        (0, 0.2),
        (1, 0.28),
        (9, 0.92),
        (10, 1.0),
        (11, 0.97),
        (40, 0.1),
        (41, 0.07),
        (1000, 0.07),
    ],
)
def test_a_triangle_on_both_sides_of_each_corner(step, expected):
    schedule = Triangle(1, 41, 0.25, 0.2, 0.07)
    assert float(schedule(step)) == pytest.approx(expected, rel=1e-5)
    assert float(schedule(np.int64(step))) == pytest.approx(expected, rel=1e-5)


def test_a_triangle_without_a_rise_starts_at_its_peak():
    for share in (0, 0.04):  # int(0.04 * 20) = 0 steps
        found = [float(Triangle(0.5, 20, share)(step)) for step in (0, 10, 20)]
        np.testing.assert_allclose(found, [0.5, 0.25, 0], atol=1e-7)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 0}, "`learning_rate` must be positive.*0"),
        ({"num_steps": 0}, "`num_steps` must be an integer of at.*0"),
        ({"warmup_share": 1}, "`warmup_share` must be less than 1.*1"),
        ({"warmup_share": -0.1}, r"`warmup_share` must be a number in \[0, 1\]"),
        ({"warmup_learning_rate": 2}, "`warmup_learning_rate` must be between 0 and"),
        ({"final_learning_rate": 2}, "`final_learning_rate` must be between 0 and"),
        ({"final_learning_rate": -1}, "`final_learning_rate` must be a finite number"),
    ],
)
def test_a_triangle_refuses(changes, message):
    arguments = {"learning_rate": 1.0, "num_steps": 10, "warmup_share": 0.2}
    with pytest.raises(ValueError, match=message):
        Triangle(**(arguments | changes))
