import csv
import json
import re
from pathlib import Path
from types import SimpleNamespace

import figure1
import paper
import paper_tables
import pytest
import reproduce
import tensorflow as tf
import train_flags
from planned_run import PlannedRun
from printed_command import launch_command

ROOT = Path(__file__).resolve().parents[2]
CELLS = {(cell.row.name, cell.column.name): cell for cell in paper.TABLES[1].cells}

# A cell of Table 1 at a size of a second. Op determinism would stay on for all tests of
# this process.
SMALL = ["--dataset=digits", "--backbone=mlp", "--epochs=1", "--max_train_examples=200"]
SMALL += ["--num_validation=0", "--augment=none", "--nodeterministic"]


def complete(folder, table, row, column, results, *overrides):
    """Write folders of complete runs of a cell, with these results."""
    cells = paper.TABLES[table].cells
    (cell,) = (c for c in cells if (c.row.name, c.column.name) == (row, column))
    job = reproduce.plan(cell, overrides, folder, len(results))
    for run, result in zip(job.runs, results, strict=True):
        run.folder.mkdir(parents=True)
        config = json.dumps(run.experiment.settings())
        (run.folder / "config.json").write_text(config, encoding="utf-8")
        (run.folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


def accuracies(*values, name="test"):
    return [{f"final_{name}_accuracy": value} for value in values]


def read_csv(folder):
    with (folder / "table.csv").open(newline="", encoding="utf-8") as file:
        return {(row["method"], row["cell"]): row for row in csv.DictReader(file)}


def row_of(folder, title):
    """Cells of the line of table.md, by their columns' titles, and of ours below it."""
    lines = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in (folder / "table.md").read_text("utf-8").splitlines()
        if line.startswith("|")
    ]
    place = [line[0] for line in lines].index(title)
    head = lines[0]
    return [dict(zip(head, line, strict=True)) for line in lines[place : place + 2]]


@pytest.mark.slow
def test_two_cells_of_two_seeds_for_real(tmp_path, monkeypatch, capsys):
    arguments = ["--table=1", "--cells=cifar10_sym40", "--seeds=2", *SMALL]
    arguments += [f"--output_dir={tmp_path}"]
    assert reproduce.main(arguments) == 0
    for method, name in (("CE", "cifar10_sym40_ce"), ("SOP", "cifar10_sym40")):
        one, other = (
            json.loads(
                (tmp_path / f"{name}-seed{seed}" / "result.json").read_text("utf-8")
            )
            for seed in (0, 1)
        )
        assert [one["settings"]["seed"], other["settings"]["seed"]] == [0, 1]
        assert one["settings"]["method"] == method.lower()
        assert one["settings"]["noise_rate"] == 0.4
        assert one["num_train"] == 200
        assert "--flagfile=cifar10_sym40.flags" in one["flags"]
        assert ("--method=ce" in one["flags"]) == (method == "CE")
        first, second = one["final_test_accuracy"], other["final_test_accuracy"]
        assert first != second
        row = read_csv(tmp_path)[method, "cifar10_sym40"]
        assert float(row["mean"]) == pytest.approx(50 * (first + second))
        # The sample's deviation of two numbers: their difference by the root of 2.
        assert float(row["std"]) == pytest.approx(100 * abs(first - second) / 2**0.5)
        assert row["seeds"] == "2"
    assert (tmp_path / "table.png").read_bytes()[:4] == b"\x89PNG"
    text = (tmp_path / "table.md").read_text("utf-8")
    changes = "--dataset=digits --num_validation=0 --max_train_examples=200"
    changes += " --augment=none --backbone=mlp --epochs=1"
    assert f"\nNot the paper's setting: {changes}\n" in text
    assert text in capsys.readouterr().out

    # Complete: nothing is trained again, and the same table comes out.
    def fail(*_):
        raise AssertionError("trained again")

    monkeypatch.setattr("sop_keras.training.run.compile_model", fail)
    (tmp_path / "table.md").unlink()
    assert reproduce.main(arguments) == 0
    assert (tmp_path / "table.md").read_text("utf-8") == text


