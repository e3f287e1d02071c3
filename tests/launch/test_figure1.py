import csv
import shlex
from types import SimpleNamespace
from typing import ClassVar

import command
import figure1
import pytest
import reproduce
import train_flags
from absl import flags
from planned_run import PlannedRun

from sop_keras import methods


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
    assert table[2].startswith("| 0% | CE | 1 | 80.00 | 80.00 | 0.00")
    assert table[3] == (
        "| 40% | SOP | 2 | 70.00 +- 14.14 | 70.00 +- 14.14 | 0.00 (largest 0.00) "
        "| 55.00 +- 7.07 |"
    )
    assert table[4].startswith("| 40% | SOP+ | 1 | 90.00 | 90.00 | 0.00")
    assert table[5].startswith("| 40% | CE | 1 | 40.00 | 70.00 | 0.00")


def test_without_a_test_set_it_is_of_validation(runs, tmp_path):
    of_validation = [
        {"val_accuracy": row.pop("test_accuracy"), **row} for row in map(dict, runs)
    ]
    table = figure1.final_table(of_validation)
    assert "| final validation, % | best validation, % |" in table
    assert table.splitlines()[2:] == figure1.final_table(runs).splitlines()[2:]
    figure1.draw(of_validation, tmp_path / "of no ending")
    assert (tmp_path / "of no ending").read_bytes()[:4] == b"\x89PNG"
    never_right = [{**row, "val_accuracy": 0.0} for row in of_validation]
    assert figure1.measured_on(never_right) == ("val_accuracy", "validation")
    neither = [{**row, "val_accuracy": ""} for row in of_validation]
    with pytest.raises(ValueError, match="no test set and no validation split"):
        figure1.final_table(neither)


@pytest.mark.parametrize("figure", ["pictures", ".", "figure.jpg"])
def test_a_figure_that_is_no_png_is_refused_before_training(figure):
    with pytest.raises(ValueError, match=f"--figure is the file.*--figure={figure}"):
        figure1.figure1(parsed(f"--figure={figure}"))


def test_the_fall_in_the_last_third_by_hand():
    # Of nine epochs the last three: 0.6 at best, 0.5 at the end: 10 points.
    test = [0.9] * 6 + [0.6, 0.55, 0.5]
    table = figure1.final_table(rows("ce", 0.2, 0, [0.5] * 9, test))
    assert "| 50.00 | 90.00 | 10.00 (largest 10.00) | 50.00 |" in table


