import numpy as np
import pytest
from array_rows import ArrayRows

from sop_keras.auditing import feature_rows, near_duplicates
from sop_keras.auditing.near_duplicates import (
    contradictory_groups,
    duplicate_groups,
    find_duplicates,
)


def with_cosine(rows, cosine, draw):
    """Rows of the same length, each at this cosine to one of `rows`."""
    noise = draw.normal(size=rows.shape)
    noise -= (noise * rows).sum(1, keepdims=True) / (rows**2).sum(1)[:, None] * rows
    lengths = np.linalg.norm(rows, axis=1) / np.linalg.norm(noise, axis=1)
    return cosine * rows + np.sqrt(1 - cosine**2) * noise * lengths[:, None]


def test_by_hand():
    # Mean 0 and standard deviation 1 as they stand: cosines of 0 and -1, but for 1 of
    # the equal ones.
    array = [[1, 1], [1, -1], [-1, 1], [-1, -1], [-1, 1], [1, 1], [1, -1], [-1, -1]]
    groups = duplicate_groups(ArrayRows(array))
    assert groups.tolist() == [0, 1, 2, 3, 2, 0, 1, 3]
    assert groups.dtype == np.int64
    labels = np.array([5, 1, 7, 0, 7, 4, 1, 2])
    assert contradictory_groups(groups, labels).tolist() == [0, 3]


def test_planted_copies_are_found_and_nothing_else():
    draw = np.random.default_rng(0)
    # Cosines of unrelated rows are 0 on average, 1 / sqrt(200) = 0.07 in deviation.
    array = draw.normal(size=(4000, 200))
    array[3000:3300] = with_cosine(array[:300], 0.95, draw)
    array[3300:3600] = array[300:600]
    array[3600:3800] = with_cosine(array[600:800], 0.8, draw)
    groups = duplicate_groups(ArrayRows(array))
    assert (groups[3300:3600] == groups[300:600]).all()
    assert (groups[300:600] >= 0).all()
    is_found = (groups[3000:3300] == groups[:300]) & (groups[:300] >= 0)
    assert is_found.mean() >= 0.97
    others = np.r_[600:3000, 3600:4000]
    assert (groups[others] == -1).all()
    assert np.bincount(groups[groups >= 0]).tolist() == [2] * (groups.max() + 1)
    # Numbers are in the order of their first examples.
    firsts = [np.argmax(groups == number) for number in range(groups.max() + 1)]
    assert firsts == sorted(firsts)


