import numpy as np
import pytest
import tensorflow as tf

from sop_keras.randomness.keyed import random_bits, random_integers
from sop_keras.randomness.keyed_tensors import (
    normal_tensor,
    random_bits_tensor,
    random_integers_tensor,
    symmetric_beta_tensor,
    uniform_tensor,
)

IDS = np.concatenate([np.arange(1000), 2**63 - 1 - np.arange(1000)])


@pytest.mark.parametrize("seed", [0, 1234567, 2**64 - 1])
@pytest.mark.parametrize("jit_compile", [None, False, True])
def test_bits_equal_those_of_numpy(seed, jit_compile):
    def draw(epoch, ids):
        return random_bits_tensor(seed, "crop", epoch, ids)

    if jit_compile is not None:  # None: eagerly
        draw = tf.function(draw, jit_compile=jit_compile)
    bits = draw(tf.constant(3), tf.constant(IDS))
    assert bits.dtype == tf.uint64
    np.testing.assert_array_equal(bits, random_bits(seed, "crop", 3, IDS))


@pytest.mark.parametrize("dtype", [tf.uint8, tf.int32, tf.int64, tf.uint64])
def test_the_type_of_a_key_does_not_matter(dtype):
    bits = random_bits_tensor(1, "crop", tf.cast(tf.range(200), dtype))
    np.testing.assert_array_equal(bits, random_bits(1, "crop", np.arange(200)))


def test_python_and_numpy_keys_are_taken_too():
    for key in (2**40, np.int64(7), [1, 2], np.arange(6).reshape(2, 3)):
        np.testing.assert_array_equal(
            random_bits_tensor(1, "crop", key), random_bits(1, "crop", key)
        )
    np.testing.assert_array_equal(random_bits_tensor(1, "crop"), random_bits(1, "crop"))


def test_keys_broadcast():
    epochs, ids = np.arange(3)[:, None], np.arange(4)
    bits = random_bits_tensor(2, "crop", tf.constant(epochs), tf.constant(ids))
    assert bits.shape == (3, 4)
    np.testing.assert_array_equal(bits, random_bits(2, "crop", epochs, ids))


def test_draws_in_a_pipeline_depend_on_the_id_alone():
    def draw(ids):
        return (
            ids,
            random_integers_tensor(9, 4, "crop", ids),
            uniform_tensor(4, "flip", ids),
        )

    all_ids = np.arange(100)
    integers = random_integers(9, 4, "crop", all_ids)
    numbers = (random_bits(4, "flip", all_ids) >> np.uint64(40)) / 2**24

    for batch_size in (1, 7):
        dataset = (
            tf.data.Dataset.range(100)
            .shuffle(100, seed=batch_size)
            .batch(batch_size)
            .map(draw, num_parallel_calls=2, deterministic=False)
        )
        seen: list[int] = []
        for ids, drawn_integers, drawn_numbers in dataset.as_numpy_iterator():
            np.testing.assert_array_equal(drawn_integers, integers[ids])
            np.testing.assert_array_equal(drawn_numbers, numbers[ids])
            seen.extend(ids)
        assert sorted(seen) == all_ids.tolist()
        assert seen != all_ids.tolist()


@pytest.mark.parametrize("bound", [1, 9, 2**31 - 1])
def test_integers_equal_those_of_numpy(bound):
    draws = random_integers_tensor(bound, 4, "crop", tf.constant(IDS))
    assert draws.dtype == tf.int32
    np.testing.assert_array_equal(draws, random_integers(bound, 4, "crop", IDS))


def test_uniform_is_the_top_24_bits():
    draws = uniform_tensor(4, "crop", tf.constant(IDS))
    assert draws.dtype == tf.float32
    bits = [int(bits) for bits in random_bits(4, "crop", IDS)]
    # Multiples of 2**-24 are exact in float64 as in float32.
    np.testing.assert_array_equal(draws, [(b >> 40) / 2**24 for b in bits])


def test_uniform_never_reaches_one():
    # 2**24 values: among 50 million draws some have all 24 top bits set (the chance
    # of none is exp(-3)); a conversion that rounded to nearest would make them 1.
    top = 2**24 - 1
    ids = next(
        chunk[hit]
        for chunk in np.arange(50_000_000).reshape(50, -1)
        if (hit := (random_bits(0, "crop", chunk) >> np.uint64(40)) == top).any()
    )
    draws = uniform_tensor(0, "crop", tf.constant(ids))
    np.testing.assert_array_equal(draws, np.full(len(ids), 1 - 2.0**-24))


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="`seed` must be an integer"):
        random_bits_tensor(-1, "crop", 0)
    with pytest.raises(ValueError, match="must be a tensor of integers"):
        random_bits_tensor(0, "crop", tf.constant([1.0]))
    with pytest.raises(ValueError, match="must not be negative"):
        random_bits_tensor(0, "crop", -1)
    with pytest.raises(ValueError, match="`bound` must be an integer"):
        random_integers_tensor(0, 0, "crop", 1)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_normal_draws_are_box_and_mullers_of_two_uniform_numbers(jit_compile):
    def uniform(part):
        return (random_bits(5, f"rows: {part}", IDS) >> np.uint64(40)) / 2.0**24

    draw = tf.function(
        lambda ids: normal_tensor(5, "rows", ids), jit_compile=jit_compile
    )
    radius, angle = uniform("radius"), uniform("angle")
    expected = np.sqrt(-2 * np.log(1 - radius)) * np.cos(2 * np.pi * angle)
    np.testing.assert_allclose(draw(tf.constant(IDS)), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("alpha", [1e-3, 0.2, 1.0, 8.0, 1e4])
def test_beta_draws_have_its_distribution(alpha):
    draws = np.sort(symmetric_beta_tensor(alpha, 2, "share", np.arange(4000)))
    assert draws.dtype == np.float32
    assert np.isfinite(draws).all()
    assert draws[0] >= 0
    assert draws[-1] <= 1
    # The mean is 1/2 and the variance 1 / (4 (2 alpha + 1)), at most 1/4.
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(draws.mean() - 0.5) < 4 * np.sqrt(variance / 4000)
    np.testing.assert_allclose(draws.var(), variance, rtol=0.1)
    # Kolmogorov and Smirnov: 1.95 / sqrt(n) is beyond with probability 0.001.
    expected = np.array(tf.math.betainc(alpha, alpha, draws.astype(np.float64)))
    if 0.1 < alpha < 100:  # beyond, draws are rounded to 0, 1 or 1/2
        distance = np.abs(expected - (np.arange(4000) + 0.5) / 4000).max()
        assert distance < 1.95 / np.sqrt(4000)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_beta_draws_in_a_graph_are_the_same(jit_compile):
    draw = tf.function(
        lambda step: symmetric_beta_tensor(0.4, 2, "share", step),
        jit_compile=jit_compile,
    )
    expected = symmetric_beta_tensor(0.4, 2, "share", np.arange(20))
    found = [float(draw(tf.constant(step, tf.int64))) for step in range(20)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert len(set(found)) == 20


def test_beta_takes_positive_numbers_alone():
    with pytest.raises(ValueError, match="`alpha` must be positive and finite"):
        symmetric_beta_tensor(0.0, 2, "share", 1)
