import csv
import dataclasses

import epoch_times
import paper
import pytest
import reproduce
from epoch_times import Row, Times, Training

from sop_keras.training.experiment import Experiment

TABLE = paper.TABLES[5]


def times(epochs, *seconds):
    """Of a method whose run has one training, or one before it."""
    trainings = [
        Training(Experiment(method="ce", epochs=one), lambda: None) for one in epochs
    ]
    return Times(trainings, [list(turn) for turn in seconds])


def test_the_rows_by_hand():
    # Cross entropy has 100 epochs of 2, 4 and 3 s in the three turns; SOP 3, 4 and 6 s:
    # ratios 1.5, 1 and 2. The other one trains 50 epochs of 4 s before its own 100 of
    # 6, 6 and 7: 800, 800 and 900 s, by 200, 400 and 300 s.
    found = {
        "ce": times([100], [2.0], [4.0], [3.0]),
        "sop": times([100], [3.0], [4.0], [6.0]),
        "mixup": times([50, 100], [4.0, 6.0], [4.0, 6.0], [4.0, 7.0]),
    }
    rows = {row.title: row for row in epoch_times.rows_of(TABLE, found)}
    assert list(rows)[:6] == [row.name for row in TABLE.rows]
    one = rows["CE"]
    assert (one.epoch, one.epoch_ratio, one.run_ratio) == (3.0, 1.0, 1.0)
    assert one.hours == pytest.approx(300 / 3600)
    assert (one.paper_hours, one.paper_ratio) == (0.9, 1.0)
    assert (rows["SOP"].epoch, rows["SOP"].epoch_ratio) == (4.0, 1.5)
    assert rows["SOP"].paper_ratio == pytest.approx(1.0 / 0.9)
    other = rows["MixUp"]
    assert (other.epoch, other.epoch_ratio) == (6.0, 7 / 3)
    assert (other.hours, other.run_ratio) == (pytest.approx(800 / 3600), 3.0)
    assert other.paper_hours is None
    # The paper's, which was not timed.
    assert (rows["DivideMix"].epoch, rows["DivideMix"].paper_hours) == (None, 5.4)


def test_without_cross_entropy_there_are_no_ratios():
    rows = epoch_times.rows_of(TABLE, {"sop": times([10], [3.0])})
    (row,) = (row for row in rows if row.title == "SOP")
    assert (row.epoch, row.epoch_ratio, row.run_ratio) == (3.0, None, None)


def test_the_papers_ratios_are_those_that_it_states():
    # 1.0, 4.4, 5.4, 2.3 and 2.1 hours by 0.9.
    rows = epoch_times.rows_of(TABLE, {})
    assert [round(row.paper_ratio, 1) for row in rows] == [1.0, 4.9, 6.0, 2.6, 1.1, 2.3]


def test_the_table(tmp_path):
    rows = [
        Row("CE", 2.0, 1.0, 0.5, 1.0, 0.9, 1.0),
        Row("SOP", error="no such thing", paper_hours=1.0, paper_ratio=1.0 / 0.9),
    ]
    epoch_times.write(tmp_path, "Table 5", rows, ["A note."])
    lines = (tmp_path / "table.md").read_text("utf-8").splitlines()
    assert lines[4] == "| CE | 2.00 | 1.00 | 0.50 | 1.00 | 0.9 | 1.0 |"
    assert lines[5] == "| SOP | failed | failed | failed | failed | 1.0 | 1.1 |"
    assert lines[6:] == ["", "A note.", "", "Failed: SOP: no such thing"]
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    assert set(first) == {field.name for field in dataclasses.fields(Row)}
    assert (first["epoch"], second["error"]) == ("2.0", "no such thing")
    assert (tmp_path / "table.png").read_bytes()[:4] == b"\x89PNG"


SMALL = ["--table=5", "--small", "--rounds=1", "--nodeterministic", "--dataset=digits"]
SMALL += ["--backbone=mlp", "--augment=none", "--num_validation=0", "--epochs=4"]
SMALL += ["--max_train_examples=64"]


def test_methods_are_timed_for_real(tmp_path, capsys):
    arguments = [*SMALL, "--methods=ce,sop", f"--output_dir={tmp_path}"]
    assert reproduce.main(arguments) == 0
    shown = capsys.readouterr().out
    # The order turns round, and the first turn is not counted.
    turns = [line.split(":")[:2] for line in shown.splitlines() if "turn " in line[:5]]
    assert turns == [
        ["turn 0 of 1", " sop"],
        ["turn 0 of 1", " ce"],
        ["turn 1 of 1", " ce"],
        ["turn 1 of 1", " sop"],
    ]
    text = (tmp_path / "table.md").read_text("utf-8")
    assert "A run is 4 of them" in text
    assert "Not the paper's setting: --dataset=digits --max_train_examples=64" in text
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["title"]: row for row in csv.DictReader(file)}
    assert rows["CE"]["run_ratio"] == "1.0"
    sop = float(rows["SOP"]["epoch"]) / float(rows["CE"]["epoch"])
    assert float(rows["SOP"]["epoch_ratio"]) == pytest.approx(sop)


def test_a_method_that_fails_is_told_of_and_the_others_go_on(
    tmp_path, monkeypatch, capsys
):
    prepared = epoch_times._prepared

    def fail(experiment, *rest):
        if experiment.record.load().finds_label_issues:
            raise ValueError("no such thing")
        return prepared(experiment, *rest)

    monkeypatch.setattr(epoch_times, "_prepared", fail)
    arguments = [*SMALL, "--methods=sop,ce", f"--output_dir={tmp_path}"]
    assert reproduce.main(arguments) == 1
    text = (tmp_path / "table.md").read_text("utf-8")
    assert "\nFailed: SOP: no such thing\n" in text
    (row,) = (line for line in text.splitlines() if line.startswith("| CE |"))
    seconds, ratio = row.split(" | ")[1:3]
    assert float(seconds) > 0
    assert float(ratio) == 1


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("--strategy=mirrored", "reproduced on one device. Received: --strategy=mirro"),
        ("--method=ce", "--method is not for a table: choose by --methods=NAMES"),
    ],
)
def test_what_it_would_not_heed_is_refused(word, text, capsys):
    assert reproduce.main(["--table=5", "--small", "--dry_run", word]) == 1
    assert text in capsys.readouterr().err
