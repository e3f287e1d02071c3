import numpy as np
import pytest

from sop_keras.theory.figures import trials
from sop_keras.theory.linear_problem import random_problem

SIZES = (20, 30, 3, 2)
SEEDS = [(9, 0), (9, 1), (9, 2)]


def test_the_solver_agrees_with_the_linear_programs_on_both_sides_of_lambda0():
    # Two ways to the same threshold that share no code: an interior-point solver's
    # rounded solution, and the feasibility of a linear program.
    first = trials.solve_trials(SIZES, SEEDS, [0.1])
    assert np.isfinite(first["lambda0"]).all()
    for i, lambda0 in enumerate(first["lambda0"]):
        both = trials.solve_trials(SIZES, SEEDS[i : i + 1], [lambda0 / 2, lambda0 * 2])
        assert both["lambda0"].tolist() == [lambda0]
        found = trials.recovered(both["theta_error"], both["noise_error"])
        assert found.tolist() == [[False, True]]


def test_errors_are_relative_and_the_condition_is_the_papers():
    arrays = trials.solve_trials(SIZES, SEEDS, [5e-6, 10.0])
    assert arrays["theta_error"].shape == (3, 2)
    for i, seed in enumerate(SEEDS):
        problem = random_problem(*SIZES, seed=seed)
        # theta = J^T nu with all |nu_i| at most lambda: at 5e-6 it is at most
        # 5e-6 sqrt(20) ||J||, 1e-3, so that its relative error is nearly 1, and s
        # nearly y.
        assert 5e-6 * np.sqrt(20) * np.linalg.norm(problem.jacobian, 2) < 1e-3
        ratio = np.linalg.norm(problem.labels - problem.true_noise) / np.linalg.norm(
            problem.true_noise
        )
        assert arrays["theta_error"][i, 0] == pytest.approx(1, abs=3e-3)
        assert arrays["noise_error"][i, 0] == pytest.approx(ratio, rel=0.02)
        # (27) is k^2 r < N / (4 mu), mu = N / r max ||U^T e_i||^2. N and r cancel:
        # 4 k^2 max ||U^T e_i||^2 < 1, ||U^T e_i||^2 being the diagonal of J J^+.
        leverage = np.diag(problem.jacobian @ np.linalg.pinv(problem.jacobian)).max()
        assert arrays["condition"][i] == (4 * 2**2 * leverage < 1)


def test_no_problems_are_no_rows():
    arrays = trials.solve_problems([], [0.1])
    assert arrays["theta_error"].shape == (0, 1)
    assert arrays["lambda0"].shape == arrays["condition"].shape == (0,)


def test_no_interval_is_infinite_and_a_failure_is_nan(monkeypatch):
    problem = random_problem(*SIZES, seed=SEEDS[0])
    monkeypatch.setattr(trials, "recovery_interval", lambda problem: None)
    assert trials.interval(problem) == (np.inf, np.inf)

    def fail(problem):
        raise RuntimeError("SciPy could not solve the linear program")

    monkeypatch.setattr(trials, "recovery_interval", fail)
    assert np.isnan(trials.interval(problem)).all()


def test_a_nan_is_not_recovered():
    found = trials.recovered(
        np.array([1e-4, 1e-4, 2e-3, np.nan]), np.array([9e-4, 1e-3, 1e-4, 1e-4])
    )
    assert found.tolist() == [True, False, False, False]


def test_verdicts_by_hand():
    penalties = np.array([0.1, 0.45, 0.55, 3.0])
    lambda0 = np.array([0.5, 0.5, np.inf, np.nan])
    lambda_end = np.array([np.inf, 2.9, np.inf, np.nan])
    inside, is_told = trials.verdicts(lambda0, lambda_end, penalties, near=1.2)
    assert inside.tolist() == [
        [False, False, True, True],
        [False, False, True, False],
        [False] * 4,
        [False] * 4,
    ]
    # Near 0.5 are 0.42 to 0.6, near 2.9 are 2.4 to 3.5.
    assert is_told.tolist() == [
        [True, False, False, True],
        [True, False, False, False],
        [True] * 4,
        [False] * 4,
    ]


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="num_wrong=21"):
        trials.solve_trials((20, 30, 3, 21), SEEDS, [0.1])
    with pytest.raises(ValueError, match="rank=21"):
        trials.solve_trials((20, 30, 21, 2), SEEDS, [0.1])
    with pytest.raises(ValueError, match="`penalties` must be one row of positive"):
        trials.solve_trials(SIZES, SEEDS, [0.0])
