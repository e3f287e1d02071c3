import re

import numpy as np
import pytest

from benchmarks.theory import (
    at_once,
    built_anew,
    built_once,
    compiled,
    one_by_one,
    show,
)
from sop_keras.theory import random_problem


def test_the_ways_to_descend_do_the_same():
    problems = [random_problem(5, 6, 2, 1, seed) for seed in (0, 1)]
    alphas = np.array([4.0, 100.0, 4000.0])
    # A tolerance that every end meets: else all would be NaN.
    theta = at_once(problems, alphas, steps=40, tolerance=1e9)
    assert theta.shape == (2, 3, 6)
    loop = one_by_one(problems, alphas, steps=40, tolerance=1e9)
    np.testing.assert_allclose(loop, theta, rtol=1e-9)
    np.testing.assert_allclose(compiled(problems, alphas, 40)(), theta, rtol=1e-9)


def test_nothing_converges():
    problem = random_problem(5, 6, 2, 1, seed=0)
    assert np.isnan(at_once([problem], np.array([4.0, 4000.0]), steps=600)).all()


@pytest.mark.parametrize("in_theta", [False, True])
def test_the_programs_are_the_same(in_theta):
    problems = [random_problem(5, 6, 2, 1, seed) for seed in (0, 1)]
    penalties = np.array([0.01, 1.0])
    anew = built_anew(problems, penalties, in_theta)
    np.testing.assert_allclose(anew, built_once(problems, penalties), atol=3e-4)


def test_table(capsys):
    show({"first": lambda: np.zeros(1_000_000), "second": lambda: None}, rounds=1)
    rows = capsys.readouterr().out.splitlines()
    # A million numbers of 8 bytes; and of itself the first is 1.
    assert re.fullmatch(r"\| first \| \S+ \| 1.00 \| 8.0\d MB \|", rows[3])
    assert re.fullmatch(r"\| second \| \S+ \| \S+ \| 0.0\d MB \|", rows[4])