def test_mean_and_deviation_by_hand(tmp_path):
    # Of 90, 92 and 94: mean 92, deviation sqrt((4 + 0 + 4) / 2) = 2. Of one: none.
    complete(tmp_path, 1, "SOP", "cifar10_sym20", accuracies(0.90, 0.92, 0.94))
    complete(tmp_path, 1, "CE", "cifar10_sym20", accuracies(0.855))
    arguments = ["--table=1", "--cells=cifar10_sym20", "--methods=sop", "--seeds=3"]
    arguments += ["--nodeterministic", f"--output_dir={tmp_path}"]
    assert reproduce.main(arguments) == 0
    published, ours = row_of(tmp_path, "SOP")
    assert published["CIFAR-10 sym. 20%"] == "93.18 +- 0.57"
    assert ours["CIFAR-10 sym. 20%"] == "92.00 +- 2.00 (3)"
    assert ours["CIFAR-10 sym. 40%"] == ""
    # What was run before is shown, though it was not asked for now.
    assert row_of(tmp_path, "CE")[1]["CIFAR-10 sym. 20%"] == "85.50 (1)"
    assert row_of(tmp_path, "GCE")[0]["CIFAR-10 sym. 20%"] == "89.83 +- 0.20"
    rows = read_csv(tmp_path)
    assert len(rows) == 6 * 8
    row = rows["SOP", "cifar10_sym20"]
    assert (row["paper_mean"], row["paper_std"]) == ("93.18", "0.57")
    assert float(row["mean"]) == pytest.approx(92)
    assert float(row["std"]) == pytest.approx(2)
    assert rows["ELR", "cifar10_sym20"]["seeds"] == "0"
    assert "Not the paper's" not in (tmp_path / "table.md").read_text("utf-8")


def test_fewer_seeds_than_there_are(tmp_path):
    complete(tmp_path, 1, "SOP", "cifar10_sym20", accuracies(0.90, 0.92, 0.94))
    arguments = ["--table=1", "--cells=cifar10_sym20", "--methods=sop", "--seeds=2"]
    assert reproduce.main([*arguments, f"--output_dir={tmp_path}"]) == 0
    # Of 90 and 92: mean 91, deviation 2 / sqrt(2) = 1.414.
    assert row_of(tmp_path, "SOP")[1]["CIFAR-10 sym. 20%"] == "91.00 +- 1.41 (2)"


def test_one_run_of_webvision_has_the_figures_of_two_columns(tmp_path):
    result = {"final_test_accuracy": 0.75, "best_test_accuracy": 0.77}
    ilsvrc12 = {"final_ilsvrc12_accuracy": 0.68, "best_ilsvrc12_accuracy": 0.7}
    complete(tmp_path, 3, "SOP", "webvision", [{**result, **ilsvrc12}, result])
    arguments = ["--table=3", "--cells=ilsvrc12", "--methods=sop", "--seeds=2"]
    arguments += [f"--output_dir={tmp_path}"]
    assert reproduce.main(arguments) == 0
    ours = row_of(tmp_path, "SOP")[1]
    # The second run had no ILSVRC12 images.
    assert ours["WebVision"] == "75.00 +- 0.00 (2)"
    assert ours["ILSVRC12"] == "68.00 (1)"
    assert "after the last epoch" in (tmp_path / "table.md").read_text("utf-8")
    assert reproduce.main([*arguments, "--best"]) == 0
    ours = row_of(tmp_path, "SOP")[1]
    assert (ours["WebVision"], ours["ILSVRC12"]) == ("77.00 +- 0.00 (2)", "70.00 (1)")
    assert "nobody can pick" in (tmp_path / "table.md").read_text("utf-8")


def test_a_cell_without_data_is_marked_and_the_next_one_runs(tmp_path, capsys):
    # Cross entropy comes first and has no data; SOP is complete.
    data = f"--data_dir={tmp_path / 'nothing'}"
    complete(tmp_path, 1, "SOP", "cifar10_sym20", accuracies(0.9), data)
    arguments = ["--table=1", "--cells=cifar10_sym20", "--seeds=1", data]
    assert reproduce.main([*arguments, f"--output_dir={tmp_path}"]) == 1
    assert "error: " in capsys.readouterr().out
    assert row_of(tmp_path, "CE")[1]["CIFAR-10 sym. 20%"] == "failed"
    assert row_of(tmp_path, "SOP")[1]["CIFAR-10 sym. 20%"] == "90.00 (1)"
    text = (tmp_path / "table.md").read_text("utf-8")
    assert "\nFailed: CE, cifar10_sym20: " in text
    assert "cifar10" in read_csv(tmp_path)["CE", "cifar10_sym20"]["error"]
    assert not list(tmp_path.glob("cifar10_sym20_ce-*"))
    # Where the data is changes no setting.
    assert "Not the paper's" not in text


def test_a_seed_that_fails_takes_no_other_with_it(tmp_path, monkeypatch, capsys):
    ends = [ValueError("training\ndiverged"), None, MemoryError(), MemoryError()]

    def train(**_):
        if (error := ends.pop(0)) is not None:
            raise error

    made = SimpleNamespace(train=train)
    monkeypatch.setattr(PlannedRun, "make", lambda *_: made)
    words = ["--nodeterministic"]
    job = reproduce.plan(CELLS["SOP", "cifar10_sym20"], words, tmp_path, 4)
    assert reproduce.run(job) == (
        "seed 0: training diverged seed 2, 3: There is not enough memory."
    )
    assert ends == []
    assert capsys.readouterr().out.count("error: There is not enough memory.") == 2
    # What no user can mend is no figure's end, but a fault of this program.
    ends = [AttributeError("x")]
    with pytest.raises(AttributeError):
        reproduce.run(job)


