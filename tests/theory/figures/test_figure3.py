import dataclasses

import numpy as np
import pytest

from sop_keras.theory import convex_program
from sop_keras.theory.figures import figure3, make_figure, trials

TINY = figure3.Settings(
    num_examples=20,
    num_parameters=30,
    ranks=(2, 4),
    wrong=(2, 5),
    rank=2,
    num_wrong=2,
    penalties_per_decade=1,
    trials=3,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figure3")
    make_figure("figure3", TINY, folder)
    with np.load(folder / "figure3.npz") as arrays:
        return folder, dict(arrays)


def test_the_papers_ranges():
    settings = figure3.Settings()
    assert settings.penalties[[0, 1, 40]] == pytest.approx([1e-4, 10**-3.9, 1])
    # (20, 20) is in both panels, and computed once.
    assert len(settings.pairs) == 9
    assert settings.panels["a"] == [(k, 20) for k in (10, 20, 40, 60, 80)]
    assert settings.panels["b"] == [(20, r) for r in (10, 20, 40, 60, 80)]
    first = figure3.units(settings)[0]
    assert first.arguments[0] == (100, 150, 20, 10)
    assert len(first.arguments[1]) == 10


def test_the_files(made, read_csv):
    folder, arrays = made
    rows = read_csv(folder / "figure3.csv")
    # 2 panels of 2 curves, 5 lambdas.
    assert len(rows) == 2 * 2 * 5
    row = next(row for row in rows if (row["panel"], row["r"]) == ("b", 4))
    # Each trial for itself, anew.
    seeds = [(3, 2, 4, trial) for trial in range(3)]
    alone = [trials.solve_trials((20, 30, 4, 2), [seed], [1e-4]) for seed in seeds]
    errors = [float(one["theta_error"][0, 0]) for one in alone]
    assert row["theta_error"] == pytest.approx(sum(errors) / 3, rel=1e-3)
    assert row["lambda"] == 1e-4
    middle = sorted(float(one["lambda0"][0]) for one in alone)[1]
    assert row["median_lambda0"] == pytest.approx(middle, rel=1e-3)
    assert (row["recovered"], row["trials_with_lambda0"]) == (0, 3)
    assert (folder / "figure3.png").read_bytes()[:4] == b"\x89PNG"
    assert arrays["theta_error"].shape == (3, 3, 5)


def test_a_solver_that_fails_leaves_a_gap(tmp_path, read_csv, judged, monkeypatch):
    solve = convex_program._Program.solve

    def fail_at_a_tenth(self, factor, labels, penalty, solver):
        if 0.05 < penalty < 0.5:
            return None
        return solve(self, factor, labels, penalty, solver)

    monkeypatch.setattr(convex_program._Program, "solve", fail_at_a_tenth)
    findings = make_figure("figure3", TINY, tmp_path)
    for row in read_csv(tmp_path / "figure3.csv"):
        assert np.isnan(row["theta_error"]) == (row["lambda"] == 0.1)
        assert row["without_solution"] == (3 if row["lambda"] == 0.1 else 0)
    # 3 (k, r) of 3 trials.
    found = [one.found for one in findings if one.claim.startswith("every convex")]
    assert found == ["9 of 45 have none"]
    assert judged(findings, "errors are below", "every convex") == [False, False]


def by_hand():
    """(k, r) of (1, 1), (1, 2), (2, 1), a trial each; lambda 1e-4 to 1 in decades."""
    errors = np.array([[[1.0, 1.0, 0.1, 1e-6, 1e-7]]] * 3)
    return {
        "penalties": np.logspace(-4, 0, 5),
        "theta_error": errors,
        "noise_error": errors.copy(),
        "lambda0": np.array([[3e-3], [6e-3], [5e-3]]),
        "lambda_end": np.full((3, 1), np.inf),
    }


SETTINGS = figure3.Settings(
    ranks=(1, 2),
    wrong=(1, 2),
    rank=1,
    num_wrong=1,
    penalties_per_decade=1,
    trials=1,
)


def test_findings_by_hand():
    findings = figure3.findings(SETTINGS, by_hand())
    assert [one.holds for one in findings] == [True] * 6
    # Within a decade of 3e-3 to 6e-3 are 1e-3 and 1e-2: told are 0.1 and 1 above, and
    # 1e-4 below. At 1e-2 all three lambda0 are passed, and the error is 0.1.
    assert findings[0].found == "0 of 6 are not; the largest is 1.0e-06"
    assert findings[1].found == (
        "0 of 3 are; within a grid step of lambda0, 3 of 6 are on the other side of "
        "1e-3"
    )
    assert findings[2].found == "k=1: 0.003, k=2: 0.005"
    assert findings[3].found == "r=1: 0.003, r=2: 0.006"


@pytest.mark.parametrize(
    ("claim", "array", "at", "value"),
    [
        ("errors are below", "theta_error", (1, 0, 4), 1e-3),
        ("errors are below", "noise_error", (1, 0, 4), np.nan),
        ("lambda0, the median of the trials, grows with k", "lambda0", (2, 0), 2e-3),
        ("lambda0, the median of the trials, grows with r", "lambda0", (1, 0), 2e-3),
        ("lambda0, the median of the trials, grows with r", "lambda0", (1, 0), np.nan),
        ("every convex", "theta_error", (0, 0, 0), np.nan),
        ("every search", "lambda0", (0, 0), np.nan),
    ],
)
def test_one_counterexample_denies_a_claim(judged, claim, array, at, value):
    arrays = by_hand()
    arrays[array][at] = value
    assert judged(figure3.findings(SETTINGS, arrays), claim) == [False]


def test_a_recovery_below_lambda0_denies_the_threshold(judged):
    arrays = by_hand()
    arrays["theta_error"][0, 0, 0] = arrays["noise_error"][0, 0, 0] = 1e-4
    assert judged(figure3.findings(SETTINGS, arrays), "elsewhere") == [False]


def test_no_lambda0_is_larger_than_any(judged):
    arrays = by_hand()
    arrays["lambda0"][2] = np.inf
    findings = figure3.findings(SETTINGS, arrays)
    grows = "lambda0, the median of the trials, grows with k"
    assert judged(findings, grows) == [True]
    assert "k=2: none" in findings[2].found
    arrays["lambda0"][0] = np.inf
    assert judged(figure3.findings(SETTINGS, arrays), grows) == [False]


def test_bad_settings_are_refused(tmp_path):
    with pytest.raises(ValueError, match="num_wrong=21"):
        make_figure("figure3", dataclasses.replace(TINY, wrong=(21,)), tmp_path)