def test_the_picture_and_the_csv(runs, tmp_path):
    figure1.draw(runs, tmp_path / "figure1.png")
    assert (tmp_path / "figure1.png").read_bytes()[:4] == b"\x89PNG"
    figure1._write_csv(runs, tmp_path / "figure1.csv")
    with (tmp_path / "figure1.csv").open(encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert len(read) == len(runs)
    assert read[5]["test_accuracy"] == "0.8"


def test_methods_look_different_and_are_called_as_in_the_paper():
    looks = figure1.looks_of_methods()
    assert list(looks) == list(methods.names())
    assert len(set(looks.values())) == len(looks)
    assert figure1.title_of("sop_plus") == "SOP+"


def parsed(*arguments):
    return command.parse(
        figure1.define_flags(), ["--flagfile=fig1_cpu", "--nodeterministic", *arguments]
    )


class _FakeRun:
    """Instead of a training; writes a history of one epoch."""

    trained: ClassVar = []

    def __init__(self, folder):
        self._folder = folder

    def train(self, verbose, flags):
        self.trained.append((self._folder.name, verbose, flags))
        self._folder.mkdir(parents=True, exist_ok=True)
        text = "epoch,accuracy,test_accuracy\n1,0.5,0.6\n"
        (self._folder / "history.csv").write_text(text, "utf-8")


@pytest.fixture
def trained(monkeypatch):
    """The name of the folder, `verbose` and `flags` of each run; none is trained."""
    monkeypatch.setattr(_FakeRun, "trained", [])
    monkeypatch.setattr(PlannedRun, "make", lambda run, _: _FakeRun(run.folder))
    return _FakeRun.trained


def test_runs_record_their_own_command_of_train(trained, tmp_path):
    words = ["--seeds", "0,3", "--noise_rates=0.2,0.25", f"--output_dir={tmp_path}"]
    figure1.figure1(parsed(*words, "--epochs", "1"))
    assert (tmp_path / "figure1.png").is_file()
    names = [name for name, _, _ in trained]
    assert len(names) == len(set(names)) == 2 * 2 * 2
    assert names[:3] == ["sop-noise20-seed0", "ce-noise20-seed0", "sop-noise25-seed0"]
    for name, _, recorded in trained:
        # What is recorded is the same run of launch/train.py.
        values = reproduce.parsed(shlex.split(recorded))
        assert values.output_dir == str(tmp_path / name)
        found = train_flags.experiment(values, *values.method)
        one = f"{found.record.name}-noise{100 * found.noise_rate:g}-seed{found.seed}"
        assert (one, found.epochs) == (name, 1)


def test_a_training_before_the_one_that_counts_is_no_part_of_it(tmp_path):
    """Forward estimates its matrix by a training of as many epochs, of which none is
    an epoch of its curve, nor the best one."""
    line = parsed(
        *("--method=forward", "--seeds=0", "--noise_rates=0.2", "--epochs=2"),
        f"--output_dir={tmp_path}",
    )
    planned = figure1.planned_runs(line)
    (one,) = planned.values()
    one.folder.mkdir()
    rows = ["epoch,accuracy,test_accuracy", "1,0.1,0.3", "2,0.1,0.9", "3,0.2,0.4"]
    (one.folder / "history.csv").write_text("\n".join([*rows, "4,0.2,0.5"]), "utf-8")
    figure1._write(line, planned)
    with (tmp_path / "figure1.csv").open(encoding="utf-8") as file:
        read = [(row["epoch"], row["test_accuracy"]) for row in csv.DictReader(file)]
    assert read == [("1", "0.4"), ("2", "0.5")]


def test_only_the_first_worker_draws(trained, monkeypatch, capsys, tmp_path):
    worker = SimpleNamespace(cluster_resolver=SimpleNamespace(task_id=1))
    monkeypatch.setattr("train_runs.prepare", lambda values: worker)
    monkeypatch.setattr("sop_keras.core.strategies.is_chief", lambda strategy: False)
    figure1.figure1(parsed("--seeds=0", f"--output_dir={tmp_path}"))
    assert {verbose for _, verbose, _ in trained} == {0}
    assert [one.name for one in tmp_path.iterdir() if one.is_file()] == []
    assert capsys.readouterr().out == (
        "Worker 1 trains along; worker 0 draws the figure.\n"
    )


@pytest.mark.parametrize("name", ["seed", "noise_rate"])
def test_the_flags_that_runs_differ_in_are_refused(name):
    for words in ([f"--{name}=0"], [f"--{name}", "0"]):
        with pytest.raises(ValueError, match=f"--{name} is not .*Give --{name}s, one"):
            figure1.planned_runs(parsed(*words))


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ("--seeds=a", "--seeds=a: must be different integers, at least 0 and below"),
        ("--seeds=", "--seeds=: must be different integers"),
        ("--seeds=0,-1", "--seeds=0,-1: must be"),
        ("--seeds=1,01", "--seeds=1,01: must be"),
        ("--seeds=4294967296", "--seeds=4294967296: must be"),
        ("--noise_rates=x", "--noise_rates=x: must be different numbers from 0 to 1"),
        ("--noise_rates=", "--noise_rates=: must be"),
        ("--noise_rates=0.2,.2", "--noise_rates=0.2,.2: must be"),
        ("--noise_rates=0,1.1", "--noise_rates=0,1.1: must be"),
        ("--noise_rates=nan", "--noise_rates=nan: must be"),
        ("--noise=none", "--noise=none: .* draw noise, as --noise=symmetric does"),
    ],
)
def test_what_cannot_be_drawn_is_said_when_parsed(argument, text):
    with pytest.raises(flags.IllegalFlagValueError, match=text):
        parsed(argument)
