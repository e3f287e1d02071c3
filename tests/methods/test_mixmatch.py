"""The equations of DivideMix's step: published steps, by hand, and limits."""

import golden
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from sop_keras.core.batch import mean_loss
from sop_keras.core.probabilities import log_probabilities
from sop_keras.methods import mixmatch
from sop_keras.methods.mixup import mix_pairs

STEPS = ("dividemix_step_k10", "dividemix_step_k10_lambda0")
LABELED_ONLY = "dividemix_step_k10_labeled_only"


def mean(values):
    return ops.mean(values, axis=0)


def outputs(logits, from_logits):
    """Float32 logits, or the probabilities that they stand for."""
    logits = tf.convert_to_tensor(logits, "float32")
    return logits if from_logits else tf.nn.softmax(logits)


def close(found, expected):
    """Whether it is the published array, to 1e-5 of its largest value."""
    found, expected = np.asarray(found), np.asarray(expected)
    scale = np.abs(expected).max(initial=0.0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * scale)


class Step:
    """A published step, its rows cut to the real sizes."""

    def __init__(self, file, step):
        self.file, self.step = file, step
        self.counts = {kind: int(file[f"num_{kind}"][step]) for kind in ("x", "u")}
        self.num_labeled = 2 * self.counts["x"]
        self.num_rows = 2 * sum(self.counts.values())
        self.num_seen = self.num_rows if "ref_loss_u" in file else self.num_labeled

    def __getitem__(self, name):
        return self.file[name][self.step]

    def of(self, name):
        """An array of examples, such as `w_x` or `logits_u11`."""
        kind = name.rpartition("_")[2][0]
        return self[name][: self.counts[kind]]

    def targets(self, from_logits=True):
        """Those of X and of U."""

        def guessed(*names):
            given = [outputs(self.of(f"logits_{one}"), from_logits) for one in names]
            return mixmatch.co_guess(given, from_logits)

        labels = np.eye(10, dtype=np.float32)[self.of("y_x")]
        clean_prob = self.of("w_x").astype(np.float32)[:, None]
        of_x = mixmatch.co_refine(clean_prob, labels, guessed("x1", "x2"))
        of_u = guessed("u11", "u12", "u21", "u22")
        temperature = float(self.file["temperature"])
        return [mixmatch.sharpen(one, temperature) for one in (of_x, of_u)]

    def mixed(self, *parts):
        """Rows of x1, x2, u1 and u2, mixed as published."""
        whole = np.concatenate(parts).astype(np.float32)
        partners, share = self["perm"][: self.num_rows], np.float32(self["mix"])
        return np.asarray(mix_pairs(whole, whole, partners, share))


def steps(*names):
    found = []
    for name in names:
        file = golden.arrays(name)
        for step in range(int(file["T"])):
            found.append(pytest.param(Step(file, step), id=f"{name}-{step}"))
    return found


@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize("step", steps(*STEPS, LABELED_ONLY))
def test_the_published_targets_and_mixed_rows(step, from_logits):
    of_x, of_u = step.targets(from_logits)
    close(of_x, step.of("ref_targets_x"))
    close(of_u, step.of("ref_targets_u"))
    inputs = [step.of(f"inputs_{name}") for name in ("x1", "x2", "u1", "u2")]
    for found, expected in (
        (step.mixed(*inputs), step["ref_mixed_input"]),
        (step.mixed(of_x, of_x, of_u, of_u), step["ref_mixed_target"]),
    ):
        close(found[: step.num_seen], expected[: step.num_seen])


@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize("step", steps(*STEPS))
def test_the_published_losses_and_gradient(step, from_logits):
    of_x, of_u = step.targets(from_logits)
    targets = step.mixed(of_x, of_x, of_u, of_u)
    labeled = step.num_labeled
    logits = tf.Variable(step["logits_mix"][: step.num_rows])
    weight = mixmatch.unlabeled_weight(
        *(step[name] for name in ("epoch", "batch", "num_iter")),
        int(step.file["warm_up"]),
        float(step.file["lambda_u"]),
    )
    with tf.GradientTape() as tape:
        log_probs = log_probabilities(outputs(logits, from_logits), from_logits)
        parts = {
            "loss_x": mean_loss(
                mixmatch.labeled_losses(log_probs[:labeled], targets[:labeled])
            ),
            "loss_u": mean_loss(
                mixmatch.unlabeled_losses(log_probs[labeled:], targets[labeled:])
            ),
            "penalty": mixmatch.prior_penalty(log_probs, mean),
        }
        loss = parts["loss_x"] + weight * parts["loss_u"] + parts["penalty"]
    for name, value in parts.items():
        close(value, step[f"ref_{name}"])
    close(weight, step["ref_weight_u"])
    close(loss, step["ref_loss"])
    gradient = step["ref_grad_logits_mix"][: step.num_rows]
    close(tape.gradient(loss, logits), gradient)


