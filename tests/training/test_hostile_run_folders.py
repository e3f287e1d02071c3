"""Run folders that somebody has made to do damage: one line each, quickly."""

import json
import os
import time

import numpy as np
import pandas as pd
import pytest
from settings import digits
from test_saved_run import leave_run
from train_runs import table

from sop_keras.data.datasets.by_name import DataFiles
from sop_keras.files.atomic import OutputError
from sop_keras.report.headline import check_figures, settings_of, statistics_of
from sop_keras.report.run_labels import RunLabels
from sop_keras.training.checkpoint import CheckpointError, Checkpoints
from sop_keras.training.experiment_data import load_data
from sop_keras.training.progress import Progress
from sop_keras.training.run import Run
from sop_keras.training.run_folder import RunFolder, RunFolderError, read_scale
from sop_keras.training.saved_run import load_run

ONE_LINE = (ValueError, OSError)
DEEP = '{"a":' * 200_000
NAMES = ["config.json", "data.json", "result.json", "history.csv", "suggested.json"]

# What a complete run says of itself, and more: all that is read of it.
RESULT = {
    "seconds": 1.5,
    "final_test_accuracy": 0.5,
    "best_test_accuracy": 0.5,
    "best_epoch": 1,
    "final_validation_accuracy": 0.5,
    "train_accuracy_given_labels": 0.5,
    "train_accuracy_clean_labels": 0.5,
    "noise_auroc": 0.5,
    "detection": {"auroc": 0.5, "precision": 0.5},
    "class_figures": {"rate": [0.1] * 10},
    "num_bad_images": {"train": 1},
    "doubts": ["a"],
    "flags": "",
    "versions": {"keras": "3"},
}


@pytest.fixture
def folder(tmp_path):
    folder = leave_run(tmp_path / "run", digits())
    (folder / "result.json").write_text(json.dumps(RESULT))
    return folder


def check_one_line(error):
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 2000


@pytest.mark.parametrize("name", NAMES)
def test_pipes_and_devices_are_not_waited_for(folder, name):
    path = folder / name
    for kind in ("pipe", "device", "folder"):
        path.unlink(missing_ok=True)
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "device":
            path.symlink_to("/dev/zero")
        else:
            path.mkdir()
        started = time.monotonic()
        with pytest.raises(ONE_LINE, match=name.replace(".", r"\.")) as error:
            load_run(folder)
        check_one_line(error)
        assert time.monotonic() - started < 20
        if name != "suggested.json" and name != "history.csv":
            with pytest.raises(ONE_LINE) as error:
                Run(digits(), folder).train(verbose=0)
            check_one_line(error)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "content", [DEEP, "null", "[]", "1", "", "\x1b", '{"a": 1e999', "\ud800"]
)
def test_what_is_no_object(folder, name, content):
    (folder / name).write_bytes(content.encode(errors="surrogatepass"))
    if (name, content) == ("suggested.json", "null"):
        pytest.skip("The file of an earlier version, with nothing in it.")
    with pytest.raises(ONE_LINE) as error:
        load_run(folder)
    check_one_line(error)


VALUES = [None, True, -1, 1e999, "text\x1b\n", [], [1, [2]], {}, {"a": {"b": None}}]


def end_of(function, *arguments):
    """What a function gives, and the text of the error that it ends with."""
    try:
        return function(*arguments), None
    except ONE_LINE as error:
        return None, str(error)