def test_a_lack_of_a_devices_memory_ends_a_seed_alone(tmp_path, monkeypatch):
    def train(**_):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating x")

    monkeypatch.setattr(PlannedRun, "make", lambda *_: SimpleNamespace(train=train))
    words = ["--nodeterministic"]
    job = reproduce.plan(CELLS["SOP", "cifar10_sym20"], words, tmp_path, 2)
    assert re.match("seed 0, 1: .*OOM when allocating x", reproduce.run(job))


@pytest.mark.parametrize("table", [2, 4])
def test_a_table_says_what_its_figures_are_of(table):
    (note,) = (
        one
        for one in reproduce.captions(paper.TABLES[table], best=False, changes=[])
        if one.startswith("ELR+")
    )
    assert "may be out of reach" in note


def test_a_command_stands_for_its_run(tmp_path):
    for cell in (CELLS["CE", "cifar100_sym20"], paper.TABLES[5].cells[1]):
        job = reproduce.plan(cell, ["--epochs=3"], tmp_path, 2)
        for command, run in zip(job.commands(), job.runs, strict=True):
            values = reproduce.parsed(command)
            assert len(values.method) == 1
            experiment = train_flags.experiment(values, values.method[0])
            assert experiment == run.experiment
            # One method and a folder by name: train.py takes that folder itself.
            assert values.output_dir == str(run.folder)
        assert len({run.folder for run in job.runs}) == 2


def test_only_what_differs_from_the_flagfile_is_a_change(tmp_path):
    overrides = ["--epochs=120", "--noinclude_true_class", "--u_lr=10", "--lr", "0.1"]
    cell = CELLS["SOP", "cifar10_sym20"]
    job = reproduce.plan(cell, [*overrides, "--data_dir=x"], tmp_path, 2)
    assert job.changes == ["--noinclude_true_class", "--lr=0.1"]
    assert [run.experiment.seed for run in job.runs] == [0, 1]
    assert {run.experiment.learning_rate for run in job.runs} == {0.1}
    assert {run.files.data_dir for run in job.runs} == {"x"}
    # A flagfile of one's own is an override like any other.
    (tmp_path / "small.flags").write_text("--epochs=2\n", encoding="utf-8")
    job = reproduce.plan(cell, [f"--flagfile={tmp_path}/small.flags"], tmp_path, 1)
    assert job.changes == ["--epochs=2"]


def test_what_changes_no_setting_is_no_change(tmp_path):
    overrides = ["--nonoise_monitor", "--steps_per_execution=4", "--manifest=x"]
    overrides += ["--nodeterministic", "--traceback", "--noexpect_full_size"]
    # Nor is what the method does not have, or has anyway.
    overrides += ["--consistency_weight=0.5", "--variant=paper"]
    job = reproduce.plan(CELLS["SOP", "cifar10_sym20"], overrides, tmp_path, 1)
    assert job.changes == []
    cell = CELLS["CE", "cifar10_sym20"]
    assert reproduce.plan(cell, ["--init_std=1e-4"], tmp_path, 1).changes == []
    job = reproduce.plan(CELLS["SOP", "cifar10_sym20"], ["--v_lr=auto"], tmp_path, 1)
    assert job.changes == ["--v_lr=auto"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ["--cells=cifar10_sym50"],
            "--cells=cifar10_sym20,.*no figure of cifar10_sym50",
        ),
        (["--methods=sop_plus"], "--methods=ce,.*sop, and no figure of sop_plus"),
        (["--method=ce"], "--method=ce is not for a table: choose by --methods"),
        (["--seed=3"], "--seed=3 is not for a table: choose by --seeds"),
        (["--epoch=2"], "Unknown command line flag 'epoch'"),
        (["--epochs=0"], "epochs"),
        (["--schedule=cosine"], "no other schedule takes them"),
        (["--flagfile=nope"], "no flagfile 'nope'"),
        (["extra"], "arguments that are no flags: extra"),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(arguments, text, tmp_path, capsys):
    command = ["--table=1", f"--output_dir={tmp_path / 'out'}", *arguments]
    assert reproduce.main(command) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert re.search(text, error), error
    assert not (tmp_path / "out").exists()


