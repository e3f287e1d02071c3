import golden
import keras
import numpy as np
import pytest

from sop_keras.optimizers.adam import Adam
from sop_keras.optimizers.schedules import linear_decay

RNG = np.random.default_rng(0)
STARTS = [RNG.normal(size=(2, 3)), RNG.normal(size=4)]
# Gradients of very different sizes, and some that are 0: there epsilon counts.
GRADIENTS = [
    [RNG.normal(size=s.shape) * 10.0 ** RNG.integers(-8, 3, s.shape) for s in STARTS]
    for _ in range(60)
]
GRADIENTS[0][1][:] = 0.0


def torch_rule(start, gradients, rates, betas, l2=0.0, epsilon=1e-8):
    """PyTorch's documented update, one number at a time, in float64."""
    weights = np.array(start, np.float64)
    for place in np.ndindex(weights.shape):
        weight, mean, square = weights[place], 0.0, 0.0
        for t, (gradient, rate, beta) in enumerate(
            zip(gradients, rates, betas, strict=True), start=1
        ):
            g = gradient[place] + l2 * weight
            mean = beta * mean + (1 - beta) * g
            square = 0.999 * square + 0.001 * g * g
            size = np.sqrt(square / (1 - 0.999**t)) + epsilon
            weight -= rate * (mean / (1 - beta**t)) / size
        weights[place] = weight
    return weights


def stepped(optimizer):
    variables = [keras.Variable(s, dtype="float32") for s in STARTS]
    for step in GRADIENTS:
        optimizer.apply([np.asarray(g, "float32") for g in step], variables)
    return [keras.ops.convert_to_numpy(one) for one in variables]


@pytest.mark.parametrize("l2", [0.0, 0.05])
@pytest.mark.parametrize("late_beta_1", [None, 0.1, 0.0])
def test_sixty_steps_of_the_torch_rule(late_beta_1, l2):
    # Six epochs of ten steps: from the fourth on the rate falls, and beta1 is another.
    rates = np.repeat([0.1, 0.1, 0.1, 0.1, 0.2 / 3, 0.1 / 3], 10)
    options, betas = {}, np.full(60, 0.9)
    if late_beta_1 is not None:
        options = {"late_beta_1": late_beta_1, "late_from": 30}
        betas[30:] = late_beta_1
    found = stepped(Adam(linear_decay(0.1, 3, 6, 10), l2=l2, **options))
    for i, start in enumerate(STARTS):
        gradients = [step[i] for step in GRADIENTS]
        expected = torch_rule(start, gradients, rates, betas, l2)
        np.testing.assert_allclose(found[i], expected, rtol=1e-5, atol=1e-5)


def test_l2_leaves_out_what_is_excluded():
    variables = [keras.Variable([1.0], name=name) for name in ("kernel", "bias")]
    optimizer = Adam(0.1, l2=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.apply([np.zeros(1, "float32")] * 2, variables)
    # The first step of Adam is the rate, along the sign of 0.5 w; without it, 0.
    found = [float(keras.ops.convert_to_numpy(one)[0]) for one in variables]
    np.testing.assert_allclose(found, [0.9, 1.0], rtol=1e-6)


@pytest.mark.parametrize("start", [80, 100])
def test_the_schedules_of_co_teaching(start):
    file = golden.arrays("two_network_schedules")
    rate = linear_decay(0.001, start, 200, steps_per_epoch=3)
    for epochs, steps in ((range(200), 0), (range(200), 2)):
        found = [float(rate(3 * epoch + steps)) for epoch in epochs]
        expected = file[f"coteaching_learning_rate_start{start}"]
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    beta1 = file[f"coteaching_beta1_start{start}"]
    np.testing.assert_array_equal(beta1, np.where(np.arange(200) < start, 0.9, 0.1))


def test_a_line_that_begins_past_the_end_lowers_nothing():
    for start in (4, 9):
        rate = linear_decay(0.1, start, 4, 5)
        assert [round(float(rate(step)), 7) for step in (0, 19, 30)] == [0.1] * 3
    rate = linear_decay(0.1, 3, 4, 5)  # of one epoch, that has all of it
    assert [round(float(rate(step)), 7) for step in (14, 15)] == [0.1, 0.1]
    with pytest.raises(ValueError, match="`start_epoch` must be an integer"):
        linear_decay(0.1, 0, 4, 5)


def test_without_a_late_beta_it_is_keras_adam_but_for_epsilon():
    gradients = [[np.asarray(one, "float32") for one in step] for step in GRADIENTS[1:]]
    ours, peers = ([keras.Variable(s) for s in STARTS] for _ in range(2))
    one, other = Adam(0.05, epsilon=0.0), keras.optimizers.Adam(0.05, epsilon=0.0)
    for step in gradients:
        one.apply(step, ours)
        other.apply(step, peers)
    for found, expected in zip(ours, peers, strict=True):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-4)


def test_accumulated_batches_count_for_the_late_beta():
    # Two batches a step: the second of three steps begins with the third batch.
    optimizer = Adam(0.1, late_beta_1=0.1, late_from=3, gradient_accumulation_steps=2)
    variable = keras.Variable(np.float32([1.0]))
    gradients = [0.5, 1.5, -1.0, 2.0, 1.0, 1.0]  # means 1, 0.5, 1
    for one in gradients:
        optimizer.apply([np.float32([one])], [variable])
    means = np.array([[1.0], [0.5], [1.0]])
    expected = torch_rule([1.0], means, [0.1] * 3, [0.9, 0.1, 0.1])
    np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-5)


def test_it_is_saved_with_its_betas():
    optimizer = Adam(0.01, l2=0.1, late_beta_1=0.1, late_from=7)
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(copy, Adam)
    assert copy.get_config() == optimizer.get_config()
    assert (copy.l2, copy.late_beta_1, copy.late_from) == (0.1, 0.1, 7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"beta_1": 1.0}, "`beta_1` must be below 1"),
        ({"beta_2": -0.1}, "`beta_2` must be a finite number of at least 0"),
        ({"late_beta_1": 0.1}, "`late_beta_1` and `late_from` go together"),
        ({"late_beta_1": 1.0, "late_from": 3}, "`late_beta_1` must be below 1"),
        ({"late_beta_1": 0.1, "late_from": -1}, "`late_from` must be an integer"),
        ({"l2": -1.0}, "`l2` must be a finite number"),
        ({"weight_decay": 0.1}, r"decoupled decay.*l2=0\.1"),
        ({"amsgrad": True}, "`amsgrad` cannot be had"),
    ],
)
def test_what_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Adam(**arguments)