def test_values_of_wrong_types_in_the_settings(folder):
    settings = json.loads((folder / "config.json").read_text())
    own = RunFolder(folder, digits(), DataFiles())
    for name in settings:
        for value in VALUES:
            changed = {**settings, name: value}
            (folder / "config.json").write_text(json.dumps(changed))
            run, error = end_of(load_run, folder)
            assert (run is None) == (error is not None)
            assert "\n" not in str(error)
            if run is not None:
                assert run.experiment.settings()[name] == value
            if value != settings[name]:
                _, error = end_of(own.check)
                assert "other settings" in error
                assert "\n" not in error


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values_of_wrong_types_in_the_data(folder, value):
    path = folder / "data.json"
    before, data = json.loads(path.read_text()), load_data(digits())
    own = RunFolder(folder, digits(), DataFiles())
    for name in before.keys() - {"files", "standardised"}:
        path.write_text(json.dumps({**before, name: value}))
        for function, argument in ((load_run, folder), (own.check_data, data)):
            _, error = end_of(function, argument)
            assert "data that" in error or "other data" in error
            assert "\n" not in error
    contents = [value, *({**before["files"], name: value} for name in before["files"])]
    for files in contents:
        path.write_text(json.dumps({**before, "files": files}))
        for function, argument in ((load_run, [folder]), (own.check_tables, [])):
            _, error = end_of(function, *argument)
            assert "\n" not in str(error)
    scale = before["standardised"]
    for one in [value, *({**scale, name: value} for name in scale)]:
        path.write_text(json.dumps({**before, "standardised": one}))
        found, error = end_of(read_scale, folder)
        assert found is None
        assert error is None if one is None else "not a mean and a standard" in error
        assert "\n" not in str(error)


def test_values_of_wrong_types_in_the_result(folder):
    issues = pd.DataFrame({"label_quality": np.zeros(0)})
    labels = RunLabels(issues, np.zeros(0, int), None, 10)

    def show():
        run = load_run(folder)
        check_figures(run)
        return settings_of(run), statistics_of(run, labels), run.doubts()

    assert end_of(show)[1] is None
    for name in RESULT:
        for value in VALUES:
            (folder / "result.json").write_text(json.dumps({**RESULT, name: value}))
            _, error = end_of(show)
            assert error is None or "result.json is damaged: it" in error
            assert "\n" not in str(error)
            if error is None:
                assert table({"sop": {**RESULT, name: value}})
        shorter = {one: RESULT[one] for one in RESULT if one != name}
        (folder / "result.json").write_text(json.dumps(shorter))
        assert table({"sop": shorter})
        _, error = end_of(show)
        assert error is None or "it has no " in error or name == "doubts"


@pytest.mark.parametrize(
    "content", ['{"more": 1.5}', '{"init_std": "1"}', '{"init_std": null}', DEEP]
)
def test_what_an_earlier_version_did_not_suggest(folder, content):
    (folder / "suggested.json").write_text(content)
    with pytest.raises(ONE_LINE) as error:
        load_run(folder)
    check_one_line(error)
    with pytest.raises(RunFolderError, match=r"suggested\.json"):
        _ = RunFolder(folder, digits(), DataFiles()).suggested


@pytest.mark.parametrize("name", ["checkpoints", "tensorboard", "tensorboard/train"])
def test_what_training_writes_to_is_no_link(tmp_path, name):
    mine = tmp_path / "mine"
    mine.mkdir()
    folder = leave_run(tmp_path / "run", digits())
    (folder / "result.json").unlink()
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).symlink_to(mine)
    with pytest.raises(OutputError, match=rf"run/{name} is a link to '.*mine'"):
        Run(digits(), folder)
    assert list(mine.iterdir()) == []


@pytest.mark.parametrize(
    ("epoch", "step", "history"),
    [
        (
            4,
            0,
            [{"epoch": one, "seconds": 1, "test_accuracy": 0.5} for one in range(4)],
        ),
        (0, 5, []),  # 300 examples in batches of 64: 5 steps, 4 inside of an epoch
        (1, 0, []),
        (1, 1, [{"epoch": 1, "seconds": 1.0}]),
        (1, 1, [{"epoch": 1, "test_accuracy": 0.5}]),
    ],
)
def test_checkpoints_of_no_place_of_the_run(tmp_path, epoch, step, history):
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints")
    progress = Progress(0, epoch, step, history=history)
    run = Run(digits(), tmp_path / "run")
    (tmp_path / "run").mkdir()

    def restore(model):
        return progress

    run.checkpoints.restore = restore
    with pytest.raises(CheckpointError, match="are not of this run"):
        run.train(verbose=0)
    assert checkpoints.newest is None
    assert list((tmp_path / "run").iterdir()) == []