@pytest.mark.parametrize("step", steps(LABELED_ONLY))
def test_the_published_step_of_labelled_rows_alone(step):
    of_x, of_u = step.targets()
    labeled = step.num_labeled
    targets = step.mixed(of_x, of_x, of_u, of_u)[:labeled]
    logits = tf.Variable(step["logits_mix"][:labeled])
    with tf.GradientTape() as tape:
        log_probs = log_probabilities(logits)
        loss_x = mean_loss(mixmatch.labeled_losses(log_probs, targets))
        penalty = mixmatch.prior_penalty(log_probs, mean)
        # There are no rows of U: their loss is 0, and not NaN.
        no_rows = mixmatch.unlabeled_losses(log_probs[labeled:], targets[labeled:])
        loss = loss_x + penalty + mean_loss(no_rows)
    close(loss_x, step["ref_loss_x"])
    close(penalty, step["ref_penalty"])
    close(loss, step["ref_loss"])
    close(tape.gradient(loss, logits), step["ref_grad_logits_mix"][:labeled])


@pytest.mark.parametrize("kind", ["sym", "asym"])
def test_the_published_warm_up(kind):
    file = golden.arrays("dividemix_warmup_k10")
    found = {"loss": [], "grad_logits": [], "penalty": []}
    for y, given in zip(file["y"], file["logits"], strict=True):
        logits = tf.Variable(given)
        with tf.GradientTape() as tape:
            log_probs = log_probabilities(logits)
            labels = np.eye(10, dtype=np.float32)[y]
            loss = mean_loss(mixmatch.labeled_losses(log_probs, labels))
            penalty = mean_loss(mixmatch.negative_entropy(log_probs))
            if kind == "asym":
                loss += penalty
        for name, value in zip(
            found, (loss, tape.gradient(loss, logits), penalty), strict=True
        ):
            found[name].append(np.asarray(value))
    close(found["loss"], file[f"ref_loss_{kind}"])
    close(found["grad_logits"], file[f"ref_grad_logits_{kind}"])
    close(found["penalty"], file["ref_penalty_asym"])


def test_the_published_ramp():
    file = golden.arrays("two_network_schedules")
    epochs = file["dividemix_epoch"]
    expected = file["dividemix_weight_u_25_warmup10"]
    for batch, num_batches in ((0, 1), (np.round(epochs % 1 * 8), 8)):
        found = mixmatch.unlabeled_weight(
            epochs if num_batches == 1 else np.floor(epochs),
            batch,
            num_batches,
            warm_up=10,
            lambda_u=25,
        )
        close(found, expected)
    # Before, in the middle, after 16 epochs, and later.
    found = [
        float(mixmatch.unlabeled_weight(epoch, 3, 6, 10, 8.0))
        for epoch in (9, 17, 25, 26, 400)
    ]
    assert found == [0, 8 * 7.5 / 16, 8 * 15.5 / 16, 8, 8]


def test_sharpening_by_hand():
    # 0.2^2 : 0.3^2 : 0.5^2 = 4 : 9 : 25. T = 1 changes nothing.
    probs = np.float32([[0.2, 0.3, 0.5]])
    found = mixmatch.sharpen(probs, 0.5)
    np.testing.assert_allclose(found, np.array([[4, 9, 25]]) / 38, rtol=1e-6)
    np.testing.assert_allclose(mixmatch.sharpen(probs, 1.0), probs, rtol=1e-6)


@pytest.mark.parametrize("temperature", [0.0, 1e-300, 1e-44, 1e-10])
def test_sharpening_ends_in_hard_labels(temperature):
    nearly = np.nextafter(np.float32(0.5), np.float32(1))
    probs = np.float32(
        [[0.2, 0.3, 0.5], [0, 0, 1], [0.4, 0.2, 0.4], [1 - nearly, 0, nearly]]
    )
    found = mixmatch.sharpen(probs, temperature)
    expected = np.array([[0, 0, 1], [0, 0, 1], [0.5, 0, 0.5], [0, 0, 1]])
    np.testing.assert_allclose(found, expected, atol=1e-6 if temperature else 0)


