import hashlib

import numpy as np
import pytest

from sop_keras.randomness.keyed import random_bits, random_integers, splitmix64, uniform

# The first outputs of Vigna's splitmix64.c: seed 1234567 as in Rosetta Code
# ("Pseudo-random numbers/Splitmix64"), seed 0 as in the test suites of many ports.
PUBLISHED = {
    1234567: [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ],
    0: [
        0xE220A8397B1DCDAF,
        0x6E789E6AA1B965F4,
        0x06C45D188009454F,
        0xF88BB8A8724C81EC,
        0x1B39896A51A8749B,
    ],
}


def slow_bits(seed, stream, *keys):
    """The definition in Python integers, which do not wrap around by themselves."""
    mask = 2**64 - 1
    digest = hashlib.blake2b(stream.encode(), digest_size=8).digest()
    state = int.from_bytes(digest, "little")
    for key in (seed, *keys):
        z = (state + (key + 1) * 0x9E3779B97F4A7C15) & mask
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        state = z ^ (z >> 31)
    return state


def assert_uniform(values, num_bins):
    """Integers in [0, num_bins) pass the chi-square test at 4.5 deviations."""
    expected = len(values) / num_bins
    counts = np.bincount(values, minlength=num_bins)
    statistic = np.sum((counts - expected) ** 2) / expected
    # With d degrees of freedom: mean d, variance 2 d. Both tails count: too even is
    # not random either.
    freedom = num_bins - 1
    assert abs(statistic - freedom) < 4.5 * np.sqrt(2 * freedom)


def assert_uncorrelated(a, b):
    # The correlation of n independent pairs has standard error 1 / sqrt(n).
    assert abs(np.corrcoef(a, b)[0, 1]) < 4.5 / np.sqrt(len(a))


@pytest.mark.parametrize("seed", PUBLISHED)
def test_splitmix64_gives_the_published_outputs(seed):
    assert splitmix64(seed, np.arange(5)).tolist() == PUBLISHED[seed]
    # One at a time, where numpy would warn of the wrap-around.
    assert [int(splitmix64(seed, step)) for step in range(5)] == PUBLISHED[seed]


@pytest.mark.parametrize("seed", [0, 1, 2**63, 2**64 - 1])
def test_bits_are_those_of_the_slow_definition(seed):
    for keys in [(), (0,), (49_999,), (3, 7), (7, 3), (2**63 - 1, 0, 5)]:
        bits = random_bits(seed, "crop", *keys)
        assert bits.shape == ()
        assert bits.dtype == np.uint64
        assert int(bits) == slow_bits(seed, "crop", *keys)


def test_keys_broadcast_and_keep_their_own_draw():
    epochs, ids = np.arange(3)[:, None], np.array([8, 2, 2**40, 5])
    bits = random_bits(11, "flip", epochs, ids)
    assert bits.shape == (3, 4)
    for i, epoch in enumerate(epochs[:, 0]):
        for j, example in enumerate(ids):
            assert int(bits[i, j]) == slow_bits(11, "flip", int(epoch), int(example))


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.uint64])
def test_the_type_of_a_key_does_not_matter(dtype):
    np.testing.assert_array_equal(
        random_bits(1, "crop", np.arange(200).astype(dtype)),
        [slow_bits(1, "crop", key) for key in range(200)],
    )


def test_empty_keys_give_empty_draws():
    assert random_bits(0, "crop", np.zeros((0,), np.int64)).shape == (0,)


def test_distinct_ids_get_distinct_bits():
    assert len(np.unique(random_bits(0, "split", np.arange(1_000_000)))) == 1_000_000


@pytest.mark.parametrize(
    "keys",
    [
        np.arange(200_000),
        np.arange(200_000) * 2**32,
        2**62 + 7 * np.arange(200_000),
    ],
    ids=["consecutive", "high bits only", "stride 7"],
)
def test_draws_are_uniform(keys):
    bits = random_bits(0, "crop", keys)
    assert_uniform((uniform(0, "crop", keys) * 100).astype(int), 100)
    assert_uniform((bits & np.uint64(0xFF)).astype(int), 256)
    # Pairs of neighbours fill the square.
    left, right = bits[::2] >> np.uint64(60), bits[1::2] >> np.uint64(60)
    assert_uniform((left * np.uint64(16) + right).astype(int), 256)


