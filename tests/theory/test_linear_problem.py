import re

import numpy as np
import pytest
from scipy import stats

from sop_keras.theory import random_problem

SIZES = [(20, 40, 3, 3), (5, 3, 3, 0), (4, 6, 1, 4), (7, 7, 7, 2), (1, 1, 1, 1)]


@pytest.mark.parametrize("sizes", SIZES)
def test_sizes(sizes):
    num_examples, num_parameters, rank, num_wrong = sizes
    problem = random_problem(*sizes, seed=0)
    assert problem.jacobian.shape == (num_examples, num_parameters)
    assert (problem.num_examples, problem.num_parameters) == sizes[:2]
    assert np.linalg.matrix_rank(problem.jacobian) == problem.rank == rank
    assert sum(s != 0 for s in problem.true_noise) == problem.num_wrong == num_wrong
    assert problem.true_theta.shape == (num_parameters,)
    assert problem.labels.shape == problem.true_noise.shape == (num_examples,)
    for array in (problem.jacobian, problem.true_theta, problem.labels):
        assert array.dtype == np.float64


@pytest.mark.parametrize("sizes", SIZES)
def test_true_theta_is_the_shortest_that_gives_the_clean_labels(sizes):
    problem = random_problem(*sizes, seed=1)
    clean = problem.labels - problem.true_noise
    # In J's range: theta* leaves nothing. lstsq finds the shortest solution.
    np.testing.assert_allclose(problem.jacobian @ problem.true_theta, clean, atol=1e-12)
    shortest = np.linalg.lstsq(problem.jacobian, clean, rcond=1e-10)[0]
    np.testing.assert_allclose(problem.true_theta, shortest, atol=1e-12)


@pytest.mark.parametrize("sizes", SIZES)
def test_svd_is_compact(sizes):
    problem = random_problem(*sizes, seed=2)
    left, singular_values, right = problem.svd
    identity = np.eye(problem.rank)
    np.testing.assert_allclose(left.T @ left, identity, atol=1e-12)
    np.testing.assert_allclose(right @ right.T, identity, atol=1e-12)
    np.testing.assert_allclose(
        left @ np.diag(singular_values) @ right, problem.jacobian, atol=1e-12
    )
    assert (singular_values > 0).all()
    assert (np.diff(singular_values) <= 0).all()


def test_distributions():
    # With r = p = 2, J has full column rank and theta* is theta0: standard normal, as
    # the one s*_i that is not 0. An entry of J is a1 b1 + a2 b2: a product of standard
    # normals has the characteristic function (1 + t^2)^(-1/2), two of them have
    # 1 / (1 + t^2), Laplace's. Each fits: p-values of a Kolmogorov-Smirnov test and of
    # a chi-squared test are above 0.001 in 999 of 1,000 cases, and the seeds are fixed.
    problems = [random_problem(3, 2, 2, 1, seed=(0, i)) for i in range(3000)]
    noise = np.stack([problem.true_noise for problem in problems])
    samples = {
        "laplace": [problem.jacobian[0, 1] for problem in problems],
        "norm": [problem.true_theta[0] for problem in problems],
    }
    for name, values in samples.items():
        assert stats.kstest(values, name).pvalue > 1e-3, name
    assert stats.kstest(noise[noise != 0], "norm").pvalue > 1e-3
    assert stats.chisquare(np.count_nonzero(noise, axis=0)).pvalue > 1e-3


def test_wrong_labels_are_where_chance_has_it():
    # 2 of 4: each of the 6 pairs equally often.
    pairs = [
        tuple(np.flatnonzero(random_problem(4, 1, 1, 2, seed=(1, i)).true_noise))
        for i in range(1200)
    ]
    _, counts = np.unique(pairs, axis=0, return_counts=True)
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize(
    ("seed", "other"), [(3, 4), ((3, 1), (3, 2)), ((3, 1), (1, 3))]
)
def test_equal_seeds_equal_problems(seed, other):
    first, again, another = (random_problem(6, 5, 2, 2, s) for s in (seed, seed, other))
    for name in ("jacobian", "true_theta", "true_noise", "labels"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
        assert not np.array_equal(getattr(first, name), getattr(another, name)), name


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0, 4, 1, 0), "at least one example.*num_examples=0, num_parameters=4"),
        ((4, 0, 1, 0), "at least one example.*num_examples=4, num_parameters=0"),
        ((4, 3, 0, 0), "from 1 to 3, the smaller of the two. Received: rank=0"),
        ((4, 3, 4, 0), "from 1 to 3, the smaller of the two. Received: rank=4"),
        ((3, 4, 4, 0), "from 1 to 3, the smaller of the two. Received: rank=4"),
        ((4, 3, 2, 5), re.escape("0 to 4 can be wrong. Received: num_wrong=5 (k)")),
        ((4, 3, 2, -1), re.escape("0 to 4 can be wrong. Received: num_wrong=-1 (k)")),
    ],
)
def test_sizes_that_no_problem_has(sizes, message):
    with pytest.raises(ValueError, match=message):
        random_problem(*sizes, seed=0)


def test_negative_seed():
    with pytest.raises(ValueError, match="non-negative"):
        random_problem(4, 3, 2, 1, seed=-1)
