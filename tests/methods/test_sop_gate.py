"""Tests of `sop_keras.methods.sop_gate`, against slow loops and by hand."""

import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from scipy.special import expit, logit
from slow_gate import SlowGate, ramp

from sop_keras.methods import sop_gate
from sop_keras.methods.sop_doubts import GATE_WIDEST

K, N = 6, 40

update = tf.function(sop_gate.updated_state)


def seen_by(batches, num_classes=K, num_examples=N):
    state, total = sop_gate.first_state(num_classes), 0
    for probs, labels, counts in batches:
        probs = np.float32(probs)
        one_hot = np.eye(num_classes, dtype=np.float32)
        said = sop_gate.what_is_said(
            probs, one_hot[probs.argmax(axis=-1)], one_hot[labels]
        )
        counts = np.float32(counts)
        mean = np.mean(probs * counts[:, None], axis=0)
        new = np.float32(min(counts.sum(), max(num_examples - total, 0)))
        total += counts.sum()
        state = update(state, said, counts, new, np.float32(mean), num_examples)
    return state


def batches_of(rng, steps, sharpness, noise, size=8):
    """A network that knows the true class, with labels of which some are random."""
    for step in range(steps):
        true = rng.integers(0, K, size)
        logits = rng.standard_normal((size, K)) + sharpness(step) * np.eye(K)[true]
        labels = np.where(rng.random(size) < noise, rng.integers(0, K, size), true)
        probs = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
        yield np.float32(probs), labels, np.ones(size)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_the_state_is_that_of_slow_loops(noise):
    rng = np.random.default_rng(3)
    batches = list(batches_of(rng, 40, lambda step: min(step / 4, 3), noise))
    batches[7][2][:3] = 0  # of weight 0
    slow = SlowGate(K, N)
    openings = []
    for number, batch in enumerate(batches):
        slow.see(np.float64(batch[0]), *batch[1:])
        if number % 6 == 5:
            gate = sop_gate.gate_of(seen_by(batches[: number + 1]))
            openings.append(float(gate.opening))
            assert openings[-1] == pytest.approx(slow.opening(), abs=2e-3)
            assert float(gate.visits) == pytest.approx(slow.visits, rel=1e-5)
            assert float(gate.contradicted) == pytest.approx(
                slow.contradicted()[0], abs=1e-4
            )
            amount, mean, deviation = slow.of_agreeing()
            below = 0.4 + 0.6 * ramp(slow.progress(), 1.02, 1.12)
            known = amount > 1e-3
            believed = (mean - below * deviation)[known]
            np.testing.assert_allclose(
                np.asarray(gate.believed)[known], believed, atol=2e-3
            )
            of_all = logit(slow.mean(lambda label, predicted, p, *_: p))[known]
            np.testing.assert_allclose(
                np.asarray(gate.boundary)[known],
                believed - (believed - of_all) / 3,
                atol=2e-3,
            )
    assert (max(openings) > 0.5) == (noise > 0)  # and both sides are tried


@pytest.mark.parametrize("num_classes", [30, 40])
@pytest.mark.parametrize("noise", [0.0, 0.4])
def test_of_many_classes_labels_at_random_are_told_while_others_are_learnt(
    noise, num_classes
):
    # 6 groups of 5 classes: the group is known, the class is being learnt. Agreement
    # grows faster from visit to visit than the gate lets pass, unless labels are among
    # the least likely fifth about as often as by chance. 10 of 40 classes have no
    # labels, and are known to be unlikely.
    rng = np.random.default_rng(5)
    slow, batches, fast = SlowGate(num_classes, 400), [], []
    for step in range(50):
        strength = 0.2 + step / 20
        true = rng.integers(0, 30, 80)
        logits = rng.standard_normal((80, num_classes))
        logits += strength * np.eye(num_classes)[true]
        logits[:, 30:] -= 20
        group = np.arange(num_classes) // 5 == true[:, None] // 5
        probs = np.exp(strength * logits + 3 * group)
        random = rng.integers(0, 30, 80)
        labels = np.where(rng.random(80) < noise, random, true)
        probs = np.float32(probs / probs.sum(axis=-1, keepdims=True))
        batches.append((probs, labels, np.ones(80)))
        slow.see(np.float64(probs), labels, np.ones(80))
        if step > 14 and step % 3 == 0:
            seen = seen_by(batches, num_classes, 400)
            opening = float(sop_gate.gate_of(seen).opening)
            assert opening == pytest.approx(slow.opening(), abs=5e-3)
            assert float(seen["gate_widest"]) == pytest.approx(slow.widest, abs=5e-3)
            fast.append((slow.progress() > 1.12, opening))
    opened = [opening > 0.5 for is_fast, opening in fast if is_fast]
    assert len(opened) > 2
    assert any(opened) == (noise > 0)


