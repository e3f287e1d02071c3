import csv
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cells
import compare
import pytest
import reproduce
import train
import train_cells
import train_flags
from absl import flags
from comparison_runs import complete, parsed, planned
from published import published

SMALL = ["--max_train_examples=200", "--nodeterministic", "--nonoise_monitor"]


def read_csv(folder):
    with (folder / "compare.csv").open(newline="", encoding="utf-8") as file:
        return {(row["noise"], row["title"]): row for row in csv.DictReader(file)}


def results(folder):
    return {
        path.parent.name: json.loads(path.read_text("utf-8"))
        for path in folder.glob("*/result.json")
    }


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        ("symmetric:0.5", "symmetric50", "--noise=symmetric --noise_rate=0.5"),
        ("asymmetric:0.4", "asymmetric40", "--noise=asymmetric --noise_rate=0.4"),
        ("none", "none", "--noise=none"),
        ("worst", "worst", "--noise=none --label_set=worst"),
        (
            "cifar10n:worst",
            "cifar10n-worst",
            "--dataset=cifar10n --noise=none --label_set=worst",
        ),
    ],
)
def test_a_noise_stands_for_flags(text, name, words):
    noise = cells.read_noise(text)
    assert (noise.name, " ".join(noise.words)) == (name, words)


@pytest.mark.parametrize(
    "text", ["symmetric", "symmetric:2", "symmetric:x", "nowhere:worst", "none:0.1", ""]
)
def test_what_is_no_noise_is_refused(text):
    with pytest.raises(ValueError, match=f"Received: '{text}'"):
        cells.read_noise(text)


def test_a_setting_stands_for_flags():
    setting = cells.read_setting("sl:alpha=6,schedule=step,decay_epochs=4,8")
    assert setting.title == "SL (alpha=6, schedule=step, decay_epochs=4,8)"
    assert setting.name == "sl-alpha=6-schedule=step-decay_epochs=4_8"
    words = ["--alpha=6", "--schedule=step", "--decay_epochs=4,8", "--method=sl"]
    assert setting.flags == words
    assert cells.read_setting("sl:").name == "sl"
    of_file = cells.read_setting("sl:flagfile=cifar10_sym40_sl.flags")
    assert of_file.name == "sl-cifar10_sym40_sl"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sl", "or METHOD: for what the flagfile says"),
        ("sl:alpha", "or METHOD: for what the flagfile says"),
        ("nothing:a=1", "`method` must be one of"),
        ("ce:alpha=6", "alpha is no setting of ce or its training"),
        ("sl:seed=3", "seed is no setting of sl"),
        ("sl:noise_rate=0.1", "noises and seeds are the same for all methods"),
    ],
)
def test_what_is_no_setting_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        cells.read_setting(text)


def test_settings_take_the_place_of_the_flagfiles(tmp_path):
    words = ["--methods=ce,sl", "--setting=sl:", "--setting=sl:alpha=6,lr=0.05"]
    found = planned(*words, f"--output_dir={tmp_path}")
    assert [cell.setting.name for cell in found] == ["ce", "sl", "sl-alpha=6-lr=0.05"]
    settings = [cell.run.experiment.settings() for cell in found]
    assert [one["learning_rate"] for one in settings] == [0.02, 0.02, 0.05]
    assert [one.get("alpha") for one in settings] == [None, 0.1, 6.0]


def test_a_cell_is_a_command_of_train(tmp_path):
    words = ["--methods", "sl,sop", "--noises=symmetric:0.2,cifar10n:worst"]
    words += ["--seeds=0,3", "--epochs=7", "--setting=sl:alpha=6", "--noequal_passes"]
    found = planned("--flagfile=plus_cpu", *words, f"--output_dir={tmp_path}")
    assert len({cell.name for cell in found}) == len(found) == 2 * 2 * 2
    # All of one seed come before the next one.
    assert [cell.seed for cell in found] == [0] * 4 + [3] * 4
    for cell in found:
        values = reproduce.parsed(cell.words)
        assert values.output_dir == str(cell.run.folder)
        assert len(values.method) == 1
        experiment = train_flags.experiment(values, values.method[0])
        assert experiment == cell.run.experiment
        assert (experiment.epochs, experiment.seed) == (7, cell.seed)
    assert found[0].run.experiment.noise_rate == 0.2
    assert found[0].run.experiment.method.alpha == 6.0
    worst = found[2].run.experiment
    assert (worst.dataset, worst.noise, worst.label_set) == (
        "cifar10n",
        "none",
        "worst",
    )


