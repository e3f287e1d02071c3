import pytest
from safety_report import bars, cell_results, close_cells, markdown, read_rows

HEADER = (
    "cell,seed,arm,accuracy,balanced_accuracy,last_recall,wrong,least_right,"
    "flagged_right,found_wrong,auroc,seconds,warnings"
)


def line(cell, arm, accuracy, flagged=0.0, auroc="", wrong=0.0, seed=0, warned=""):
    """Of noisy cells half of the wrong labels are found, whatever the arm."""
    found = 0.5 if wrong else ""
    return (
        f"{cell},{seed},{arm},{accuracy},{accuracy},{accuracy},{wrong},{1 - wrong},"
        f"{flagged},{found},{auroc},30,{warned}"
    )


# Accuracies and shares of right labels flagged, by hand:
# - "good": "auto" loses 0.5 of the point that it may lose, 4% flagged.
# - "worse": it loses 2 points, and flags 20%.
# - "warned": it flags 60% and says so, but "slow" would have done.
# - "noisy1", "noisy2": the best of each cell are 0.85 (paper) and 0.75 (suggested),
#   mean 0.80; the best setting is suggested, (0.80 + 0.75) / 2 = 0.775; auto has
#   (0.84 + 0.74) / 2 = 0.79. Of AUROC: paper 0.9, suggested 0.95, auto 0.935.
LINES = [
    HEADER,
    line("good", "cross_entropy", 0.9),
    line("good", "auto", 0.895, 0.04),
    line("good", "paper", 0.9),
    line("good", "suggested", 0.9),
    line("good", "slow", 0.9),
    line("worse", "cross_entropy", 0.9),
    line("worse", "auto", 0.88, 0.2),
    line("worse", "paper", 0.9),
    line("worse", "suggested", 0.9),
    line("worse", "slow", 0.9),
    line("warned", "cross_entropy", 0.9),
    line("warned", "auto", 0.9, 0.6, warned="most labels were taken up"),
    line("warned", "paper", 0.8),
    line("warned", "suggested", 0.9, 0.9),
    line("warned", "slow", 0.89, 0.05),
    line("noisy1", "cross_entropy", 0.7, auroc=0.8, wrong=0.4),
    line("noisy1", "auto", 0.84, 0, 0.95, wrong=0.4),
    line("noisy1", "paper", 0.85, 0, 0.95, wrong=0.4),
    line("noisy1", "suggested", 0.80, 0, 0.96, wrong=0.4),
    line("noisy1", "slow", 0.6, 0, 0.7, wrong=0.4),
    line("noisy2", "cross_entropy", 0.7, auroc=0.8, wrong=0.6),
    # Two seeds, of which the others have one.
    line("noisy2", "auto", 0.74, 0, 0.92, wrong=0.6),
    line("noisy2", "auto", 0.0, 0, 0.0, wrong=0.6, seed=1),
    line("noisy2", "paper", 0.6, 0, 0.85, wrong=0.6),
    line("noisy2", "suggested", 0.75, 0, 0.94, wrong=0.6),
    line("noisy2", "slow", 0.6, 0, 0.7, wrong=0.6),
    line("begun", "cross_entropy", 0.6),
    "good,1,auto,0.5",
]


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "grid.csv"
    path.write_text("\n".join(LINES))
    return read_rows(path)


def test_bars(rows):
    found = {bar.asked: bar for bar in bars(cell_results(rows))}
    figures = [(bar.figure, bar.is_met) for bar in found.values()]
    assert figures == [
        ("worst -2.0 points", False),
        ("worst without a warning 20.0%, of 3 cells", False),
        ("20.0%", False),
        ("1 of 1 cells with a warning", False),
        # 0.79 is above 0.775; but 0.01 behind the best of each: the margin.
        ("0.7900, best 0.7750 (suggested), of 2 cells", True),
        ("0.0100 behind", True),
        ("0.7900, paper 0.7250", True),
        ("0.7900, suggested 0.7750", True),
        # 0.935 of 0.95: more than 0.01.
        ("0.9350, best 0.9500 (suggested), of 2 cells", False),
        ("0.0150 behind", False),
        ("0.9350, paper 0.9000", True),
        ("0.9350, suggested 0.9500", False),
    ]
    missed = [bar.missed for bar in found.values() if bar.missed]
    assert missed == [
        ["worse: 88.0%, cross entropy 90.0%"],
        ["worse: 20.0%"],
        ["warned (with a warning)"],
        ["warned (with a warning): slow"],
        [
            # 1 - wrong of noisy2's labels are right.
            "noisy2 (a class of which 40.0% of the labels are right): 0.020 behind",
        ],
    ]


def test_which_warnings_count(rows):
    found = [bar.figure for bar in bars(cell_results(rows, distrust="overflows"))]
    assert found[1:4] == [
        "worst without a warning 60.0%, of 3 cells",
        "0.0%",
        "0 of 0 cells with a warning",
    ]


def test_seeds_are_paired():
    rows = [
        {"cell": "a", "seed": seed, "arm": arm, "warnings": "", "accuracy": accuracy}
        for arm, seed, accuracy in (
            ("cross_entropy", 0, 0.5),
            ("cross_entropy", 1, 0.7),
            ("cross_entropy", 2, 0.0),
            ("auto", 0, 0.6),
            ("auto", 1, 0.9),
        )
    ]
    (one,) = cell_results(rows)
    # Seeds 0 and 1: 0.75 and 0.6.
    assert (one.seeds, one.gain()) == (2, pytest.approx(0.15))


def test_cells_for_more_seeds(rows):
    # Within 3 points of losing 1, or of 5% flagged: "good" loses 0.5, "warned" 0.
    assert close_cells(rows) == {"good", "worse", "warned"}


def test_markdown(rows, tmp_path):
    text = markdown(rows)
    # 27 lines of half a minute: 13.5.
    assert text.startswith('5 cells, 5 pairs of cross entropy and "auto"; 14 minutes')
    assert "| worst -2.0 points | NO | 1 |" in text
    assert "\n- worse: 88.0%, cross entropy 90.0%\n" in text
    # Clean: (0.895 + 0.88 + 0.9) / 3 accurate, (0.04 + 0.2 + 0.6) / 3 flagged.
    means = (0.8917, 0.8917, 0.28, 0.79, 0.79, 0.0, 0.5, 0.935)
    assert "| auto | " + " | ".join(f"{one:.4f}" for one in means) + " |" in text
    assert "yet" in markdown(read_rows(tmp_path / "none.csv"))
