import json
import os
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from settings import digits

from sop_keras.data.datasets.by_name import DataFiles
from sop_keras.label_issues.export import write_label_issues
from sop_keras.label_issues.find import COLUMNS
from sop_keras.training.experiment_data import load_data
from sop_keras.training.run_folder import RunFolder, RunFolderError
from sop_keras.training.saved_run import load_run, recorded_files, run_settings

HISTORY = "epoch,seconds,loss,val_accuracy\n1,0.5,2.25,\n2,0.25,nan,0.5\n"


def leave_run(folder, experiment, files=None):
    """What a complete run of the experiment leaves, but for its figures."""
    files = files or DataFiles()
    run = RunFolder(folder, experiment, files)
    run.begin(load_data(experiment, files))
    (folder / "history.csv").write_text(HISTORY)
    run.write_result({"seconds": 0.75})
    return folder


@pytest.mark.parametrize("method", ["sop", "sop_plus", "ce"])
def test_a_run_is_read_back_with_its_data(tmp_path, method):
    experiment = digits(method=method)
    run = load_run(leave_run(tmp_path / "run", experiment))
    assert run.folder == tmp_path / "run"
    assert run.experiment.settings() == experiment.settings()
    assert run.result == {"seconds": 0.75}
    assert run.class_names == tuple("0123456789")
    # 300 examples, by max_train_examples, under noisy labels.
    expected = load_data(experiment).train
    assert len(run.data.train) == 300
    np.testing.assert_array_equal(run.data.train.ids, expected.ids)
    np.testing.assert_array_equal(run.data.train.labels, expected.labels)


def test_suggested_rates_are_those_that_the_run_was_trained_with(tmp_path):
    asked = digits(u_learning_rate=None, init_std=None)
    folder = leave_run(tmp_path / "run", asked)
    suggested = {"u_learning_rate": 4.5, "init_std": 1e-3}
    (folder / "suggested.json").write_text(json.dumps(suggested))
    expected = {**asked.settings(), **suggested}
    assert load_run(folder).experiment.settings() == expected


def test_the_history_is_numbers_and_leaves_out_what_an_epoch_has_not(tmp_path):
    first, second = load_run(leave_run(tmp_path / "run", digits())).history
    assert first == {"epoch": 1.0, "seconds": 0.5, "loss": 2.25}
    assert second.pop("loss") != second.get("loss")  # NaN
    assert second == {"epoch": 2.0, "seconds": 0.25, "val_accuracy": 0.5}


def test_a_folder_that_is_no_run_is_refused_by_name(tmp_path):
    mend = r"\. Give the folder that the training printed, such as .*/sop\.$"
    with pytest.raises(FileNotFoundError, match=rf"it has no config\.json{mend}"):
        load_run(tmp_path)
    with pytest.raises(FileNotFoundError, match=rf"/no is not.*not exist{mend}"):
        load_run(tmp_path / "no")
    leave_run(tmp_path / "b", digits())
    leave_run(tmp_path / "a", digits())
    with pytest.raises(FileNotFoundError, match="holds runs, choose one: a, b"):
        run_settings(tmp_path)


@pytest.mark.parametrize("name", ["result.json", "history.csv"])
def test_a_run_that_is_not_complete_is_refused(tmp_path, name):
    folder = leave_run(tmp_path / "run", digits())
    (folder / name).unlink()
    text = rf"There is no .*{name}: the run is not complete\. The command that started"
    with pytest.raises(RunFolderError, match=text):
        load_run(folder)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("config.json", "[1", r"config\.json is no JSON object"),
        ("config.json", '{"method": "ce"}', r"config\.json: .*missing dataset, noise"),
        ("config.json", "{}", r'run/config\.json has no "method": .*Put a good copy'),
        (
            "config.json",
            '{"method": "trust"}',
            r"run/config\.json was written by the method 'trust', which is not "
            r"registered here: import .*sop_keras\.methods\.register.*write_report",
        ),
        ("result.json", "[]", r"result\.json is not a JSON object"),
        ("data.json", "{", r"data\.json cannot be read as JSON"),
        ("data.json", '{"files": []}', r'data\.json is damaged: its "files" is \[\]'),
        ("history.csv", "epoch,loss\n", r"history\.csv cannot be read: it has no row"),
        ("history.csv", "", r"history\.csv cannot be read: it has no row"),
        ("history.csv", "epoch,loss\n1,high\n", r"history\.csv cannot be read.*'high'"),
        ("history.csv", "epoch,loss\n1,2,3\n", r"history\.csv cannot be read"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, text):
    folder = leave_run(tmp_path / "run", digits())
    (folder / name).write_text(content)
    with pytest.raises(ValueError, match=text):
        load_run(folder)


def test_label_issues_are_read_or_it_is_said_where_they_come_from(tmp_path):
    run = load_run(leave_run(tmp_path / "sop", digits(method="sop")))
    with pytest.raises(
        FileNotFoundError, match=r"label_issues\.csv\. A run of SOP wri"
    ):
        run.label_issues()
    issues = pd.DataFrame({name: [1] for name in COLUMNS}).assign(is_label_issue=True)
    write_label_issues(issues, run.folder / "label_issues.csv")
    assert run.label_issues().to_dict("list") == issues.to_dict("list")
    run = load_run(leave_run(tmp_path / "ce", digits(method="ce")))
    with pytest.raises(
        FileNotFoundError, match=r"CE finds no wrong labels\. Train with --method"
    ):
        run.label_issues()


