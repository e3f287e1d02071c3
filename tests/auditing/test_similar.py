import numpy as np
from array_rows import ArrayRows

from sop_keras.auditing import similar as module
from sop_keras.auditing.similar import similar_examples

# On a circle, at these degrees: 0 to 10 go together, 180 is far from all. Opposite ones
# have the mean at 0, and both features the same spread.
DEGREES = np.array([0, 1, 3, 6, 10, 90, 180, 181, 183, 186, 190, 270])
IDS = np.array([7, 5, 3, 100, 2, 60, 61, 62, 63, 64, 65, 66])
ALONE = np.full(12, -1)


def rows():
    angles = np.deg2rad(DEGREES)
    return ArrayRows(np.stack([np.cos(angles), np.sin(angles)], axis=1))


def test_the_nearest_first_and_never_itself():
    found = similar_examples(rows(), IDS, ALONE, np.array([7, 3]))
    assert list(found) == [7, 3]
    # From 0 degrees: 1, 3, 6, 10, 90 and 270, in which order whatever the scale.
    assert found[7][:4].tolist() == [5, 3, 100, 2]
    assert len(found[7]) == 6
    # From 3: 1 (two away), 0 and 6 (three), 10 (seven).
    assert found[3][0] == 5
    assert set(found[3][:4].tolist()) == {5, 7, 100, 2}


def test_of_near_duplicates_one_is_there():
    groups = ALONE.copy()
    groups[[0, 1, 2]] = 0  # 0, 1 and 3 degrees
    groups[[3, 4]] = 1  # 6 and 10
    found = similar_examples(rows(), IDS, groups, np.array([7]))[7]
    # A copy of itself, one of the other group, and then those of no group.
    assert found[:2].tolist() == [5, 100]
    assert not {7, 3, 2} & set(found.tolist())


def test_ids_that_are_none_and_too_many(monkeypatch):
    assert similar_examples(rows(), IDS, ALONE, np.array([8, 1])) == {}
    assert similar_examples(rows(), IDS, ALONE, np.empty(0, int)) == {}
    monkeypatch.setattr(module, "MOST_ASKED", 2)
    found = similar_examples(rows(), IDS, ALONE, np.array([60, 7, 5]))
    assert list(found) == [60, 7]


def test_few_examples():
    few = ArrayRows([[0.0, 1.0], [1.0, 0.0], [1.0, 0.5]])
    found = similar_examples(few, np.arange(3), np.full(3, -1), np.array([0]))
    assert sorted(found[0].tolist()) == [1, 2]