def state_of(progress, surely, contradicted, far, used=30):
    """After 4 visits, 100 examples of 30 classes in the window, of a sharpness of 1."""
    state = sop_gate.first_state(30)
    state["gate_classes"][:used, 6] = 100 / used
    state["gate_classes"][:, 7] = 100 / 30
    # mean p_c and the frequencies of labels: their product sums up to 1/30, as squares.
    of_given = 100 * (0.5 + 1 / 30)
    totals = [100, of_given, of_given, surely, contradicted, far]
    state["gate_totals"][:] = [*totals, 50 * progress, 100, 0.5, 4, 30, 0]
    return state


def test_what_tells_labels_at_random_of_many_classes_by_hand():
    # e = 0.5 - 0.025; f = 16/200 * 29/6 = 0.38667, less a standard error of 1/4 of it.
    # e f = 0.18367 opens it; 0.13775 is (0.13775 - 0.08) / 0.06 of surely at random, by
    # which progress of 1.2 is no more in the way: the bounds begin at 1.386.
    gate = sop_gate.gate_of(state_of(1.2, 400, 200, 16))
    assert float(gate.at_random) == pytest.approx(0.9625, rel=1e-4)
    assert float(gate.opening) == pytest.approx(1.0)
    # e = 0.8 - 0.02: 0.46667 of the way from 0.85 to 0.7. e f = 0.29453: bounds of 1.08
    # and 1.16, and 0.46667 of the way to 1.4 and 1.6, 1.22933 and 1.36533.
    gate = sop_gate.gate_of(state_of(1.3, 400, 320, 25))
    assert float(gate.opening) == pytest.approx(1 - 0.07067 / 0.136, abs=1e-4)
    # Of 20 classes that have labels, 4 are far: f = 16/200 * 19/4, and 1.2 is too fast.
    assert float(sop_gate.gate_of(state_of(1.2, 400, 200, 16, 20)).opening) == 0
    gate = sop_gate.gate_of(state_of(1.0, 400, 200, 16, 20))
    assert float(gate.at_random) == pytest.approx((0.475 * 0.38 * 0.75 - 0.08) / 0.06)


def test_visits_are_of_the_examples_that_are_trained_on():
    # 40 examples of a table of 400, three passes of 5 steps: 1 visit while all are new,
    # 3 at the end; in windows of as many steps as if the table had 40 rows.
    rng = np.random.default_rng(6)
    batches = list(batches_of(rng, 15, lambda step: 2.0, 0.5))
    states = [sop_gate.first_state(K) for _ in range(2)]
    for number, (probs, labels, counts) in enumerate(batches):
        one_hot = np.eye(K, dtype=np.float32)
        said = sop_gate.what_is_said(
            probs, one_hot[probs.argmax(axis=-1)], one_hot[labels]
        )
        new = np.float32(8 if number < 5 else 0)
        mean = np.float32(probs.mean(axis=0))
        states = [
            update(state, said, np.float32(counts), new, mean, rows)
            for state, rows in zip(states, (40, 400), strict=True)
        ]
        visits = float(sop_gate.gate_of(states[1]).visits)
        assert visits == pytest.approx(max(1.0, (number + 1) / 5), rel=1e-5)
    for name, values in states[0].items():
        np.testing.assert_allclose(states[1][name], values, rtol=1e-5, err_msg=name)
    # Of a file without their number: all of the table were.
    old = {**states[0], "gate_examples": np.float32(0)}
    old = update(old, said, np.float32(counts), np.float32(0), mean, 40)
    assert float(sop_gate.gate_of(old).visits) == pytest.approx(3.2, rel=1e-5)


def test_examples_that_the_network_overflowed_on_do_not_count():
    probs = np.float32([[0.5, 0.5], [np.nan, np.nan], [1.0, 0.0]])
    counts = sop_gate.which_count(probs, None)
    assert np.asarray(counts).tolist() == [[1], [0], [1]]
    counts = sop_gate.which_count(probs, np.float32([[0], [1], [2]]))
    assert np.asarray(counts).tolist() == [[0], [0], [1]]


def test_the_gate_stays_shut_before_the_network_has_learnt():
    # At chance, nearly all labels contradict the network, the surest predictions too.
    rng = np.random.default_rng(0)
    at_chance = seen_by(batches_of(rng, 200, lambda step: 0.0, 0.0))
    gate = sop_gate.gate_of(at_chance)
    assert float(gate.contradicted) > 0.6
    assert float(gate.opening) == 0.0


def test_hard_right_labels_do_not_open_it():
    # A network that mistakes every second class for its neighbour, which it gives
    # nearly as much: labels contradict half of its surest predictions, but never by a
    # class that it thinks unlikely.
    rng = np.random.default_rng(1)
    batches = []
    for _ in range(60):
        labels = rng.integers(0, K, 8)
        logits = 2.0 * np.eye(K)[labels] + 1.9 * np.eye(K)[labels ^ 1]
        logits += 0.15 * rng.standard_normal((8, K)) * np.eye(K)[labels]
        probs = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
        batches.append((probs, labels, np.ones(8)))
    # Up to 3 visits; later, so large a share counts whatever the labels are.
    assert float(sop_gate.gate_of(seen_by(batches[:14])).opening) == 0.0


