import contextlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from runs import InterruptionError, history, interrupt_at
from settings import digits

from sop_keras.data.datasets.by_name import DataFiles
from sop_keras.data.datasets.digits import load_digits
from sop_keras.data.images.bad_images import TooManyBadImagesError
from sop_keras.training.checkpoint import CheckpointError, Checkpoints
from sop_keras.training.experiment_data import load_data
from sop_keras.training.progress import Progress
from sop_keras.training.run import Run
from sop_keras.training.run_folder import RunFolder, RunFolderError
from sop_keras.training.run_lock import RunLock, RunLockedError
from sop_keras.training.terminate_on_nan import DivergenceError


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("complete") / "run"
    return folder, Run(digits(), folder).train(verbose=0, flags="--a=1")


def test_what_a_run_leaves(complete):
    folder, result = complete
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "data.json",
        "history.csv",
        "result.json",
        "model.keras",
        "backbone.keras",
        "label_issues.csv",
        "tensorboard",
    }
    assert json.loads((folder / "result.json").read_text()) == result
    assert result["flags"] == "--a=1"
    assert result["settings"] == digits().settings()
    assert set(result["versions"]) >= {"keras", "tensorflow", "sop_keras"}
    assert result["seconds"] > 0
    assert list((folder / "tensorboard").rglob("events.out.tfevents.*"))


def test_the_label_issues_are_those_of_the_saved_model(complete):
    from sop_keras.label_issues.export import read_label_issues
    from sop_keras.training.experiment_data import load_data

    folder, result = complete
    written = read_label_issues(folder / "label_issues.csv")
    assert written["label_quality"].is_monotonic_increasing
    assert result["num_label_issues"] == written["is_label_issue"].sum()
    data = load_data(digits())
    model = keras.saving.load_model(folder / "model.keras")
    x = (data.train.images / 255 - data.dataset.mean) / data.dataset.std
    y = {"label": data.train.labels, "index": data.train.ids}
    issues = model.label_issues(x.astype("float32"), y)
    issues = issues.set_index("id").loc[written["id"]]
    np.testing.assert_allclose(
        written["label_quality"], issues["label_quality"], rtol=1e-3, atol=1e-9
    )
    # By hand from the table: how many of the lowest are wrong.
    clean = dict(zip(data.train.ids, data.train.clean_labels, strict=True))
    is_wrong = np.array(
        [clean[row.id] != row.given_label for row in written.itertuples()]
    )
    found = result["detection"]["precision_at_k"]
    assert found == pytest.approx(is_wrong[: is_wrong.sum()].mean())


def test_the_history_has_a_row_an_epoch(complete):
    rows = history(complete[0])
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    # At the end of an epoch the optimizer is at the first step of the next.
    rates = [float(row["learning_rate"]) for row in rows]
    assert rates == pytest.approx([0.002, 0.0002, 0.0002])
    needed = {"loss", "accuracy", "ce_loss", "mse_loss", "val_accuracy"}
    assert needed | {"test_loss", "test_accuracy", "seconds"} <= set(rows[0])


def test_the_figures_are_those_of_the_saved_network(complete):
    folder, result = complete
    from sop_keras.training.experiment_data import load_data

    data = load_data(digits())
    backbone = keras.saving.load_model(folder / "backbone.keras")
    mean, std = data.dataset.mean[0], data.dataset.std[0]

    def accuracy(examples, labels):
        x = (examples.images.astype("float64") / 255 - mean) / std
        return (backbone.predict(x, verbose=0).argmax(-1) == labels).mean()

    test, train = data.tests["test"], data.train
    assert result["final_test_accuracy"] == pytest.approx(accuracy(test, test.labels))
    given = accuracy(train, train.labels)
    assert result["train_accuracy_given_labels"] == pytest.approx(given)


def test_a_complete_run_is_not_trained_again(complete, monkeypatch):
    folder, result = complete
    monkeypatch.setattr(keras.Model, "fit", None)
    assert Run(digits(), folder).train(verbose=0) == result


@pytest.mark.slow
def test_a_run_of_an_earlier_version_goes_on_with_the_rates_that_it_suggested(tmp_path):
    open_rates = {"u_learning_rate": None, "v_learning_rate": None, "init_std": None}
    asked = digits(epochs=2, **open_rates)
    RunFolder(tmp_path / "run", asked, DataFiles()).begin(load_data(asked))
    suggested = dict(zip(open_rates, (9.5, 8.5, 1e-2), strict=True))
    (tmp_path / "run" / "suggested.json").write_text(json.dumps(suggested))
    result = Run(asked, tmp_path / "run").train(verbose=0)
    assert result["settings"] == {**asked.settings(), **suggested}
    model = keras.saving.load_model(tmp_path / "run" / "model.keras")
    assert model.method.init_std == 1e-2
    rates = {n: float(o.learning_rate) for n, o in model.row_optimizers().items()}
    assert rates == {"u": 9.5, "v": 8.5}
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config == asked.settings()
    assert config["init_std"] is None


