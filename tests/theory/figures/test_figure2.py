import dataclasses
import math
import shutil
from pathlib import Path

import cvxpy
import numpy as np
import pytest

from sop_keras.theory import convex_program, random_problem
from sop_keras.theory.figures import figure2, make_figure

TINY = figure2.Settings(
    num_examples=8,
    num_parameters=12,
    rank=2,
    num_wrong=1,
    problems=3,
    problems_per_unit=2,
    penalties_per_decade=1,
    max_change=1e-2,
    tolerance=1e-4,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figure2")
    findings = make_figure("figure2", TINY, folder)
    with np.load(folder / "figure2.npz") as arrays:
        return folder, dict(arrays), findings


def test_the_papers_ranges():
    settings = figure2.Settings()
    # alpha = -log(gamma) / (2 lambda): 8 / (2 * 1e-3) = 4000 down to 8 / 2 = 4.
    alphas = settings.alphas(-8.0)
    assert alphas[[0, 10, -1]] == pytest.approx([4000, 400, 4])
    assert settings.alphas(-16.0) == pytest.approx(2 * alphas)
    penalties = settings.penalties
    assert penalties[[0, 10, 40]] == pytest.approx([1e-4, 1e-3, 1])
    assert alphas * penalties[settings.on_curve] == pytest.approx(np.full(31, 4.0))
    assert settings.problems >= 8
    problem = settings.problem(7)
    sizes = problem.num_examples, problem.num_parameters, problem.rank
    assert (*sizes, problem.num_wrong) == (20, 40, 3, 3)


def test_a_cell_against_plain_loops(made):
    # One problem, alpha 40 and lambda 0.1, which lie on the curve: index 1 of
    # lambda = 1e-3, 1e-2, 0.1, 1 from the other end.
    _, arrays, _ = made
    i = 2
    problem = random_problem(8, 12, 2, 1, seed=(2, i))
    theta, noise = descend(problem, alpha=40.0, gamma=math.exp(-8))
    variable, s = cvxpy.Variable(12), cvxpy.Variable(8)
    cvxpy.Problem(
        cvxpy.Minimize(0.5 * cvxpy.sum_squares(variable) + 0.1 * cvxpy.norm1(s)),
        [problem.jacobian @ variable + s == problem.labels],
    ).solve(solver="CLARABEL")
    for name, one, other in [
        ("theta", theta, variable.value),
        ("noise", noise, s.value),
    ]:
        larger = max(np.linalg.norm(one), np.linalg.norm(other))
        expected = np.linalg.norm(one - other) / larger
        cell = arrays[f"{name}_difference"][0, i, 2, 3]
        assert cell == pytest.approx(expected, abs=5e-3)


def descend(problem, alpha, gamma):
    """Equation (15) with constant steps, far longer than needed."""
    theta = np.zeros(problem.num_parameters)
    u = np.full(problem.num_examples, gamma)
    v = u.copy()
    for _ in range(60_000):
        residual = problem.jacobian @ theta + u * u - v * v - problem.labels
        theta = theta - 2e-4 * problem.jacobian.T @ residual
        u, v = (
            u * (1 - 2 * alpha * 2e-4 * residual),
            v * (1 + 2 * alpha * 2e-4 * residual),
        )
    return theta, u * u - v * v


def test_the_files(made, read_csv, red_pixels):
    folder, arrays, findings = made
    rows = read_csv(folder / "figure2.csv")
    # 2 gammas, 4 alphas of the curve from 1e-3 on, 5 lambdas.
    assert len(rows) == 2 * 4 * 5
    assert {name: rows[1 * 20 + 2 * 5 + 4][name] for name in rows[0]} == {
        "log_gamma": -16,
        "alpha": 80,
        "lambda": 1,
        "theta_difference": pytest.approx(
            sum(arrays["theta_difference"][1, i, 2, 4] for i in range(3)) / 3, rel=1e-3
        ),
        "noise_difference": pytest.approx(
            sum(arrays["noise_difference"][1, i, 2, 4] for i in range(3)) / 3, rel=1e-3
        ),
    }
    assert (folder / "figure2.png").read_bytes()[:4] == b"\x89PNG"
    assert red_pixels(folder / "figure2.png") == 0
    parts = {path.name for path in (folder / "parts" / "figure2").iterdir()}
    assert {"descent0-0.npz", "descent1-2.npz", "convex.npz"} <= parts
    assert [one.holds for one in findings[-2:]] == [True, True]


def test_descent_that_does_not_converge_is_marked(
    tmp_path, read_csv, red_pixels, judged
):
    settings = dataclasses.replace(TINY, max_steps=200)
    findings = make_figure("figure2", settings, tmp_path)
    rows = read_csv(tmp_path / "figure2.csv")
    assert all(np.isnan(row["theta_difference"]) for row in rows)
    assert red_pixels(tmp_path / "figure2.png") > 10_000
    claims = ["on the curve", "and by less", "descent ends", "for each lambda"]
    assert judged(findings, *claims, "with the smaller") == [False] * 5
    assert findings[-2].found == "24 of 24 have none"
    assert judged(findings, "every descent", "every convex") == [False, True]


def test_a_solver_that_fails_is_marked(
    made, tmp_path, read_csv, red_pixels, judged, monkeypatch
):
    # At lambda = 0.1 alone. What descent found is there already.
    solve = convex_program._Program.solve

    def fail_at_a_tenth(self, factor, labels, penalty, solver):
        if 0.05 < penalty < 0.5:
            return None
        return solve(self, factor, labels, penalty, solver)

    monkeypatch.setattr(convex_program._Program, "solve", fail_at_a_tenth)
    parts = Path("parts", "figure2")
    shutil.copytree(made[0] / parts, tmp_path / parts)
    (tmp_path / parts / "convex.npz").unlink()
    findings = make_figure("figure2", TINY, tmp_path)
    rows = read_csv(tmp_path / "figure2.csv")
    missing = {row["lambda"] for row in rows if np.isnan(row["noise_difference"])}
    assert missing == {0.1}
    assert red_pixels(tmp_path / "figure2.png") > 1000
    assert findings[-1].found == "3 of 15 have none"
    assert judged(findings, "on the curve", "every convex") == [False, False]


def by_hand():
    """One problem; alpha i belongs to lambda i + 1; recovered at the last two."""
    theta = np.full((2, 1, 4, 5), 0.5)
    for i in range(4):
        theta[0, 0, i, i + 1] = 0.1
        theta[1, 0, i, i + 1] = 0.05
    # The last two columns are flat below the recovering alphas.
    theta[:, 0, 2:, 3:] = 0.005
    theta[1, 0, 2:, 3:] = 0.001
    return {
        "theta_difference": theta,
        "noise_difference": 3 * theta,
        "theta_to_flow": np.full((2, 1, 4), 1e-4),
        "noise_to_flow": np.full((2, 1, 4), 9e-4),
        "recovered": np.array([[False, False, False, True, True]]),
        # A grid step, 10, above it is lambda = 1 alone.
        "lambda0": np.array([0.05]),
        "without_solution": np.zeros((1, 5), dtype=bool),
    }


def test_findings_by_hand():
    findings = figure2.findings(figure2.Settings(penalties_per_decade=1), by_hand())
    assert [one.holds for one in findings] == [True] * 9
    assert "largest of 4 is 0.100" in findings[0].found
    assert findings[1].found == "0 of 2 do not; the largest is 0.0050"
    assert findings[2].found == "the largest of 1 is 0.0050"
    assert findings[4].found.startswith("0 of 2 are not; elsewhere")
    assert findings[4].found.endswith(
        "2 of 2 of the curve's are within 0.01 of the nearest"
    )
    # Means on the curve: of 0.1, 0.1, 0.005, 0.005 and of 0.05, 0.05, 0.001, 0.001.
    assert "0.0525 and 0.0255" in findings[5].found
    # Of s, three times as much: 0.3, 0.3, 0.015, 0.015, of which two are above 0.2.
    assert "0.1575 and 0.0765" in findings[6].found
    assert "2 and 0 of 4 are above 0.2" in findings[6].found


@pytest.mark.parametrize(
    ("claim", "array", "at", "value"),
    [
        ("on the curve", "theta_difference", (0, 0, 1, 2), 0.21),
        ("on the curve", "theta_difference", (0, 0, 1, 2), np.nan),
        ("and by less", "theta_difference", (0, 0, 2, 3), 0.01),
        ("the same from", "theta_difference", (0, 0, 3, 4), 0.01),
        ("the same from", "lambda0", 0, np.inf),
        ("descent ends", "theta_to_flow", (1, 0, 0), 1.1e-3),
        ("descent ends", "noise_to_flow", (0, 0, 3), 1.1e-3),
        ("descent ends", "noise_to_flow", (0, 0, 3), np.nan),
        # Where the first alpha is the curve's, the last one is the nearest.
        ("for each lambda", "theta_difference", (0, 0, 3, 1), 0.01),
        ("for each lambda", "theta_difference", (0, 0, 3, 1), np.nan),
        ("with the smaller", "theta_difference", (1, 0, 0, 1), 0.11),
        ("and so is s", "noise_difference", (1, 0, 0, 1), 0.31),
        ("and so is s", "noise_difference", (1, 0, 0, 1), np.nan),
        ("every descent", "theta_to_flow", (0, 0, 0), np.nan),
        ("every convex", "without_solution", (0, 0), True),
    ],
)
def test_one_counterexample_denies_a_claim(judged, claim, array, at, value):
    arrays = by_hand()
    arrays[array][at] = value
    findings = figure2.findings(figure2.Settings(penalties_per_decade=1), arrays)
    assert judged(findings, claim) == [False]


def test_near_lambda0_only_the_strict_claim_is_denied(judged):
    arrays = by_hand()
    arrays["theta_difference"][0, 0, 2, 3] = 0.01
    findings = figure2.findings(figure2.Settings(penalties_per_decade=1), arrays)
    assert judged(findings, "and by less", "the same from") == [False, True]


def test_a_nearest_alpha_one_step_away_is_near_enough(judged):
    arrays = by_hand()
    arrays["theta_difference"][0, 0, 1, 1] = 0.01
    settings = figure2.Settings(penalties_per_decade=1)
    assert judged(figure2.findings(settings, arrays), "for each lambda") == [True]


def test_differences_by_hand():
    one = np.array([[3.0, 4.0], [0.0, 0.0], [1.0, 0.0], [np.nan, 0.0]])
    other = np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    expected = [1, 0, math.sqrt(5) / 2, np.nan]
    assert figure2.difference(one, other) == pytest.approx(expected, nan_ok=True)


def test_bad_settings_are_refused(tmp_path):
    for changes, expected in [
        ({"num_wrong": 9}, "num_wrong=9"),
        ({"rank": 9}, "rank=9"),
        ({"log_gammas": (0.0, -1.0)}, "gamma=1.0"),
    ]:
        settings = dataclasses.replace(TINY, **changes)
        with pytest.raises(ValueError, match=expected):
            make_figure("figure2", settings, tmp_path / expected)
