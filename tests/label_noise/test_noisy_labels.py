import logging

import numpy as np
import pytest

from sop_keras.label_noise.noisy_labels import NoisyLabels

CLEAN = np.array([0, 0, 0, 0, 1, 1, 3])
NOISY = np.array([0, 1, 1, 3, 1, 0, 3])


def test_what_follows_from_the_labels():
    noisy = NoisyLabels(CLEAN.astype(np.int32), NOISY.astype(np.uint8), 4)
    assert len(noisy) == 7
    assert noisy.labels.dtype == noisy.clean_labels.dtype == np.int64
    assert noisy.is_wrong.dtype == bool
    assert noisy.is_wrong.tolist() == [False, True, True, True, False, True, False]
    assert noisy.noise_rate == 4 / 7
    # Class 0: one of four stays, two become 1, one becomes 3. Class 2 has no examples.
    np.testing.assert_array_equal(
        noisy.transition_matrix,
        [[0.25, 0.5, 0, 0.25], [0.5, 0.5, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]],
    )


def test_it_leaves_the_callers_arrays_alone():
    clean, labels = CLEAN.copy(), NOISY.copy()
    noisy = NoisyLabels(clean, labels, 4)
    labels[:] = 0
    clean[:] = 0
    assert noisy.labels.tolist() == NOISY.tolist()
    assert noisy.clean_labels.tolist() == CLEAN.tolist()


def test_the_log_shows_the_rate_and_the_matrix(caplog):
    with caplog.at_level(logging.INFO, logger="sop_keras.label_noise"):
        NoisyLabels(CLEAN, NOISY, 4).log("human")
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("sop_keras.label_noise", "INFO")
    # 4 / 7 = 0.571428...
    assert record.getMessage() == (
        "human label noise: 4 of 7 labels are wrong (57.14%); "
        "true class (row) to label (column):\n"
        "[[0.250 0.500 0.000 0.250]\n"
        " [0.500 0.500 0.000 0.000]\n"
        " [0.000 0.000 0.000 0.000]\n"
        " [0.000 0.000 0.000 1.000]]"
    )


def test_the_log_of_twenty_classes_shows_every_entry(caplog):
    labels = np.arange(20)
    with caplog.at_level(logging.INFO, logger="sop_keras.label_noise"):
        NoisyLabels(labels, labels, 20).log("no")
    assert caplog.text.count("1.000") == 20
    assert caplog.text.count("0.000") == 380


def test_the_log_of_many_classes_counts_pairs(caplog):
    # Wrong: 0 to 1 twice, 1 to 0, 3 to 20: three pairs.
    clean = np.array([0, 0, 0, 1, 3, 4])
    labels = np.array([0, 1, 1, 0, 20, 4])
    with caplog.at_level(logging.INFO, logger="sop_keras.label_noise"):
        NoisyLabels(clean, labels, 21).log("human")
    assert [record.getMessage() for record in caplog.records] == [
        "human label noise: 4 of 6 labels are wrong (66.67%); "
        "3 pairs (true class, wrong label)"
    ]


def test_the_log_of_very_many_classes_makes_no_matrix(caplog):
    # Of 2^31 classes, a matrix would have 2^62 entries.
    clean, labels = np.array([0, 5, 2**31 - 1]), np.array([0, 2**31 - 1, 5])
    with caplog.at_level(logging.INFO, logger="sop_keras.label_noise"):
        NoisyLabels(clean, labels, 2**31).log("human")
    assert "2 of 3 labels are wrong (66.67%); 2 pairs (true" in caplog.text


def test_labels_of_different_examples_are_refused():
    with pytest.raises(ValueError, match="7 clean labels and 6 noisy ones"):
        NoisyLabels(CLEAN, NOISY[1:], 4)


@pytest.mark.parametrize("which", ["clean_labels", "labels"])
def test_both_kinds_of_labels_are_checked(which):
    labels = {"clean_labels": CLEAN, "labels": NOISY, which: NOISY + 1}
    with pytest.raises(ValueError, match=r"must lie in \[0, 4\).* from 1 to 4"):
        NoisyLabels(**labels, num_classes=4)