def test_what_is_not_to_be_trusted_is_what_the_result_says(tmp_path):
    folder = leave_run(tmp_path / "run", digits())
    issues = pd.DataFrame({name: [1] for name in COLUMNS}).assign(
        is_label_issue=False, noise_score=-8.0
    )
    write_label_issues(issues, folder / "label_issues.csv")
    # A run of an earlier version does not say it: the largest ||s||_1 is 1e-8.
    (doubt,) = load_run(folder).doubts()
    assert "hardly grown: the largest ||s||_1 is 1e-08" in doubt
    for doubts in ([], ["One reason."]):
        (folder / "result.json").write_text(json.dumps({"doubts": doubts}))
        assert load_run(folder).doubts() == doubts


def own_data(folder, shade=0):
    """Three images in a folder of their own, and a list of them."""
    folder.mkdir()
    lines = ["path,label"]
    for number in range(3):
        colour = (shade, number, 0)
        Image.new("RGB", (8, 8), colour).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{number % 2}")
    (folder / "list.csv").write_text("\n".join(lines))
    return DataFiles(manifest=str(folder / "list.csv"))


def own_experiment():
    return digits(
        dataset="manifest",
        noise="none",
        num_validation=0,
        max_train_examples=0,
        resize=8,
        image_size=8,
    )


def test_data_that_moved_are_found_where_they_are_said_to_be(tmp_path):
    files = own_data(tmp_path / "old")
    folder = leave_run(tmp_path / "run", own_experiment(), files)
    assert len(load_run(folder).data.train) == 3
    (tmp_path / "old").rename(tmp_path / "new")
    with pytest.raises(FileNotFoundError, match=r"old.*list\.csv.*--data_dir=FOLDER"):
        load_run(folder)
    moved = replace(files, manifest=str(tmp_path / "new" / "list.csv"))
    assert len(load_run(folder, moved).data.train) == 3


def test_other_data_are_refused(tmp_path):
    files = own_data(tmp_path / "data")
    folder = leave_run(tmp_path / "run", own_experiment(), files)
    table = tmp_path / "data" / "list.csv"
    table.write_text("path,label\n0.png,0\n1.png,1\n2.png,1\n")
    text = r"not the data that .*run was trained on \(other labels\)\. Say where"
    with pytest.raises(RunFolderError, match=text):
        load_run(folder)
    table.write_text("path,label\n0.png,0\n1.png,1\n")
    with pytest.raises(RunFolderError, match="train: 3 there, 2 now"):
        load_run(folder)


def test_where_the_data_are_is_recorded_for_any_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = DataFiles(
        data_dir="data",
        imagenet_dir="none",
        expect_full_size=False,
        max_bad_fraction=0.25,
    )
    folder, here = tmp_path / "run", os.getcwd()
    # The digits need no files: they are not asked to take these.
    RunFolder(folder, digits(), files).begin(load_data(digits()))
    expected = {
        "data_dir": os.path.join(here, "data"),
        "human_labels": None,
        "imagenet_dir": "none",
        "manifest": None,
        "test_manifest": None,
        "expect_full_size": False,
        "max_bad_fraction": 0.25,
    }
    assert json.loads((folder / "data.json").read_text())["files"] == expected
    monkeypatch.chdir("/")
    found = asdict(recorded_files(folder))
    assert {name: found[name] for name in expected} == expected


def test_runs_that_recorded_less_have_their_data_where_they_are_by_default(tmp_path):
    folder = leave_run(tmp_path / "run", digits(), DataFiles(expect_full_size=False))
    data = json.loads((folder / "data.json").read_text())
    data["files"] = {"manifest": None, "test_manifest": None}
    (folder / "data.json").write_text(json.dumps(data))
    assert recorded_files(folder) == DataFiles()
    del data["files"]
    (folder / "data.json").write_text(json.dumps(data))
    assert recorded_files(folder) == DataFiles()
    assert len(load_run(folder).data.train) == 300


# Folders of strangers


def test_a_data_set_that_would_be_fetched_is_asked_for_by_the_user(
    tmp_path, monkeypatch
):
    folder = leave_run(tmp_path / "run", digits())
    config = json.loads((folder / "config.json").read_text())
    config["dataset"] = "tfds:huggingface:mnist"
    (folder / "config.json").write_text(json.dumps(config))
    asked = []
    monkeypatch.setattr(
        "sop_keras.training.saved_run.load_data",
        lambda experiment, files: asked.append(experiment.dataset) or 1 / 0,
    )
    with pytest.raises(ValueError, match=r"may come out of the network"):
        load_run(folder)
    assert asked == []
    with pytest.raises(ZeroDivisionError):
        load_run(folder, DataFiles(may_fetch="tfds:huggingface:mnist"))
    assert asked == ["tfds:huggingface:mnist"]


def test_a_folder_cannot_raise_limits_or_name_addresses(tmp_path):
    folder = leave_run(tmp_path / "run", digits())
    data = json.loads((folder / "data.json").read_text())
    assert "max_image_bytes" not in data["files"]
    data["files"] |= {"max_image_bytes": 10**15, "may_fetch": "tfds:huggingface:mnist"}
    (folder / "data.json").write_text(json.dumps(data))
    assert recorded_files(folder) == DataFiles()
    data["files"]["data_dir"] = "gs://bucket/data"
    (folder / "data.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match=r"'gs://bucket/data', which would be fetched"):
        recorded_files(folder)