def test_other_settings_are_refused_by_name(complete):
    folder, _ = complete
    with pytest.raises(
        RunFolderError, match=r"other settings \(epochs: 3 there, 4 now"
    ):
        Run(digits(epochs=4), folder)


def test_nothing_is_written_where_an_augmentation_cannot_be_made(tmp_path, monkeypatch):
    # keras-cv not installed: None in sys.modules fails the import of it.
    monkeypatch.setitem(sys.modules, "keras_cv", None)
    experiment = digits(method="sop_plus", strong_augment="keras_cv_randaugment")
    with pytest.raises(ImportError, match="keras-cv"):
        Run(experiment, tmp_path / "run").train(verbose=0)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["config.json", "result.json"])
def test_damaged_files_are_an_error_that_changes_nothing(complete, tmp_path, name):
    folder = tmp_path / "run"
    folder.mkdir()
    for path in complete[0].glob("*.json"):
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / name).write_text('{"epochs": ')
    with pytest.raises(
        RunFolderError, match=rf"{name} cannot be read.*nothing .*chang"
    ):
        Run(digits(), folder)
    assert (folder / name).read_text() == '{"epochs": '


def test_files_of_an_unknown_run_are_refused(tmp_path):
    (tmp_path / "history.csv").write_text("epoch\n1\n")
    with pytest.raises(RunFolderError, match=r"history\.csv but no config\.json"):
        Run(digits(), tmp_path)


def test_a_file_is_no_folder(tmp_path):
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(RunFolderError, match="is a file"):
        Run(digits(), path)


