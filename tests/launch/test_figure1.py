import csv

import figure1
import pytest


def rows(method, rate, seed, training, test):
    return [
        {
            "method": method,
            "noise_rate": rate,
            "seed": seed,
            "epoch": epoch,
            "accuracy": one,
            "test_accuracy": other,
        }
        for epoch, (one, other) in enumerate(zip(training, test, strict=True), start=1)
    ]


@pytest.fixture
def runs():
    return [
        *rows("sop", 0.4, 0, [0.2, 0.4, 0.6], [0.3, 0.5, 0.6]),
        *rows("sop", 0.4, 1, [0.2, 0.4, 0.5], [0.3, 0.5, 0.8]),
        *rows("sop_plus", 0.4, 0, [0.2, 0.4, 0.6], [0.3, 0.6, 0.9]),
        *rows("ce", 0.4, 0, [0.2, 0.6, 0.9], [0.3, 0.7, 0.4]),
        *rows("ce", 0.0, 0, [0.2, 0.6, 0.9], [0.3, 0.8, 0.8]),
    ]


def test_the_table_by_hand(runs):
    # Two SOP runs end at 60 and 80%: mean 70, deviation sqrt(2 * 10^2 / 1) = 14.14. The
    # last third of three epochs is the last one, so nothing is lost in it.
    table = figure1.final_table(runs).splitlines()
    assert len(table) == 2 + 4
    assert table[2].startswith("| 0% | cross entropy | 1 | 80.00 | 80.00 | 0.00")
    assert table[3] == (
        "| 40% | SOP | 2 | 70.00 +- 14.14 | 70.00 +- 14.14 | 0.00 (largest 0.00) "
        "| 55.00 +- 7.07 |"
    )
    assert table[4].startswith("| 40% | SOP+ | 1 | 90.00 | 90.00 | 0.00")
    assert table[5].startswith("| 40% | cross entropy | 1 | 40.00 | 70.00 | 0.00")


def test_the_fall_in_the_last_third_by_hand():
    # Of nine epochs the last three: 0.6 at best, 0.5 at the end: 10 points.
    test = [0.9] * 6 + [0.6, 0.55, 0.5]
    table = figure1.final_table(rows("ce", 0.2, 0, [0.5] * 9, test))
    assert "| 50.00 | 90.00 | 10.00 (largest 10.00) | 50.00 |" in table


def test_the_picture_and_the_csv(runs, tmp_path):
    figure1.draw(runs, tmp_path / "figure1.png")
    assert (tmp_path / "figure1.png").read_bytes()[:4] == b"\x89PNG"
    figure1._write_csv(runs, tmp_path / "figure1.csv")
    with (tmp_path / "figure1.csv").open() as file:
        read = list(csv.DictReader(file))
    assert len(read) == len(runs)
    assert read[5]["test_accuracy"] == "0.8"