def test_without_a_flagfile_it_is_the_digits(tmp_path):
    found = planned("--methods=all", f"--output_dir={tmp_path}")
    assert len(found) == len({cell.setting.method for cell in found}) >= 10
    assert {cell.name for cell in found} >= {"symmetric40-ce-seed0"}
    assert {cell.run.experiment.batch_size for cell in found} == {64}


def test_a_flagfile_of_a_method_must_be_of_the_same_data(tmp_path):
    words = ["--flagfile=cifar10_sym40", "--methods=sl", f"--output_dir={tmp_path}"]
    setting = "--setting=sl:flagfile=cifar10_sym40_sl.flags"
    (cell,) = planned(*words, setting)
    assert cell.run.experiment.schedule == "step"
    with pytest.raises(ValueError, match=r"on other data \(.*--noise_rate=0\.6"):
        planned(*words, setting.replace("40", "60"))
    # What is compared under is said for all.
    (cell,) = planned(*words, setting.replace("40", "60"), "--noises=symmetric:0.4")
    assert cell.run.experiment.noise_rate == 0.4


def test_equal_passes_are_shorter_schedules(tmp_path):
    step = ["--schedule=step", "--decay_epochs=11,20"]
    (cell,) = planned("--methods=ce", "--epochs=31", *step, f"--output_dir={tmp_path}")
    words = ["--epochs=15", "--decay_epochs=5,10"]
    assert cells.fewer_epochs(cell.run.experiment, 2) == words
    assert cells.fewer_epochs(cell.run.experiment, 1) == []
    cosine = ["--schedule=cosine", "--warmup_epochs=4"]
    (cell,) = planned("--methods=ce", "--epochs=1", f"--output_dir={tmp_path}")
    assert cells.fewer_epochs(cell.run.experiment, 2) == ["--epochs=1"]
    (cell,) = planned("--methods=ce", "--epochs=9", *cosine, f"--output_dir={tmp_path}")
    assert cells.fewer_epochs(cell.run.experiment, 2)[1:] == ["--warmup_epochs=2"]
    # What is left of a warm-up of one epoch has no rate to begin with, either.
    more = ["--schedule=cosine", "--warmup_epochs=1", "--warmup_lr=0.01"]
    more += ["--weight_average=last:20", "--epochs=30"]
    (cell,) = planned("--methods=ce", *more, f"--output_dir={tmp_path}")
    assert cells.fewer_epochs(cell.run.experiment, 2)[1:] == [
        *("--warmup_epochs=0", "--warmup_lr=0", "--weight_average=last:10"),
    ]
    both = ["--methods=dividemix", "--equal_passes", *more]
    (cell,) = planned(*both, f"--output_dir={tmp_path}")
    assert cell.run.experiment.epochs == 15


def test_a_training_before_the_one_that_counts_is_no_part_of_it(tmp_path):
    words = ["--methods=forward", "--epochs=2", f"--output_dir={tmp_path}"]
    (cell,) = planned(*words)
    complete(cell, [0.1, 0.2, 0.3], [1, 1, 4])
    (tmp_path / cell.name / "result.json").unlink()  # one epoch of four is to come
    (row,) = cell.run.history()
    assert (row["epoch"], row["test_accuracy"]) == (1, 0.3)
    assert train_cells.time_left([cell], [cell]) == "; about 2 s left"


def test_the_notes_say_which_rows_have_how_many_epochs(tmp_path):
    words = ["--methods=ce,sl", "--epochs=31", f"--output_dir={tmp_path}"]
    line = parsed(*words)
    (note,) = compare.notes(line, compare.plan(line)[0])
    assert note.startswith("digits, mlp, 31 epochs; mean")
    line = parsed(*words, "--setting=sl:epochs=60")
    (note,) = compare.notes(line, compare.plan(line)[0])
    assert note.startswith(
        "digits, mlp, 31 epochs: CE; mlp, 60 epochs: SL (epochs=60); mean"
    )


def test_equal_passes_are_for_methods_of_two_networks(tmp_path):
    words = ["--equal_passes", "--epochs=30", f"--output_dir={tmp_path}"]
    found = planned(*words)
    networks = {
        cell.setting.method: cells.num_networks(cell.setting.method) for cell in found
    }
    assert set(networks.values()) == {1, 2}
    for cell in found:
        assert cell.run.experiment.epochs == 30 / networks[cell.setting.method]