@pytest.mark.slow
def test_damaged_checkpoints_are_an_error_that_changes_nothing(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_at(patch, epoch=2)
        with pytest.raises(InterruptionError):
            Run(digits(), tmp_path).train(verbose=0)
    before = (tmp_path / "history.csv").read_text()
    states = list(Checkpoints(tmp_path / "checkpoints").folder.glob("*/state.json"))
    assert len(states) == 2
    for state in states:
        state.write_text("")
    with pytest.raises(CheckpointError, match=r"No checkpoint in .* is whole"):
        Run(digits(), tmp_path).train(verbose=0)
    assert (tmp_path / "history.csv").read_text() == before
    assert len(list(tmp_path.glob("checkpoints/*/state.json"))) == 2


def test_a_run_that_diverges_says_so_and_keeps_what_is_there(tmp_path):
    experiment = digits(method="ce", learning_rate=1e9, schedule="constant")
    with pytest.raises(DivergenceError, match=r"loss is (nan|inf) in epoch \d.*Lower"):
        Run(experiment, tmp_path).train(verbose=0)
    assert not (tmp_path / "result.json").exists()


def test_checkpoints_that_a_kill_left_beside_a_result_go(complete):
    folder, _ = complete
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    Checkpoints(folder / "checkpoints").save(model, Progress(seed=0, epoch=3))
    Run(digits(), folder).train(verbose=0)
    assert not (folder / "checkpoints").exists()


def own_data(folder, num_images, test=False):
    """A table of small real images, and perhaps one to test on."""
    images = load_digits().train.images
    lines = ["path,label"]
    for number in range(num_images):
        name = f"{number}.png"
        Image.fromarray(images[number, ..., 0]).save(folder / name)
        lines.append(f"{name},{number % 2}")
    table = folder / f"{num_images}.csv"
    table.write_text("\n".join(lines))
    tests = {"test_manifest": str(table)} if test else {}
    return DataFiles(manifest=str(table), **tests)


def own_experiment():
    return digits(
        dataset="manifest",
        noise="none",
        num_validation=0,
        max_train_examples=0,
        resize=8,
        image_size=8,
        batch_size=4,
    )


def test_a_complete_run_on_data_that_have_changed_says_so(tmp_path, caplog):
    files, experiment = own_data(tmp_path, 12), own_experiment()
    table, folder = Path(files.manifest), tmp_path / "run"
    rows = table.read_text()
    own = RunFolder(folder, experiment, files)
    own.begin(load_data(experiment, files))
    own.write_result({"num_train": 12})
    Image.open(tmp_path / "0.png").save(tmp_path / "other.png")
    # Label 0 of 2.png becomes 1; another file; a row less.
    for changed, text in (
        (rows.replace("2.png,0", "2.png,1"), "other data .other labels"),
        (rows.replace("\n0.png", "\nother.png"), "other data .other file names"),
        (rows.replace("11.png,1", ""), "other data .*train: 12 there, 11 now"),
    ):
        table.write_text(changed)
        with pytest.raises(ValueError, match=text):
            Run(experiment, folder, files).train(verbose=0)
    table.write_text(rows)
    assert Run(experiment, folder, files).train(verbose=0) == {"num_train": 12}
    assert "cannot be seen" not in caplog.text
    # Results can be shown all the same.
    table.write_text(rows.replace("2.png,0", "2.png,NaN"))
    assert Run(experiment, folder, files).train(verbose=0) == {"num_train": 12}
    assert "trained on cannot be seen: " in caplog.text
    assert "no value, such as 'NaN'" in caplog.text
    table.unlink()
    assert Run(experiment, folder, files).train(verbose=0) == {"num_train": 12}
    assert "trained on cannot be seen: There is no manifest" in caplog.text


@pytest.mark.slow
def test_a_run_goes_on_with_the_data_that_it_began_with(tmp_path, monkeypatch):
    few, more = own_data(tmp_path, 12), own_data(tmp_path, 20)
    tested = own_data(tmp_path, 12, test=True)
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt_at(patch, epoch=1)
        with pytest.raises(InterruptionError):
            Run(own_experiment(), folder, few).train(verbose=0)
    before = (folder / "history.csv").read_text()
    for files, text in (
        (more, "train: 12 there, 20 now"),
        (tested, "test: None there, 12 now"),
    ):
        with pytest.raises(RunFolderError, match=f"run on other data.*{text}"):
            Run(own_experiment(), folder, files).train(verbose=0)
    assert (folder / "history.csv").read_text() == before
    result = Run(own_experiment(), folder, few).train(verbose=0)
    assert result["num_train"] == 12
    assert Run(own_experiment(), folder, few).train(verbose=0) == result
    with pytest.raises(RunFolderError, match=r"complete run on another table.*20\.csv"):
        Run(own_experiment(), folder, more).train(verbose=0)


def test_a_test_set_without_one_readable_image_is_an_error(tmp_path):
    train = own_data(tmp_path, 12)
    bad = tmp_path / "bad.csv"
    bad.write_text("path,label\n12.csv,0\n12.csv,1\n")
    files = replace(train, test_manifest=str(bad), max_bad_fraction=1.0)
    with pytest.raises(TooManyBadImagesError, match="None of the images of the test"):
        Run(own_experiment(), tmp_path / "run", files).train(verbose=0)


def test_bad_images_count_when_a_run_is_resumed_after_its_last_epoch(
    tmp_path, monkeypatch
):
    train = own_data(tmp_path, 12)
    # 12.csv is no image, and labelled alike in both tables: one of 13, and one of 4.
    table, test = tmp_path / "some.csv", tmp_path / "test.csv"
    table.write_text(Path(train.manifest).read_text() + "\n12.csv,0")
    test.write_text("path,label\n0.png,0\n1.png,1\n12.csv,0\n2.png,0\n")
    files = DataFiles(
        manifest=str(table), test_manifest=str(test), max_bad_fraction=0.5
    )
    experiment = replace(own_experiment(), epochs=1, decay_epochs=(1,))
    folder = tmp_path / "run"

    def stop(*_):
        raise InterruptionError

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_finish", stop)
        with pytest.raises(InterruptionError):
            Run(experiment, folder, files).train(verbose=0)
    result = Run(experiment, folder, files).train(verbose=0)
    assert result["num_bad_images"] == {"test": 1, "train": 1}
    assert len((folder / "bad_images.csv").read_text().splitlines()) == 1 + 2


def test_a_run_that_another_process_trains_is_refused_and_stays(tmp_path):
    with RunLock(tmp_path / "run"):
        with pytest.raises(RunLockedError, match="is being written to by process"):
            Run(digits(), tmp_path / "run").train(verbose=0)
        assert [one.name for one in (tmp_path / "run").iterdir()] == ["run.lock"]


def test_of_several_machines_the_first_one_locks(tmp_path, monkeypatch):
    from sop_keras.training import run

    # The others are let through to train along, by a lock that the first one has.
    for is_chief, kind in ((True, RunLock), (False, contextlib.nullcontext)):
        monkeypatch.setattr(run, "is_chief", lambda strategy, value=is_chief: value)
        assert type(Run(digits(), tmp_path / "run")._locked()) is kind


def test_a_run_whose_lock_is_gone_stops_before_its_next_checkpoint(
    tmp_path, monkeypatch
):
    original = Checkpoints.save

    def save(self, model, progress):
        original(self, model, progress)
        (tmp_path / "run.lock").unlink()

    monkeypatch.setattr(Checkpoints, "save", save)
    with pytest.raises(RunLockedError, match=r"run\.lock was removed or taken over"):
        Run(digits(), tmp_path).train(verbose=0)
    assert [one.name for one in (tmp_path / "checkpoints").iterdir()] == [
        "epoch-00001-step-000000"
    ]