def test_draws_are_uniform_over_seeds_and_over_the_first_of_two_keys():
    over_seeds = [int(random_bits(seed, "crop", 42)) >> 58 for seed in range(20_000)]
    assert_uniform(np.array(over_seeds), 64)
    over_epochs = random_bits(0, "crop", np.arange(200_000), 42) >> np.uint64(58)
    assert_uniform(over_epochs.astype(int), 64)


def test_uniform_is_the_top_53_bits():
    draws = uniform(5, "crop", np.arange(1000))
    assert draws.dtype == np.float64
    # Python divides integers exactly.
    expected = [(slow_bits(5, "crop", key) >> 11) / 2**53 for key in range(1000)]
    np.testing.assert_array_equal(draws, expected)


def test_streams_seeds_and_neighbours_are_independent():
    ids = np.arange(200_000)
    draws = uniform(0, "crop", ids)
    assert_uncorrelated(draws, uniform(0, "flip", ids))
    assert_uncorrelated(draws, uniform(0, "crops", ids))
    assert_uncorrelated(draws, uniform(1, "crop", ids))
    assert_uncorrelated(draws, uniform(2**63, "crop", ids))
    assert_uncorrelated(draws[1:], draws[:-1])
    assert_uncorrelated(draws[2:], draws[:-2])
    assert_uncorrelated(draws, uniform(0, "crop", ids, 0))
    assert_uncorrelated(uniform(0, "crop", 0, ids), uniform(0, "crop", 1, ids))
    assert_uncorrelated(uniform(0, "crop", 5, ids), uniform(0, "crop", ids, 5))


def test_one_flipped_bit_of_a_key_flips_every_bit_with_probability_one_half():
    num_keys = 4096
    keys = np.arange(num_keys, dtype=np.uint64)
    shifts = np.arange(64, dtype=np.uint64)
    for seed_and_keys in (lambda k: (k,), lambda k: (k, 3), lambda k: (3, k)):
        before = random_bits(0, "crop", *seed_and_keys(keys))
        for bit in shifts:
            flipped = keys ^ (np.uint64(1) << bit)
            change = before ^ random_bits(0, "crop", *seed_and_keys(flipped))
            rates = np.mean((change[:, None] >> shifts) & np.uint64(1), axis=0)
            # Standard error of a rate of 1/2 over the keys. Flipping bit 0 pairs the
            # keys up, which leaves half as many independent ones: for all bits below
            # 12. 3 * 64 * 64 rates are looked at, hence 5.5 errors.
            assert np.all(np.abs(rates - 0.5) < 5.5 * 0.5 / np.sqrt(num_keys / 2))


@pytest.mark.parametrize("bound", [1, 2, 7, 10, 100, 2**31 - 1])
def test_random_integers_scale_the_high_half(bound):
    draws = random_integers(bound, 3, "class", np.arange(500))
    assert draws.dtype == np.int64
    expected = [(slow_bits(3, "class", k) >> 32) * bound // 2**32 for k in range(500)]
    assert draws.tolist() == expected


def test_random_integers_are_uniform():
    assert_uniform(random_integers(7, 0, "class", np.arange(200_000)), 7)


@pytest.mark.parametrize("seed", [-1, 2**64, 0.5, "0", True, None])
def test_a_bad_seed_is_refused(seed):
    with pytest.raises(ValueError, match=r"`seed` must be an integer in \[0, 2\*\*64"):
        random_bits(seed, "crop", 0)


@pytest.mark.parametrize("stream", ["", 3])
def test_a_bad_stream_is_refused(stream):
    with pytest.raises(ValueError, match="`stream` must be a non-empty string"):
        random_bits(0, stream, 0)


def test_a_bad_key_is_refused():
    with pytest.raises(ValueError, match=r"must not be negative\. Received: -3"):
        random_bits(0, "crop", np.array([4, -3]))
    with pytest.raises(ValueError, match="dtype float64 and shape"):
        random_bits(0, "crop", np.array([4.0]))
    with pytest.raises(ValueError, match="dtype bool"):
        random_bits(0, "crop", True)


@pytest.mark.parametrize("bound", [0, -1, 2**31, 2.0, True])
def test_a_bad_bound_is_refused(bound):
    with pytest.raises(ValueError, match=r"`bound` must be an integer in \[1, 2\*\*31"):
        random_integers(bound, 0, "class", 0)