def test_the_papers_figure_is_beside_the_papers_setting_alone(tmp_path):
    words = ["--flagfile=cifar10_sym40", "--methods=sop,ce", f"--output_dir={tmp_path}"]
    found = planned(*words, "--seeds=4")
    assert [published(cell.run.experiment).text for cell in found] == [
        "90.09 +- 0.27",
        "82.65 +- 0.16",
    ]
    found = planned(*words, "--epochs=119", "--noises=symmetric:0.4")
    assert [published(cell.run.experiment) for cell in found] == [None, None]


@pytest.mark.slow
def test_two_methods_for_real(tmp_path, capfd, monkeypatch):
    # In this process: `test_a_stopped_comparison_goes_on` starts those of the cells.
    def train_cell(words):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["train.py", *words])
            train.main()

    monkeypatch.setattr(train_cells, "train_cell", train_cell)
    words = ["--methods=ce,sl", "--noises=symmetric:0.3", "--epochs=2", *SMALL]
    words += ["--num_validation=50", f"--output_dir={tmp_path}"]
    assert compare.main(words) == 0
    shown = capfd.readouterr().out
    assert "[1/2] CE, symmetric 30%, seed 0\n" in shown
    assert re.search(r"\[2/2\] SL, symmetric 30%, seed 0; about \d+ s left", shown)
    found, rows = results(tmp_path), read_csv(tmp_path)
    for title, name in (("CE", "ce"), ("SL", "sl")):
        row, result = rows["symmetric 30%", title], found[f"symmetric30-{name}-seed0"]
        accuracy = 100 * result["final_test_accuracy"]
        assert float(row["last_mean"]) == pytest.approx(accuracy)
        best = 100 * result["best_test_accuracy"]
        assert float(row["best_mean"]) == pytest.approx(best)
        assert f"--method={name} --noise=symmetric --noise_rate=0.3" in result["flags"]
    assert rows["symmetric 30%", "CE"]["ratio"] == "1.0"
    assert (tmp_path / "compare.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"
    assert len((tmp_path / "epochs.csv").read_text("utf-8").splitlines()) == 1 + 2 * 2
    # Complete: nothing is trained again, and the same table comes out.
    text = (tmp_path / "compare.md").read_text("utf-8")
    (tmp_path / "compare.md").unlink()
    assert compare.main(words) == 0
    assert "2 of 2 cells are complete." in capfd.readouterr().out
    assert (tmp_path / "compare.md").read_text("utf-8") == text


@pytest.mark.slow
def test_a_stopped_comparison_goes_on(tmp_path):
    words = ["--methods=ce", "--epochs=15", *SMALL, f"--output_dir={tmp_path}"]
    command = [sys.executable, str(Path(compare.__file__)), *words]
    history = tmp_path / "symmetric40-ce-seed0" / "history.csv"
    process = subprocess.Popen(command, stderr=subprocess.PIPE, encoding="utf-8")
    while not history.exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    error = process.communicate()[1]
    assert process.returncode == 75
    assert error.splitlines()[-1].startswith("Stopped by SIGTERM. Run the same command")
    before = history.read_text("utf-8").splitlines()
    assert 1 < len(before) < 16
    assert not results(tmp_path)
    assert compare.main(words) == 0
    after = history.read_text("utf-8").splitlines()
    assert (len(after), after[: len(before)]) == (16, before)


FAKE = """
import os, signal, sys
from pathlib import Path

folder = Path([one for one in sys.argv if "--output_dir" in one][0].split("=")[1])
print("[1 2", file=sys.stderr)
if "-ce-" in folder.name:
    sys.exit("error: no such thing")
if "-gce-" in folder.name:
    os.kill(os.getpid(), signal.SIGKILL)
if "-sl-" in folder.name:
    raise KeyError("a bug")
sys.exit(75 if "-elr-" in folder.name else 0)
"""


@pytest.fixture
def fake_training(tmp_path, monkeypatch):
    """In place of launch/train.py, what ends in some way, by the method."""
    path = tmp_path / "fake.py"
    path.write_text(FAKE, "utf-8")
    monkeypatch.setattr(train_cells, "TRAIN", path)


@pytest.mark.usefixtures("fake_training")
def test_a_run_that_fails_is_told_of_and_the_others_go_on(tmp_path, capfd):
    folder = tmp_path / "out"
    words = ["--methods=ce,gce,sl,sop", "--seeds=0,1", f"--output_dir={folder}"]
    _, _, _, sop, *_ = planned(*words)
    complete(sop, [0.5] * 60, [1] * 60)
    assert compare.main(words) == 1
    output = capfd.readouterr()
    assert "[8/8] SOP, symmetric 40%, seed 1; about 60 s left" in output.out
    assert "error: no such thing" in output.err
    rows = read_csv(folder)
    assert rows["symmetric 40%", "SOP"]["last_mean"] == "50.0"
    assert {title: row["error"] for (_, title), row in rows.items()} == {
        "SOP": "",
        "CE": "seed 0, 1: no such thing",
        "GCE": "seed 0, 1: ended by SIGKILL; memory may have been short",
        "SL": "seed 0, 1: KeyError: 'a bug'",
    }
    text = (folder / "compare.md").read_text("utf-8")
    assert "\nFailed under symmetric 40%: CE: seed 0, 1: no such thing\n" in text


@pytest.mark.usefixtures("fake_training")
def test_a_run_that_was_stopped_stops_the_comparison(tmp_path, capfd):
    with pytest.raises(SystemExit) as ended:
        compare.main(["--methods=elr", f"--output_dir={tmp_path / 'out'}"])
    assert ended.value.code == 75
    assert "Run the same command again" in capfd.readouterr().err


def test_complete_runs_of_another_folder_are_joined(tmp_path, monkeypatch, capsys):
    here, there = f"--output_dir={tmp_path / 'here'}", tmp_path / "there"
    words = ["--epochs=2", "--nodeterministic"]
    for cell, test in zip(
        planned(*words, "--methods=ce,sl,gce", f"--output_dir={there}"),
        ([0.1, 0.2], [0.3, 0.4], [0.5, 0.6]),
        strict=True,
    ):
        complete(cell, test, [2, 1])
    monkeypatch.setattr(train_cells, "train_cell", None)
    both = [*words, "--methods=ce,sl", here, f"--join={there}"]
    assert compare.main(both) == 0
    rows = read_csv(tmp_path / "here")
    assert float(rows["symmetric 40%", "SL"]["last_mean"]) == pytest.approx(40)
    # The other machine may be another one: its seconds are no measure here.
    assert {rows["symmetric 40%", "SL"][name] for name in ("seconds", "ratio")} == {""}
    other = there / "symmetric40-gce-seed0"
    assert f"{other} is none of these runs: not joined." in capsys.readouterr().out
    with pytest.raises(SystemExit):
        compare.main([*both, "--lr=0.5"])
    error = capsys.readouterr().err
    assert "symmetric40-ce-seed0 holds a run of other settings (learning_rate" in error
    with pytest.raises(SystemExit):
        compare.main([*both, f"--join={tmp_path / 'nowhere'}"])
    assert "There is no folder" in capsys.readouterr().err


def test_runs_on_other_data_are_not_compared(tmp_path):
    there = tmp_path / "there"
    words = ["--epochs=1", "--methods=ce,sl"]
    first, _ = planned(*words, f"--output_dir={tmp_path / 'here'}")
    _, second = planned(*words, f"--output_dir={there}")
    complete(first, [0.1], [1], labels="these")
    complete(second, [0.1], [1], labels="others")
    with pytest.raises(ValueError, match=r"on other data than .* \(labels differ\)"):
        planned(*words, f"--output_dir={tmp_path / 'here'}", f"--join={there}")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--seed=1"], "Give --seeds, one or several"),
        (["--method=ce"], "Give --methods, one or several"),
        (["--noise_rate=0.3"], "Give --noises, one or several"),
        (["--label_set=worst"], "Give --noises, one or several"),
        (["--noises=none,none"], "--noises has none twice"),
        (["--setting=sl:alpha=1", "--setting=sl:alpha=1"], "--setting has sl-alpha=1"),
        (["--methods=ce", "--setting=sl:"], "not among --methods=ce"),
    ],
)
def test_what_cannot_be_compared_is_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        planned(*arguments)


@pytest.mark.parametrize(
    "argument",
    ["--methods=none_of_these", "--methods=ce,ce", "--seeds=a", "--seeds=1,01"],
)
def test_flags_are_checked_when_parsed(argument):
    with pytest.raises(flags.IllegalFlagValueError, match="must be"):
        parsed(argument)


def test_one_machine(tmp_path):
    with pytest.raises(flags.IllegalFlagValueError, match="--join its folders"):
        parsed("--strategy=multi_worker")
    assert compare.folder_of(parsed()) == Path("runs/digits-compare")
