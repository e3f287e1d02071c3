import numpy as np
import pytest
from array_rows import ArrayRows

from sop_keras.auditing import feature_rows
from sop_keras.auditing.outliers import find_outliers


def slow_scores(array, labels):
    """Weighted least squares with rows for the ridge, in float64."""
    array = np.asarray(array, np.float64)
    mean, std = array.mean(0), array.std(0)
    n, d = array.shape
    classes = sorted(set(labels.tolist()))
    columns, targets = [], []
    for row, label in zip(array, labels, strict=True):
        weight = np.sqrt(n / len(classes) / (labels == label).sum())
        columns.append(weight * np.append((row - mean) / std, 1))
        targets.append(weight * np.array([label == one for one in classes], float))
    for feature in range(d):
        columns.append(np.sqrt(0.1 * n) * np.eye(d + 1)[feature])
        targets.append(np.zeros(len(classes)))
    weights, *_ = np.linalg.lstsq(np.array(columns), np.array(targets), rcond=None)
    evidence = [
        max(np.append((row - mean) / std, 1) @ weights) - 1 / len(classes)
        for row in array
    ]
    return 1 - np.array(evidence) / np.median(evidence)


@pytest.mark.parametrize("block", [7 * 11, 10**6])
def test_like_slow_least_squares_whatever_the_blocks(block, monkeypatch):
    monkeypatch.setattr(feature_rows, "_BLOCK_NUMBERS", block)
    draw = np.random.default_rng(0)
    # Classes of different sizes, with numbers that leave some out.
    labels = np.array([2] * 60 + [3] * 25 + [9] * 15)
    array = draw.normal(size=(100, 7)) * [1, 2, 3, 1, 1, 10, 1] + labels[:, None]
    outliers = find_outliers(ArrayRows(array), labels)
    np.testing.assert_allclose(
        outliers.outlier_score, slow_scores(array, labels), atol=2e-5
    )
    assert outliers.outlier_score.dtype == np.float32
    assert outliers.is_outlier.dtype == bool


def test_blocks_are_small_where_classes_are_many(monkeypatch):
    monkeypatch.setattr(feature_rows, "_BLOCK_NUMBERS", 1000)
    seen = []

    class Seen(ArrayRows):
        def take(self, positions):
            seen.append(len(positions))
            return super().take(positions)

    array = np.random.default_rng(0).normal(size=(200, 2))
    find_outliers(Seen(array), np.arange(200) % 50)
    # After the sample of all: 1,000 numbers are 20 examples of 50 classes, twice.
    assert seen == [200] + 20 * [20]


def test_by_hand():
    # One feature, -1 for class 0 and 1 for class 1, a class twice as large as the other
    # would be; and an example of each in the middle. Standardised, x = +-s or 0, with
    # 4 s**2 = 6. The regression of y_1 - 1/2 on x has the slope
    # (4 s / 2) / (4 s**2 + 0.6) > 0, and no constant, so that the evidence is
    # slope s for four of six, the median too, and 0 for the two.
    array = np.array([[-1], [-1], [0], [1], [1], [0]])
    outliers = find_outliers(ArrayRows(array), np.array([0, 0, 0, 1, 1, 1]))
    np.testing.assert_allclose(
        outliers.outlier_score, [0, 0, 1, 0, 0, 1], rtol=0, atol=1e-6
    )
    # Of two classes none is marked.
    assert not outliers.is_outlier.any()


def planted(num_classes, noise, draw):
    """Classes around axes of their own, and 60 examples around none of them."""
    n = 300 * num_classes
    labels = np.repeat(np.arange(num_classes), 300)
    array = draw.normal(size=(n + 60, 64))
    array[np.arange(n), labels] += 20
    labels = np.append(labels, draw.integers(0, num_classes, 60))
    is_wrong = draw.random(len(labels)) < noise
    labels[is_wrong] = draw.integers(0, num_classes, is_wrong.sum())
    return array, labels


@pytest.mark.parametrize(
    ("num_classes", "noise", "least_found"),
    [(3, 0, 0.6), (3, 0.4, 0.2), (10, 0, 0.9), (10, 0.4, 0.5), (20, 0, 0.9)],
)
def test_planted_outliers_are_marked(num_classes, noise, least_found):
    array, labels = planted(num_classes, noise, np.random.default_rng(1))
    outliers = find_outliers(ArrayRows(array), labels)
    scores = outliers.outlier_score
    # AUROC, by comparing each with each.
    auroc = (scores[-60:, None] > scores[:-60]).mean()
    assert auroc > 0.99
    assert outliers.is_outlier[:-60].mean() < 0.005
    assert abs(np.median(scores)) < 1e-6
    least = 0.85 if num_classes < 10 else 0.8
    np.testing.assert_array_equal(outliers.is_outlier, scores > least)
    assert outliers.is_outlier[-60:].mean() > least_found


def test_a_rare_class_is_no_outlier():
    array, labels = planted(10, 0, np.random.default_rng(2))
    keep = (labels != 0) | (np.arange(len(labels)) < 10)
    outliers = find_outliers(ArrayRows(array[keep]), labels[keep])
    assert not outliers.is_outlier[:10].any()


def test_features_that_say_nothing_of_the_labels_mark_few():
    draw = np.random.default_rng(3)
    outliers = find_outliers(
        ArrayRows(draw.normal(size=(3000, 20))), draw.integers(0, 10, 3000)
    )
    assert np.isfinite(outliers.outlier_score).all()
    assert outliers.is_outlier.mean() < 0.005


def test_two_examples():
    outliers = find_outliers(ArrayRows([[0, 1], [1, 3]]), np.array([0, 1]))
    np.testing.assert_allclose(outliers.outlier_score, [0, 0], atol=1e-6)


def test_features_that_do_not_vary_change_nothing():
    draw = np.random.default_rng(4)
    array, labels = draw.normal(size=(60, 3)), np.arange(60) % 3
    more = np.concatenate([array, np.full((60, 2), 0.1)], axis=1)
    plain, found = (find_outliers(ArrayRows(one), labels) for one in (array, more))
    np.testing.assert_allclose(found.outlier_score, plain.outlier_score, atol=1e-5)


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        ([0, 0, 0, 0], "must be of two at least. Received: 1"),
        ([0, 1, 0], r"must be 4 integers, .* Received: int64 of shape \(3,\)"),
        ([0.0, 1, 0, 1], "Received: float64"),
        ([[0], [1], [0], [1]], r"of shape \(4, 1\)"),
    ],
)
def test_labels_are_checked(labels, match):
    with pytest.raises(ValueError, match=match):
        find_outliers(ArrayRows(np.eye(4)), np.array(labels))


def test_features_that_are_not_finite_or_all_the_same():
    labels = np.array([0, 1, 1])
    with pytest.raises(ValueError, match="first for the example at place 1"):
        find_outliers(ArrayRows([[0, 1], [np.nan, 1], [1, 1]]), labels)
    with pytest.raises(ValueError, match="All examples have the same features"):
        find_outliers(ArrayRows(np.ones((3, 3))), labels)
