from itertools import pairwise

import numpy as np
import pytest

from sop_keras.data.datasets.split import keyed_subset, validation_ids
from sop_keras.label_noise.symmetric import symmetric


def test_the_size_is_exact_and_ids_ascend():
    for size in (0, 1, 5000, 49_999):
        ids = validation_ids(50_000, size, seed=0)
        assert ids.dtype == np.int64
        assert ids.shape == (size,)
        assert np.all(np.diff(ids) > 0)
        assert size == 0 or (ids[0] >= 0 and ids[-1] < 50_000)


def test_the_choice_is_a_function_of_the_seed():
    first, again, other = (validation_ids(50_000, 5000, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    # Two independent choices of a tenth share a hundredth: hypergeometric with mean
    # 500 and variance 500 * 0.9 * 0.9 = 405.
    shared = len(np.intersect1d(first, other))
    assert abs(shared - 500) < 4 * np.sqrt(405)


def test_every_part_of_the_data_gives_its_share():
    ids = validation_ids(50_000, 5000, seed=0)
    # In each fifth of the data and each residue modulo 10 (where labels often hide) a
    # tenth is held out: 1,000 of 10,000, 500 of 5,000, hypergeometric.
    fifths = np.bincount(ids // 10_000)
    assert np.all(np.abs(fifths - 1000) < 4 * np.sqrt(1000 * 0.9 * 0.8))
    residues = np.bincount(ids % 10)
    assert np.all(np.abs(residues - 500) < 4 * np.sqrt(500 * 0.9 * 0.9))


def test_the_split_is_independent_of_the_label_noise_of_the_same_seed():
    wrong = symmetric(
        np.zeros(50_000, int), 0.4, 10, seed=0, include_true_class=False
    ).is_wrong
    rate = wrong[validation_ids(50_000, 5000, seed=0)].mean()
    assert abs(rate - 0.4) < 4 * np.sqrt(0.4 * 0.6 / 5000)


def test_ids_with_gaps_give_as_many_as_asked_for():
    keys = np.random.default_rng(0).permutation(np.arange(10**6, 10**6 + 900, 3))
    chosen = validation_ids(keys, 50, seed=0)
    assert len(chosen) == 50
    assert np.isin(chosen, keys).all()
    # Of all ids of a range, in whatever order, it is the choice for the range.
    whole = np.random.default_rng(1).permutation(700)
    expected = validation_ids(700, 60, seed=2)
    np.testing.assert_array_equal(validation_ids(whole, 60, seed=2), expected)
    with pytest.raises(ValueError, match="num_validation"):
        validation_ids(keys, 300, seed=0)


def test_a_smaller_choice_is_contained_in_a_larger_one():
    held_out = [validation_ids(1000, size, seed=1) for size in (10, 100, 999)]
    assert np.all(np.isin(held_out[0], held_out[1]))
    assert np.all(np.isin(held_out[1], held_out[2]))
    ids = np.arange(3, 3000, 3)
    subsets = [keyed_subset(ids, size, seed=1) for size in (1, 50, 500, len(ids))]
    for small, large in pairwise(subsets):
        assert np.all(np.isin(small, large))
    np.testing.assert_array_equal(subsets[-1], ids)


def test_a_subset_does_not_depend_on_the_order():
    ids = np.arange(1000) * 7
    shuffled = np.random.default_rng(0).permutation(ids)
    subset = keyed_subset(shuffled, 100, seed=0)
    assert subset.dtype == np.int64
    assert len(subset) == 100
    assert np.all(np.diff(subset) > 0)
    assert np.all(np.isin(subset, ids))
    np.testing.assert_array_equal(subset, keyed_subset(ids, 100, seed=0))


def test_a_subset_is_independent_of_the_validation_split():
    chosen = keyed_subset(np.arange(50_000), 5000, seed=0)
    shared = len(np.intersect1d(chosen, validation_ids(50_000, 5000, seed=0)))
    assert abs(shared - 500) < 4 * np.sqrt(405)


@pytest.mark.parametrize("size", [-1, 100, 101, 5.0, True])
def test_a_validation_set_of_bad_size_is_refused(size):
    with pytest.raises(ValueError, match=r"`num_validation` must be .* \[0, 100\)"):
        validation_ids(100, size, seed=0)


@pytest.mark.parametrize("num_examples", [0, -5, 10.0])
def test_a_bad_number_of_examples_is_refused(num_examples):
    with pytest.raises(ValueError, match="`num_examples` must be an integer of at"):
        validation_ids(num_examples, 0, seed=0)


@pytest.mark.parametrize("size", [0, 11, 2.0, True])
def test_a_subset_of_bad_size_is_refused(size):
    with pytest.raises(ValueError, match=r"`size` must be an integer in \[1, 10\]"):
        keyed_subset(np.arange(10), size, seed=0)


def test_ids_that_occur_twice_are_refused():
    with pytest.raises(ValueError, match="id 4 2 times"):
        keyed_subset([4, 1, 4], 2, seed=0)
