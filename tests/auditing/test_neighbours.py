import numpy as np
import pytest
from array_rows import ArrayRows

from sop_keras.auditing import feature_rows
from sop_keras.auditing.neighbours import nearest

RNG = np.random.default_rng(0)


def test_by_hand():
    # Both features have mean 0 and standard deviation 1: cosines are those of what is
    # written here. Of (1, 1): 0 with (1, -1) and (-1, 1), -1 with (-1, -1).
    features = ArrayRows([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    found = nearest(features, np.array([0, 3]), 3)
    assert set(found.positions[0, :2]) == set(found.positions[1, :2]) == {1, 2}
    assert found.positions[:, 2].tolist() == [3, 0]
    np.testing.assert_allclose(found.similarities, [[0, 0, -1], [0, 0, -1]], atol=1e-6)
    assert found.positions.dtype == np.int64
    assert found.similarities.dtype == np.float32


def slowly(array, query, k):
    """By a loop, in float64."""
    array = np.asarray(array, np.float64)
    array = (array - array.mean(0)) / array.std(0)
    cosines = {
        place: float(row @ array[query])
        / np.sqrt(float(row @ row) * float(array[query] @ array[query]))
        for place, row in enumerate(array)
        if place != query
    }
    places = sorted(cosines, key=lambda place: -cosines[place])[:k]
    return places, [cosines[place] for place in places]


@pytest.mark.parametrize("block", [5 * 7, 64 * 7, 10**6])
@pytest.mark.parametrize("k", [1, 6, 299])
def test_like_a_slow_loop_whatever_the_blocks(block, k, monkeypatch):
    monkeypatch.setattr(feature_rows, "_BLOCK_NUMBERS", block)
    array = (RNG.gamma(1, size=(300, 7)) + 5) * [1, 10, 100, 1, 1, 1e-3, 1e3]
    queries = np.array([299, 0, 17])
    found = nearest(ArrayRows(array), queries, k)
    for query, positions, similarities in zip(
        queries, found.positions, found.similarities, strict=True
    ):
        _, cosines = slowly(array.astype(np.float32), query, k)
        # Whichever is first of two that differ by the rounding alone.
        assert len(set(positions)) == k
        assert query not in positions
        cosine_of = dict(
            zip(*slowly(array.astype(np.float32), query, 299), strict=True)
        )
        np.testing.assert_allclose(similarities, cosines, atol=5e-6)
        np.testing.assert_allclose(
            similarities, [cosine_of[place] for place in positions], atol=5e-6
        )


def test_memory_is_that_of_a_block(monkeypatch):
    monkeypatch.setattr(feature_rows, "_BLOCK_NUMBERS", 400)
    monkeypatch.setattr(feature_rows, "_MOST_SAMPLED", 50)
    features = ArrayRows(RNG.normal(size=(1000, 4)))
    nearest(features, np.arange(3), 2)
    assert features.most_taken <= 100


def test_equal_examples_come_in_their_order_and_are_not_the_query():
    array = np.concatenate([np.repeat([[3.0, 1.0]], 5, axis=0), [[-1, 0], [-2, 4]]])
    found = nearest(ArrayRows(array), np.array([2]), 4)
    assert found.positions.tolist() == [[0, 1, 3, 4]]
    np.testing.assert_allclose(found.similarities, 1, atol=1e-6)
    assert found.similarities.max() <= 1


def test_features_that_do_not_vary_count_for_nothing():
    array = RNG.normal(size=(40, 3))
    more = np.concatenate([array, np.full((40, 2), 0.1)], axis=1)
    plain, found = (nearest(ArrayRows(one), np.arange(5), 3) for one in (array, more))
    np.testing.assert_array_equal(found.positions, plain.positions)
    np.testing.assert_allclose(found.similarities, plain.similarities, atol=1e-6)


def test_no_query():
    found = nearest(ArrayRows(RNG.normal(size=(5, 2))), np.array([], int), 2)
    assert found.positions.shape == found.similarities.shape == (0, 2)


def test_two_examples():
    found = nearest(ArrayRows([[0, 1], [1, 3]]), np.array([0, 1]), 1)
    assert found.positions.tolist() == [[1], [0]]
    np.testing.assert_allclose(found.similarities, -1)


@pytest.mark.parametrize(
    ("queries", "k", "match"),
    [
        ([0], 5, r"`k` must be an integer in \[1, 4\]"),
        ([0], 0, r"`k` must be an integer in \[1, 4\]"),
        ([5], 1, "places among 5 examples. Received: 5 to 5"),
        ([-1], 1, "places among 5 examples"),
        ([[0]], 1, r"of shape \(num_queries,\)"),
        ([0.5], 1, "must be integers"),
    ],
)
def test_arguments_are_checked(queries, k, match):
    features = ArrayRows(RNG.normal(size=(5, 2)))
    with pytest.raises(ValueError, match=match):
        nearest(features, np.array(queries), k)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_features_that_are_not_finite(bad):
    array = RNG.normal(size=(5, 2))
    array[3, 1] = bad
    with pytest.raises(ValueError, match="first for the example at place 3"):
        nearest(ArrayRows(array), np.array([0]), 1)


def test_equal_features_and_a_single_example():
    with pytest.raises(ValueError, match="All examples have the same features"):
        nearest(ArrayRows(np.full((9, 3), 0.1)), np.array([0]), 1)
    with pytest.raises(ValueError, match="two examples at least"):
        nearest(ArrayRows(np.ones((1, 3))), np.array([0]), 1)