def test_what_is_joined_over_others_is_one_group():
    # On a circle, 20 degrees apart: cos(20) = 0.94 between two that are next to each
    # other, cos(40) = 0.77 between others. The mean is 0, both deviations are equal.
    angles = np.radians(np.arange(18) * 20.0)
    circle = ArrayRows(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    assert duplicate_groups(circle).tolist() == [0] * 18
    assert duplicate_groups(circle, least_similarity=0.95).tolist() == [-1] * 18


def apart(num_near):
    """Of 100 rows of 200 numbers, so many pairs at a cosine of 0.97, and two equal."""
    draw = np.random.default_rng(3)
    array = draw.normal(size=(100, 200))
    array[50 : 50 + num_near] = with_cosine(array[:num_near], 0.97, draw)
    array[48] = array[49]
    return ArrayRows(array.astype(np.float32))


def test_more_than_a_fifth_that_are_near_are_no_copies():
    # Ten pairs are twenty of a hundred, and counted as copies; eleven are not.
    found = find_duplicates(apart(10))
    assert (found.near_share, found.are_equal) == (0.2, False)
    assert found.groups.max() == 10
    found = find_duplicates(apart(11))
    assert (found.near_share, found.are_equal) == (0.22, True)
    assert np.flatnonzero(found.groups == 0).tolist() == [48, 49]
    assert found.groups.max() == 0


@pytest.mark.parametrize("num_features", [1, 2, 3, 8, 64])
def test_classes_far_apart_are_not_one_image(num_features):
    # Ten Gaussian classes, standard deviations of 1 and centres of 10.
    draw = np.random.default_rng(0)
    array = 10 * draw.normal(size=(10, num_features))[np.arange(500) % 10]
    array += draw.normal(size=(500, num_features))
    array[7] = array[3]
    found = find_duplicates(ArrayRows(array.astype(np.float32)))
    assert found.near_share > 0.5
    assert np.flatnonzero(found.groups >= 0).tolist() == [3, 7]


def test_data_that_are_there_twice_are_copies():
    array = np.random.default_rng(0).normal(size=(50, 60))
    found = find_duplicates(ArrayRows(np.concatenate([array, array])))
    assert found.near_share == 0
    assert found.groups.tolist() == [*range(50), *range(50)]


def slow_groups(array, least):
    """By comparing all pairs, in float64."""
    array = (array - array.mean(0)) / array.std(0)
    array /= np.linalg.norm(array, axis=1, keepdims=True)
    group = np.arange(len(array))
    for one in range(len(array)):
        for other in range(one):
            if array[one] @ array[other] >= least:
                group[group == group[one]] = group[other]
    return group


def test_like_all_pairs_in_many_cells(monkeypatch):
    monkeypatch.setattr(near_duplicates, "_CELL_SIZE", 20)
    monkeypatch.setattr(near_duplicates, "_BLOCK_NUMBERS", 500)
    monkeypatch.setattr(near_duplicates, "_PAIRS_READ", 7)
    monkeypatch.setattr(feature_rows, "_BLOCK_NUMBERS", 30 * 150)
    draw = np.random.default_rng(1)
    array = draw.normal(size=(400, 150))
    for start in (100, 200, 300):
        array[start : start + 30] = with_cosine(array[:30], 0.97, draw)
    array = array.astype(np.float32)
    features = ArrayRows(array)
    groups = duplicate_groups(features)
    expected = slow_groups(array.astype(np.float64), 0.9)
    assert (groups[:30] == groups[100:130]).mean() >= 0.9
    # Nothing is joined that is not there, and little is missed of 90 pairs and more.
    same = groups[:, None] == groups
    same &= (groups >= 0)[:, None] & ~np.eye(400, dtype=bool)
    there = (expected[:, None] == expected) & ~np.eye(400, dtype=bool)
    assert there.sum() == 30 * 4 * 3
    assert not (same & ~there).any()
    assert (same & there).sum() >= 0.95 * there.sum()


def test_many_equal_and_many_nearly_equal_ones_cost_no_pairs():
    draw = np.random.default_rng(2)
    array = draw.normal(size=(6000, 8))
    array[:2000] = array[0]
    array[2000:4000] = array[2000] + draw.normal(0, 1e-3, (2000, 8))
    groups = duplicate_groups(ArrayRows(array), least_similarity=0.999)
    assert (groups[:2000] == 0).all()
    assert (groups[2000:4000] >= 1).all()


def test_the_seed_is_of_the_signs_and_cells():
    draw = np.random.default_rng(3)
    array = draw.normal(size=(50, 300))
    features, scale = ArrayRows(array), feature_rows.scale_of(array)
    one, again, other = (
        near_duplicates._codes(features, scale, seed)[0] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0.1
    # Johnson and Lindenstrauss: cosines are kept, but for 1 / sqrt(128) = 0.09.
    standard = (array - array.mean(0)) / array.std(0)
    standard /= np.linalg.norm(standard, axis=1, keepdims=True)
    error = (one @ one.T - standard @ standard.T)[~np.eye(50, dtype=bool)]
    assert abs(error.mean()) < 0.02
    assert 0.07 < error.std() < 0.11


def test_an_example_at_the_mean_is_like_none():
    array = [[0, 0], [1, 1], [-1, -1], [0, 0]]
    # But equal to another.
    assert duplicate_groups(ArrayRows(array)).tolist() == [0, -1, -1, 0]


def test_two_examples():
    assert duplicate_groups(ArrayRows([[0, 1], [1, 3]])).tolist() == [-1, -1]


def test_examples_without_a_group_contradict_nobody():
    groups = np.array([-1, -1, 0, 0, 1, 1])
    assert contradictory_groups(groups, np.array([0, 1, 2, 2, 3, 4])).tolist() == [1]
    assert contradictory_groups(groups[:2], np.array([0, 1])).tolist() == []


def test_labels_of_another_number():
    with pytest.raises(ValueError, match=r"Received shapes: \(3,\) and \(2,\)"):
        contradictory_groups(np.zeros(3, int), np.zeros(2, int))


@pytest.mark.parametrize("least", [1.5, -0.1, np.nan, "0.9"])
def test_a_similarity_that_is_none(least):
    with pytest.raises(ValueError, match=r"`least_similarity` must be a number in"):
        duplicate_groups(ArrayRows(np.eye(3)), least_similarity=least)


def test_features_that_are_not_finite_or_all_the_same():
    with pytest.raises(ValueError, match="first for the example at place 1"):
        duplicate_groups(ArrayRows([[0, 1], [np.nan, 1], [1, 1]]))
    with pytest.raises(ValueError, match="All examples have the same features"):
        duplicate_groups(ArrayRows(np.ones((4, 3))))
