import numpy as np
import pytest
from array_rows import ArrayRows

from sop_keras.auditing import feature_rows
from sop_keras.auditing.feature_rows import blocks, sample, scale_of, take_finite, unit


def test_scale_by_hand():
    # Means 2, 5 and 0.1, deviations 1, 0 and none but for rounding.
    rows = np.array([[1, 5, 0.1], [3, 5, 0.1]], np.float32)
    scale = scale_of(rows)
    np.testing.assert_allclose(scale.mean, [2, 5, 0.1], rtol=1e-6)
    assert scale.factor.tolist() == [1, 0, 0]
    standardised = scale.standardised(rows)
    assert standardised.tolist() == [[-1, 0, 0], [1, 0, 0]]
    assert standardised.dtype == np.float32
    assert scale.with_constant(rows).tolist() == [[-1, 0, 0, 1], [1, 0, 0, 1]]
    assert scale.with_constant(rows).dtype == np.float32


def test_deviations_are_those_of_all_features_together():
    rows = np.random.default_rng(0).normal(3, 2, (500, 150)).astype(np.float32)
    factor = 1 / rows.std(axis=0, dtype=np.float64)
    assert (scale_of(rows).factor == factor.astype(np.float32)).all()


def test_means_of_many_large_numbers_are_not_lost():
    # In float32, sums of so many stand still.
    rows = np.full((200_000, 1), 1000, np.float32)
    rows[::2] += 2
    scale = scale_of(rows)
    np.testing.assert_allclose(scale.mean, [1001])
    np.testing.assert_allclose(scale.factor, [1])


@pytest.mark.parametrize(("count", "size"), [(0, 0), (3, 3), (4, 4), (10, 4)])
def test_a_sample_is_of_all_or_as_many_as_may_be(count, size, monkeypatch):
    monkeypatch.setattr(feature_rows, "_MOST_SAMPLED", 4)
    rows = ArrayRows(np.zeros((count, 2)))
    places = sample(rows)
    assert places.dtype == np.int64
    assert len(places) == size
    assert sorted(set(places.tolist())) == places.tolist()
    assert set(places.tolist()) <= set(range(count))
    assert sample(rows).tolist() == places.tolist()


def test_a_sample_has_all_of_what_takes_turns():
    # A thousand of ten kinds in turn, of 10,000: 100 of each on average, with a
    # standard deviation of sqrt(1000 x 0.1 x 0.9 x 0.9) = 9.
    places = sample(range(10_000), 1_000)
    assert np.abs(np.bincount(places % 10, minlength=10) - 100).max() < 36
    # Likewise of ten parts one after another.
    assert np.abs(np.bincount(places // 1_000, minlength=10) - 100).max() < 36


@pytest.mark.parametrize(
    ("beside", "sizes"), [(0, [3, 3, 1]), (12, [1] * 7), (1000, [1] * 7)]
)
def test_blocks_are_all_in_their_order(beside, sizes, monkeypatch):
    monkeypatch.setattr(feature_rows, "_BLOCK_NUMBERS", 12)
    array = np.arange(28).reshape(7, 4)
    found = list(blocks(ArrayRows(array), beside))
    assert [len(places) for places, _ in found] == sizes
    assert np.concatenate([places for places, _ in found]).tolist() == list(range(7))
    np.testing.assert_array_equal(np.concatenate([rows for _, rows in found]), array)


@pytest.mark.parametrize("bad", [np.nan, -np.inf, 1e15])
def test_the_place_of_features_that_are_not_finite(bad):
    array = np.zeros((9, 2))
    array[7, 1] = bad
    with pytest.raises(ValueError, match="the example at place 7"):
        take_finite(ArrayRows(array), np.array([5, 7]))
    take_finite(ArrayRows(array), np.array([5, 6]))


def test_units_by_hand():
    rows = np.array([[3, 4], [0, 0], [-2, 0]], np.float32)
    np.testing.assert_allclose(unit(rows), [[0.6, 0.8], [0, 0], [-1, 0]], rtol=1e-6)


@pytest.mark.slow  # imports TensorFlow
def test_embedded_images_are_such_rows():
    from sop_keras.features.embed import Counts, Embedded

    stored = np.arange(6, dtype=np.float32).reshape(3, 2)
    rows = np.array([2, 0])
    embedded = Embedded(stored, rows, [], Counts(0, 2, 0, 0, 1))
    ((places, features),) = blocks(embedded)
    assert places.tolist() == [0, 1]
    assert features.tolist() == [[4, 5], [0, 1]]