def test_sharpening_keeps_impossible_classes_and_small_ones():
    # (1e-20)^2 is 0 in float32; where all are small but one, logarithms do not care.
    # T = 4: 16^(1/4) = 2, of 1/17 and 16/17; a class of 0 stays at 0.
    probs = np.float32([[1 / 17, 16 / 17, 0]])
    np.testing.assert_allclose(mixmatch.sharpen(probs, 4.0), [[1 / 3, 2 / 3, 0]], 1e-6)
    probs = np.float32([[1.0, 1e-20, 1e-38]])
    found = mixmatch.sharpen(probs, 0.5)
    np.testing.assert_array_equal(found, [[1, 0, 0]])
    # Rounding may leave probabilities slightly below 0.
    assert np.isfinite(mixmatch.sharpen(np.float32([[1.0, -1e-9]]), 0.5)).all()


def test_trusted_labels_stay_and_others_are_guessed():
    labels, probs = np.eye(3)[[0, 1]], np.array([[0.2, 0.3, 0.5]] * 2)
    one, zero = np.ones((2, 1)), np.zeros((2, 1))
    np.testing.assert_array_equal(mixmatch.co_refine(one, labels, probs), labels)
    np.testing.assert_array_equal(mixmatch.co_refine(zero, labels, probs), probs)
    found = mixmatch.co_refine(np.array([[0.5], [1]]), labels, probs)
    np.testing.assert_allclose(found, [[0.6, 0.15, 0.25], [0, 1, 0]])


def test_guesses_are_constants_of_probabilities():
    # The mean of (1/4, 3/4) and (1/2, 1/2).
    logits = [tf.Variable(np.log([[0.25, 0.75]])), tf.Variable([[3.0, 3.0]])]
    logits = [tf.cast(one, "float32") for one in logits]
    with tf.GradientTape() as tape:
        tape.watch(logits)
        found = mixmatch.co_guess(logits)
    np.testing.assert_allclose(found, [[0.375, 0.625]], rtol=1e-6)
    assert tape.gradient(found, logits) == [None, None]


def test_a_trusted_label_without_temperature_and_mixing_is_cross_entropy():
    # w = 1, T = 1, l = 1: -log softmax at the label. Of (0, log 3): log 4, log 4/3.
    logits = np.float32([[0, np.log(3)], [0, np.log(3)]])
    labels = np.eye(2, dtype=np.float32)
    probs = mixmatch.co_guess([logits, logits])
    targets = mixmatch.sharpen(mixmatch.co_refine(1.0, labels, probs), 1.0)
    targets = mix_pairs(targets, targets, [1, 0], 1.0)
    found = mixmatch.labeled_losses(log_probabilities(logits), targets)
    np.testing.assert_allclose(found, np.log([4, 4 / 3]), rtol=1e-6)


def test_the_squared_error_is_a_mean_over_classes():
    # ((1 - 1/4)^2 + (0 - 3/4)^2) / 2
    log_probs = np.log(np.float32([[0.25, 0.75]]))
    found = mixmatch.unlabeled_losses(log_probs, np.float32([[1, 0]]))
    np.testing.assert_allclose(found, [0.5625], rtol=1e-6)


def test_no_penalty_where_all_classes_are_as_likely():
    # Sure rows, one a class: it balances the mean, and does not sharpen.
    logits = np.float32(np.eye(4) * 50)
    found = mixmatch.prior_penalty(log_probabilities(logits), mean)
    np.testing.assert_allclose(found, 0, atol=1e-6)
    # Of a mean of (1/4, 3/4): -log 2 - (log 1/4 + log 3/4) / 2 = log 2 - log(3) / 2.
    log_probs = np.log(np.float32([[0.25, 0.75]]))
    found = mixmatch.prior_penalty(log_probs, mean)
    np.testing.assert_allclose(found, np.log(2) - np.log(3) / 2, rtol=1e-5)


