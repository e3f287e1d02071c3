import logging

import numpy as np
import pytest

from sop_keras.label_noise.symmetric import symmetric

NUM_EXAMPLES = 50_000
LABELS = np.arange(NUM_EXAMPLES) % 10
both_kinds = pytest.mark.parametrize("include_true_class", [True, False])


def within_standard_errors(realised, expected, num_draws, errors=4.0):
    """Whether frequencies of num_draws draws fit probabilities."""
    expected = np.asarray(expected)
    standard_error = np.sqrt(expected * (1 - expected) / num_draws)
    return np.all(np.abs(realised - expected) <= errors * standard_error)


@both_kinds
@pytest.mark.parametrize("rate", [0.2, 0.4, 0.6, 0.8])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_realised_rate_fits(rate, seed, include_true_class):
    noisy = symmetric(LABELS, rate, 10, seed, include_true_class=include_true_class)
    # A.2 redraws over all ten classes: one redrawn label in ten comes out right.
    expected = rate * 0.9 if include_true_class else rate
    assert within_standard_errors(noisy.noise_rate, expected, NUM_EXAMPLES)
    for label in range(10):
        rate_of_class = noisy.is_wrong[label == LABELS].mean()
        assert within_standard_errors(rate_of_class, expected, 5000)


@both_kinds
def test_the_matrix_fits(include_true_class):
    noisy = symmetric(LABELS, 0.4, 10, 0, include_true_class=include_true_class)
    # Over all: 1 - 0.4 + 0.04 stay, 0.04 go to each other class. Over the others:
    # 0.6 stay, 0.4 / 9 go to each.
    stay, go = (0.64, 0.04) if include_true_class else (0.6, 0.4 / 9)
    expected = np.full((10, 10), go)
    np.fill_diagonal(expected, stay)
    assert within_standard_errors(noisy.transition_matrix, expected, 5000)


@both_kinds
def test_targets_do_not_depend_on_the_true_class(include_true_class):
    noisy = symmetric(LABELS, 1.0, 10, 0, include_true_class=include_true_class)
    counts = np.bincount((noisy.labels - LABELS) % 10, minlength=10)
    # Rate 1: steps from the true class are uniform over 0..9, or over 1..9.
    support = counts if include_true_class else counts[1:]
    assert include_true_class or counts[0] == 0
    expected = NUM_EXAMPLES / len(support)
    freedom = len(support) - 1  # chi-square: mean d, variance 2 d
    statistic = np.sum((support - expected) ** 2) / expected
    assert statistic < freedom + 4.5 * np.sqrt(2 * freedom)


@both_kinds
def test_rate_zero_changes_nothing_and_rate_one_redraws_all(include_true_class):
    none = symmetric(LABELS, 0.0, 10, 0, include_true_class=include_true_class)
    np.testing.assert_array_equal(none.labels, LABELS)
    assert none.noise_rate == 0.0
    every = symmetric(LABELS, 1.0, 10, 0, include_true_class=include_true_class)
    expected = 0.9 if include_true_class else 1.0
    assert within_standard_errors(every.noise_rate, expected, NUM_EXAMPLES)


@both_kinds
def test_a_label_hangs_on_seed_and_id_alone(include_true_class):
    def draw(positions):
        return symmetric(
            LABELS[positions],
            0.5,
            10,
            seed=7,
            include_true_class=include_true_class,
            ids=positions,
        ).labels

    whole = draw(np.arange(NUM_EXAMPLES))
    shuffled = np.random.default_rng(0).permutation(NUM_EXAMPLES)
    np.testing.assert_array_equal(draw(shuffled), whole[shuffled])
    subset = shuffled[:1234]
    np.testing.assert_array_equal(draw(subset), whole[subset])
    for shard in range(4):
        positions = np.arange(shard, NUM_EXAMPLES, 4)
        np.testing.assert_array_equal(draw(positions), whole[positions])
    for example in (0, 17, NUM_EXAMPLES - 1):
        assert draw(np.array([example]))[0] == whole[example]


def test_the_true_mask_and_labels_belong_together():
    noisy = symmetric(LABELS, 0.3, 10, 0)
    np.testing.assert_array_equal(noisy.clean_labels, LABELS)
    np.testing.assert_array_equal(noisy.is_wrong, noisy.labels != LABELS)


def test_seeds_draw_independently():
    masks = [
        symmetric(LABELS, 0.5, 10, seed, include_true_class=False).is_wrong
        for seed in (0, 1)
    ]
    # Both wrong: 0.5 * 0.5.
    assert within_standard_errors(np.mean(masks[0] & masks[1]), 0.25, NUM_EXAMPLES)


@both_kinds
def test_a_higher_rate_adds_wrong_labels_and_keeps_the_old_ones(include_true_class):
    low, high = (
        symmetric(LABELS, rate, 10, 0, include_true_class=include_true_class)
        for rate in (0.2, 0.5)
    )
    np.testing.assert_array_equal(high.labels[low.is_wrong], low.labels[low.is_wrong])
    assert high.is_wrong.sum() > low.is_wrong.sum()


def test_two_classes_flip_to_each_other():
    labels = np.arange(100) % 2
    noisy = symmetric(labels, 1.0, 2, 0, include_true_class=False)
    np.testing.assert_array_equal(noisy.labels, 1 - labels)


def test_it_logs_what_it_drew(caplog):
    with caplog.at_level(logging.INFO, logger="sop_keras.label_noise"):
        noisy = symmetric(LABELS, 0.4, 10, 0)
    wrong = int(np.sum(noisy.labels != LABELS))
    assert f"symmetric label noise: {wrong} of 50000 labels are wrong" in caplog.text
    assert f"({wrong / 500:.2f}%)" in caplog.text