def test_overrides_that_no_cell_uses_are_said(capsys):
    command = ["--table=1", "--dry_run", "--u_lr=3"]
    assert reproduce.main([*command, "--methods=ce"]) == 0
    assert capsys.readouterr().err == "--u_lr is not a flag of ce: not used.\n"
    assert reproduce.main(command) == 0
    assert capsys.readouterr().err == ""


def test_a_method_that_a_column_does_not_have(capsys):
    # The paper has no figure of cross entropy on WebVision.
    assert reproduce.main(["--table=3", "--cells=webvision", "--methods=ce"]) == 1
    assert "no figure of that method there" in capsys.readouterr().err


def test_runs_of_other_settings_are_not_mixed_into_a_table(tmp_path, capsys):
    complete(tmp_path, 1, "SOP", "cifar10_sym20", accuracies(0.9), "--epochs=2")
    arguments = ["--table=1", "--cells=cifar10_sym40", f"--output_dir={tmp_path}"]
    assert reproduce.main(arguments) == 1
    error = capsys.readouterr().err
    assert "cifar10_sym20-seed0 holds a run of other settings (epochs: 2 there" in error
    assert not (tmp_path / "table.md").exists()


def test_the_picture_shows_both_figures(tmp_path, monkeypatch):
    import matplotlib.pyplot as plt

    close = plt.close
    monkeypatch.setattr(plt, "close", lambda figure: None)
    table = paper.TABLES[3]
    results = {
        ("SOP", "clothing1m"): paper_tables.Ours([72.0, 74.0]),
        ("SOP", "webvision"): paper_tables.Ours([], "no such folder"),
    }
    path = tmp_path / "table.png"
    paper_tables.draw(table, results, ["A caption."], path)
    figure = plt.gcf()
    try:
        assert path.read_bytes()[:4] == b"\x89PNG"
        panels = [axis for axis in figure.axes if axis.get_title()]
        titles = ["Clothing1M", "WebVision", "ILSVRC12"]
        assert [axis.get_title() for axis in panels] == titles
        names = [label.get_text() for label in panels[0].get_yticklabels()]
        assert names == ["CE", "Forward", "Co-teaching", "ELR", "CORES2", "SOP"]
        clothing, webvision, ilsvrc12 = (
            sorted(
                (float(x), round(float(y)))  # y within its method's line
                for line in axis.lines
                for x, y in zip(*line.get_data(), strict=True)
                if line.get_marker() in "oD"
            )
            for axis in panels
        )
        assert (73.5, 5) in clothing  # the paper's
        assert (73.0, 5) in clothing  # the mean of 72 and 74
        assert len(clothing) == 6 + 1
        assert webvision == [(61.1, 1), (63.6, 2), (76.2, 3), (76.6, 5)]
        assert len(ilsvrc12) == 4
        assert [text.get_text() for text in panels[1].texts] == ["failed"]
        assert not panels[0].texts
        assert figure.get_supxlabel() == "A caption."
        # The first method is on top.
        bottom, top = panels[0].get_ylim()
        assert bottom > top
    finally:
        close(figure)


def test_figure_1_is_drawn_by_its_own_launcher(tmp_path, monkeypatch, capsys):
    seen = {}

    def draw(line):
        values = line.flags
        seen.update(name=line.flagfile, seeds=values.seeds, method=values.method)
        seen.update(epochs=values.epochs, backbone=values.backbone)
        seen.update(folder=values.output_dir, noise_rates=values.noise_rates)

    monkeypatch.setattr(figure1, "figure1", draw)
    arguments = ["--figure=1", "--seeds=2", "--epochs=3", f"--output_dir={tmp_path}"]
    assert reproduce.main(arguments) == 0
    assert seen == {
        "name": "figure1",
        "seeds": ["0", "1"],
        "method": ["sop", "ce"],
        "epochs": 3,
        "backbone": "preact_resnet18",
        "folder": str(tmp_path),
        "noise_rates": ["0", "0.2", "0.4"],
    }
    seen.clear()
    assert reproduce.main([*arguments, "--methods=sop", "--dry_run"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{launch_command('figure1.py')} --flagfile=fig1_40_sop.flags --method=sop "
        f"--seeds=0,1 --output_dir={tmp_path} --epochs=3"
    ]
    assert not seen


@pytest.mark.slow
def test_the_command_line_from_any_directory(tmp_path, monkeypatch, in_process):
    monkeypatch.chdir(tmp_path)
    words = ["--table=1", "--cells=cifar100_sym20", "--methods=ce", "--seeds=1"]
    done = in_process(reproduce, *words, *SMALL)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs/table1/cifar100_sym20_ce-seed0/result.json").is_file()
    assert "Not the paper's setting: --dataset=digits" in done.stdout
    assert done.stdout.endswith("runs/table1/table.png\n")