def test_wrong_labels_learnt_by_heart_do_not_shut_it():
    # 40 steps of a network that half of the labels contradict, then 40 in which it
    # agrees with all: none contradicts it any more, and all are past progress.
    rng = np.random.default_rng(4)
    batches = list(batches_of(rng, 40, lambda step: min(step / 4, 3), 0.5))
    for _ in range(40):
        labels = rng.integers(0, K, 8)
        logits = rng.standard_normal((8, K)) + 12.0 * np.eye(K)[labels]
        probs = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
        batches.append((probs, labels, np.ones(8)))
    gate = sop_gate.gate_of(seen_by(batches))
    assert float(gate.contradicted) < 0.01
    assert float(gate.opening) > 0.5
    assert sop_gate.figures(seen_by(batches))[GATE_WIDEST] > 0.35
    # Of the same labels alone, it never opens.
    assert sop_gate.figures(seen_by(batches[40:]))[GATE_WIDEST] == 0


def test_two_classes_have_no_less_likely_half():
    # Of two classes, a contradicting label is the one other: only by a share of 0.34
    # and more, and after 3 visits, does it open. 45 of 100 labels are wrong at random.
    rng = np.random.default_rng(2)
    batches = []
    for _ in range(100):
        true = rng.integers(0, 2, 20)
        odds = (2 * true - 1) * 0.4 + 0.2 * rng.standard_normal(20)
        labels = np.where(rng.random(20) < 0.45, 1 - true, true)
        probs = np.stack([1 - expit(odds), expit(odds)], axis=-1)
        batches.append((probs, labels, np.ones(20)))
    opening = [
        float(sop_gate.gate_of(seen_by(batches[:n], 2, 400)).opening) for n in (55, 100)
    ]
    assert opening[0] == 0.0  # 2.75 visits
    assert opening[1] > 0


def test_steps_by_hand():
    gate = sop_gate.Gate(
        opening=0.5,
        classes=np.float32([1, 0, 1]),
        believed=np.float32(logit([0.9, 0.9, 0.9])),
        boundary=np.float32(logit([0.5, 0.5, 0.8])),
        visits=4.0,
        at_random=0.0,
        contradicted=0.0,
    )
    labels = np.eye(3, dtype=np.float32)
    given = np.float32([[0.3], [0.2], [0.8]])
    # L / t = ln(10^4) / 4 = 2.302585; R = (0.7 / 0.3) / 1 = 2.3333, whose power is
    # e^(2.302585 * 0.847298) = 7.0355, so that x = 0.5 * 6.0355 = 3.0178; 0 for a class
    # that is not learnt, and where R = 1.
    found = sop_gate.steps(gate, given, labels, labels[[1, 2, 0]])
    np.testing.assert_allclose(found, [[3.017773], [0], [0]], atol=2e-5)
    # R = 1/4: log R at least -0.3, so that e^(-0.6907755) - 1 = -0.498813. R = 100: far
    # beyond 8.
    given = np.float32([[0.8], [0.2], [0.8 / 20.8]])
    found = sop_gate.steps(gate, given, labels, labels[[1, 2, 0]])
    np.testing.assert_allclose(found, [[-0.249406], [0], [4]], atol=2e-5)
    # Where the network predicts the label, a row shrinks and does not grow.
    found = sop_gate.steps(gate, given, labels, labels)
    np.testing.assert_allclose(found, [[-0.249406], [0], [0]], atol=2e-5)


@pytest.mark.parametrize("init_std", [1e-8, 1e-4, 0.1])
def test_rows_end_at_1_wherever_they_began(init_std):
    # (1 + 9)^4 = 1 / GIVEN_UP: four such steps take init_std to 1, and no further.
    row = np.float32([[init_std, -init_std, init_std, 0.0]])
    step = np.float32([[9.0, 9.0, 0.0, 0.0]])
    for number in range(1, 4):
        row = np.asarray(sop_gate.grown(row, step, init_std))
        expected = init_std ** (1 - number / 4)
        np.testing.assert_allclose(row[0, :2], expected, rtol=1e-5)
    row = np.asarray(sop_gate.grown(row, step, init_std))
    np.testing.assert_allclose(row[0, :2], 1, rtol=1e-5)
    assert np.asarray(sop_gate.grown(row, step, init_std))[0, 0] == 1
    assert row[0, 2:].tolist() == [np.float32(init_std), 0]  # step 0: as they are
    # Shrinking by 1 - 0.5 halves the progress's factor, and ends at init_std / 2.
    for _ in range(40):
        row = np.asarray(sop_gate.grown(row, np.float32([[-0.5] * 4]), init_std))
    np.testing.assert_allclose(row, init_std / 2, rtol=1e-5)


def test_operations_take_tensors_of_the_backend():
    state = {
        name: ops.convert_to_tensor(one)
        for name, one in sop_gate.first_state(3).items()
    }
    gate = sop_gate.gate_of(state)
    assert float(gate.opening) == 0.0
    assert not np.asarray(gate.classes).any()
