import dataclasses

import numpy as np
import pytest

from sop_keras.theory import convex_program
from sop_keras.theory.figures import figure4, make_figure, trials

TINY = figure4.Settings(
    num_examples=20, num_parameters=30, wrong=(1, 12), ranks=(2, 10), trials=3
)


def test_the_papers_ranges():
    settings = figure4.Settings()
    assert (settings.num_examples, settings.num_parameters) == (100, 150)
    assert (settings.penalty, settings.trials) == (0.1, 20)
    assert min(settings.wrong) == min(settings.ranks) == 1
    assert max(settings.wrong) == max(settings.ranks) == 95


def test_the_files(tmp_path, read_csv, red_pixels, judged):
    findings = make_figure("figure4", TINY, tmp_path)
    rows = read_csv(tmp_path / "figure4.csv")
    assert [(row["k"], row["r"]) for row in rows] == [
        (1, 2),
        (1, 10),
        (12, 2),
        (12, 10),
    ]
    # 12 wrong labels of 20 in 10 dimensions: no majority is left.
    assert [rows[0]["success"], rows[3]["success"]] == [1, 0]
    for row in rows:
        assert row["success"] == row["success_by_linear_program"]
    assert red_pixels(tmp_path / "figure4.png") == 0
    assert (
        judged(findings, "all are recovered where linear", "every convex") == [True] * 2
    )


def test_a_solver_that_fails_leaves_marked_cells(
    tmp_path, read_csv, red_pixels, judged, monkeypatch
):
    solve = convex_program._Program.solve

    def fail_at_rank_2(self, factor, labels, penalty, solver):
        if factor.shape[1] == 2:
            return None
        return solve(self, factor, labels, penalty, solver)

    monkeypatch.setattr(convex_program._Program, "solve", fail_at_rank_2)
    findings = make_figure("figure4", TINY, tmp_path)
    for row in read_csv(tmp_path / "figure4.csv"):
        assert np.isnan(row["success"]) == (row["r"] == 2)
        assert row["without_solution"] == (3 if row["r"] == 2 else 0)
    assert red_pixels(tmp_path / "figure4.png") > 1000
    assert judged(findings, "every convex", "elsewhere") == [False, False]


def test_linear_programs_that_fail_leave_marked_cells(
    tmp_path, read_csv, red_pixels, judged, monkeypatch
):
    def fail(problem):
        raise RuntimeError("no lambda0")

    monkeypatch.setattr(trials, "recovery_interval", fail)
    findings = make_figure("figure4", TINY, tmp_path)
    assert findings[-1].found == "12 of 12 have none"
    assert judged(findings, "every search", "elsewhere") == [False, False]
    for row in read_csv(tmp_path / "figure4.csv"):
        assert np.isnan(row["success_by_linear_program"])
        assert 0 <= row["success"] <= 1
    assert red_pixels(tmp_path / "figure4.png") > 1000


SETTINGS = figure4.Settings(num_examples=10, wrong=(1, 3, 5), ranks=(1, 3, 5), trials=2)


def by_hand():
    """Recovered where k + r is at most 6, but for one trial of (3, 3)."""
    k = np.array([1, 3, 5])
    found = np.repeat((k[:, None] + k <= 6)[..., None], 2, axis=2)
    found[1, 1, 0] = False
    errors = np.where(found, 1e-6, 1.0)
    condition = np.zeros((3, 3, 2), dtype=bool)
    condition[0, 0] = True
    return {
        "k": k,
        "r": k,
        "theta_error": errors,
        "noise_error": errors.copy(),
        "lambda0": np.where(found, 0.01, np.inf),
        "lambda_end": np.full((3, 3, 2), np.inf),
        "condition": condition,
    }


def test_success_and_findings_by_hand():
    arrays = by_hand()
    assert figure4.success(arrays).tolist() == [[1, 1, 1], [1, 0.5, 0], [1, 0, 0]]
    findings = figure4.findings(SETTINGS, arrays)
    assert [one.holds for one in findings] == [True] * 8
    # A tenth and half of N = 10: (1, 1) and (5, 5).
    assert findings[0].found == findings[1].found == "1 of 1 (k, r)"
    assert findings[2].found.startswith(
        "5 (k, r) of 9 are always recovered; below 0 of"
    )
    assert findings[3].found == "0 of 11 are not; 0 cannot be told"
    assert findings[4].found == (
        "the smallest of 7 is 1.0e+00; 0 are below 0.001, and successes"
    )
    assert findings[5].found == "2 of 2"


@pytest.mark.parametrize(
    ("claim", "array", "at", "value"),
    [
        ("all are recovered where k", "theta_error", (0, 0, 1), 1.0),
        ("none is", "theta_error", (2, 2), 1e-6),
        # (1, 3) then fails below (1, 5), which is always recovered.
        ("where all", "theta_error", (0, 1), 1.0),
        ("where all", "theta_error", (0, 1, 0), np.nan),
        ("all are recovered where linear", "noise_error", (0, 2, 0), 1e-3),
        ("all are recovered where linear", "lambda0", (2, 2, 0), 0.01),
        ("elsewhere", "theta_error", (2, 2), 1e-6),
        ("elsewhere", "theta_error", (2, 2, 0), np.nan),
        ("all that meet", "noise_error", (0, 0, 0), 1e-3),
        ("every convex", "theta_error", (0, 0, 0), np.nan),
        ("every search", "lambda0", (0, 0, 0), np.nan),
    ],
)
def test_one_counterexample_denies_a_claim(judged, claim, array, at, value):
    arrays = by_hand()
    arrays[array][at] = value
    if value == 1e-6:
        arrays["noise_error"][at] = value
    assert judged(figure4.findings(SETTINGS, arrays), claim) == [False]


def test_another_solution_that_is_near_is_a_success_and_told(judged):
    arrays = by_hand()
    arrays["theta_error"][2, 1, 0] = arrays["noise_error"][2, 1, 0] = 5e-4
    findings = figure4.findings(SETTINGS, arrays)
    assert figure4.success(arrays)[2, 1] == 0.5
    assert judged(findings, "elsewhere") == [True]
    assert findings[4].found == (
        "the smallest of 7 is 5.0e-04; 1 are below 0.001, and successes"
    )


def test_bad_settings_are_refused(tmp_path):
    for changes, expected in [
        ({"wrong": (21,)}, "num_wrong=21"),
        ({"ranks": (0,)}, "rank=0"),
    ]:
        with pytest.raises(ValueError, match=expected):
            make_figure(
                "figure4", dataclasses.replace(TINY, **changes), tmp_path / expected
            )
