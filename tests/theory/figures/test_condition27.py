import dataclasses

import numpy as np
import pytest

from sop_keras.theory import convex_program, random_problem
from sop_keras.theory.figures import condition27, make_figure

# Of the second size some problems meet (27), of the third none can: k^2 r = 4 is not
# less than N / (4 mu), at most 20 / 4.
TINY = condition27.Settings(
    sizes=((20, 30, 1, 1), (60, 80, 5, 1), (20, 30, 2, 2)),
    blocks=2,
    problems=3,
    max_draws=8,
    least=7,
)


def test_what_is_drawn_by_default():
    settings = condition27.Settings()
    assert {size[0] for size in settings.sizes} == {100, 400}
    pairs = {(k, r) for _, _, r, k in settings.sizes}
    assert len(pairs) >= 6
    assert any(k >= 2 and r >= 2 for k, r in pairs)
    wanted = len(settings.sizes) * settings.blocks * settings.problems
    assert wanted >= settings.least >= 2000
    assert settings.penalty == 0.1


def test_the_files(tmp_path, read_csv):
    make_figure("condition27", TINY, tmp_path)
    rows = read_csv(tmp_path / "condition27.csv")
    assert [(row["N"], row["k"], row["r"]) for row in rows] == [
        (20, 1, 1),
        (60, 1, 5),
        (20, 2, 2),
    ]
    drawn, met = 0, 0
    for block in range(2):
        drawn_here = met_here = 0
        while drawn_here < 8 and met_here < 3:
            problem = random_problem(
                60, 80, 5, 1, seed=(27, 60, 80, 5, 1, block, drawn_here)
            )
            # ||U^T e_i||^2 is the diagonal of J J^+; (27) with k = 1 is 4 max < 1.
            leverage = np.diag(problem.jacobian @ np.linalg.pinv(problem.jacobian))
            met_here += bool(4 * leverage.max() < 1)
            drawn_here += 1
        drawn, met = drawn + drawn_here, met + met_here
    assert (rows[1]["drawn"], rows[1]["met"]) == (drawn, met)
    assert 0 < met < drawn
    assert (rows[2]["drawn"], rows[2]["met"]) == (16, 0)
    assert np.isnan(rows[2]["largest_lambda0"])
    for row in rows:
        assert row["recovered"] == row["met"]
    assert (tmp_path / "condition27.png").read_bytes()[:4] == b"\x89PNG"


def test_a_solver_that_fails_is_counted(tmp_path, read_csv, judged, monkeypatch):
    monkeypatch.setattr(convex_program._Program, "solve", lambda *arguments: None)
    settings = dataclasses.replace(TINY, sizes=TINY.sizes[:1])
    findings = make_figure("condition27", settings, tmp_path)
    (row,) = read_csv(tmp_path / "condition27.csv")
    assert row["met"] == row["without_solution"] > 0
    assert (row["recovered"], np.isnan(row["largest_theta_error"])) == (0, True)
    assert judged(findings, "each of them with", "every convex") == [False, False]


SETTINGS = condition27.Settings(sizes=((9, 9, 1, 1), (9, 9, 2, 1)), least=3)


def by_hand():
    return {
        "drawn": np.array([2, 5]),
        "size": np.array([0, 0, 1]),
        "theta_error": np.array([1e-8, 1e-9, 1e-7]),
        "noise_error": np.array([1e-8, 1e-9, 1e-7]),
        "lambda0": np.array([0.01, 0.02, 0.03]),
        "lambda_end": np.full(3, np.inf),
    }


def test_findings_by_hand():
    findings = condition27.findings(SETTINGS, by_hand())
    assert [one.holds for one in findings] == [True] * 4
    assert findings[0].found == "3 of 7 drawn, of 2 (k, r)"
    assert findings[1].found == "0 of 3 are not"
    assert "the largest lambda0 is 0.03" in findings[2].found


@pytest.mark.parametrize(
    ("claim", "array", "at", "value"),
    [
        ("each of them with", "theta_error", 1, 1e-3),
        ("each of them with", "noise_error", 2, np.nan),
        ("each of them has", "lambda0", 0, np.inf),
        ("each of them has", "lambda0", 0, np.nan),
        ("each of them has", "lambda_end", 0, 3.0),
        ("every convex", "theta_error", 0, np.nan),
    ],
)
def test_one_counterexample_denies_a_claim(judged, claim, array, at, value):
    arrays = by_hand()
    arrays[array][at] = value
    assert judged(condition27.findings(SETTINGS, arrays), claim) == [False]


def test_above_lambda_a_problem_need_not_be_recovered(judged):
    arrays = by_hand()
    arrays["lambda0"][1], arrays["theta_error"][1] = 0.2, 1.0
    findings = condition27.findings(SETTINGS, arrays)
    assert judged(findings, "each of them with") == [True]
    assert findings[1].found == "0 of 2 are not"


def test_too_few_are_not_enough(judged):
    settings = dataclasses.replace(SETTINGS, least=4)
    assert judged(condition27.findings(settings, by_hand()), "at least") == [False]