def test_a_part_of_the_rows_takes_part_in_the_penalty_of_all():
    # These are half of the rows; the mean of all four is uniform.
    mine, others = np.float32([[0.9, 0.1]] * 2), np.float32([[0.1, 0.9]] * 2)
    logits = tf.Variable(np.log(mine))

    def mean_of_all(values):
        return (ops.sum(values, axis=0) + others.sum(axis=0)) / 4

    with tf.GradientTape() as tape:
        penalty = mixmatch.prior_penalty(log_probabilities(logits), mean_of_all)
    np.testing.assert_allclose(penalty, 0, atol=1e-6)
    # d/dp_k = -(1/2) / (1/2) / 4 = -1/4 of each row and class: 0 along the simplex.
    np.testing.assert_allclose(tape.gradient(penalty, logits), 0 * mine, atol=1e-6)


@pytest.mark.parametrize("gap", [1e2, 1e4])
def test_far_logits_are_never_nan(gap):
    logits = tf.Variable([[gap, 0.0, 0.0], [gap, 0.0, -gap]])
    target = np.float32([[0, 0, 1], [1, 0, 0]])
    with tf.GradientTape() as tape:
        log_probs = log_probabilities(logits)
        parts = [
            mean_loss(mixmatch.labeled_losses(log_probs, target)),
            mean_loss(mixmatch.unlabeled_losses(log_probs, target)),
            mean_loss(mixmatch.negative_entropy(log_probs)),
            mixmatch.prior_penalty(log_probs, mean),
        ]
        loss = sum(parts)
    # -log p of the third class, the mean over two rows; (1 + 1) / 3, likewise; sure
    # rows have no entropy; and of the mean (1, 0, 0), the zeros count as 1e-30.
    expected = [gap / 2, 1 / 3, 0, -np.log(3) + 2 * 30 * np.log(10) / 3]
    np.testing.assert_allclose(parts, expected, rtol=1e-5, atol=1e-30)
    gradient = tape.gradient(loss, logits)
    # Cross entropy's: (p - t) / 2. Of L_U: p is where softmax does not move.
    np.testing.assert_allclose(gradient, [[0.5, 0, -0.5], [0, 0, 0]], atol=1e-6)


def test_the_negative_entropy_by_hand():
    # Of (1/4, 3/4): 1/4 log 1/4 + 3/4 log 3/4 = 3/4 log 3 - log 4; of uniform, -log 2.
    log_probs = np.log(np.float32([[0.25, 0.75], [0.5, 0.5]]))
    found = mixmatch.negative_entropy(log_probs)
    np.testing.assert_allclose(found, [0.75 * np.log(3) - np.log(4), -np.log(2)], 1e-6)


@pytest.mark.parametrize("loss", [mixmatch.labeled_losses, mixmatch.unlabeled_losses])
def test_no_rows_are_no_loss(loss):
    nothing = tf.zeros((0, 3))
    with tf.GradientTape() as tape:
        tape.watch(nothing)
        value = mean_loss(loss(log_probabilities(nothing), nothing))
    assert float(value) == 0.0
    assert tape.gradient(value, nothing).shape == (0, 3)
    for probs in (mixmatch.co_guess([nothing]), mixmatch.sharpen(nothing, 0.5)):
        assert probs.shape == (0, 3)
    refined = mixmatch.co_refine(tf.zeros((0, 1)), nothing, nothing)
    assert refined.shape == (0, 3)


@pytest.mark.parametrize(
    ("losses", "target", "expected", "slope"),
    [
        # -log 1/2, and p - t; of p log p, -log 2, which is least: its slope is 0.
        (mixmatch.labeled_losses, [1, 0, 0], np.log(2), [-0.5, 0.5, 0]),
        (mixmatch.labeled_losses, [0.5, 0.5, 0], np.log(2), [0, 0, 0]),
        (
            lambda log_probs, _: mixmatch.negative_entropy(log_probs),
            None,
            -np.log(2),
            0,
        ),
    ],
)
def test_a_class_that_a_mask_rules_out_costs_nothing(losses, target, expected, slope):
    logits = tf.Variable([[0.0, 0.0, -np.inf]])
    with tf.GradientTape() as tape:
        value = losses(log_probabilities(logits), np.float32([target or 0]))
    np.testing.assert_allclose(value, [expected], rtol=1e-6)
    gradient = tape.gradient(value, logits)[0]
    np.testing.assert_allclose(gradient, np.zeros(3) + slope, atol=1e-6)
