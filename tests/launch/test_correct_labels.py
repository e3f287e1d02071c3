import dataclasses
import json
import os
import shlex
import shutil
import sys
from pathlib import Path

import audit
import command
import correct_labels
import numpy as np
import pytest
import train
import train_flags
from photos import write_photos
from printed_command import launch_command

from sop_keras.auditing.audit_run import experiment_of
from sop_keras.auditing.head_settings import HeadSettings
from sop_keras.data.datasets.manifest import load_manifest
from sop_keras.label_issues.export import read_label_issues, write_label_issues
from sop_keras.training.run import Run
from sop_keras.training.saved_run import load_run

ROOT = Path(__file__).resolve().parents[2]

# What the images of a data set of arrays need in a manifest, to stay as they are.
SIZES = {"resize": 8, "image_size": 8}


def correct(run, *arguments):
    values = correct_labels.define_flags()
    line = command.parse(values, [run, *arguments], num_arguments=1)
    correct_labels.correct(line)


def of_training(*arguments):
    """The settings and the files of a command line of launch/train.py."""
    values = train_flags.define()
    command.parse(values, arguments)
    return train_flags.experiment(values, values.method[0]), train_flags.files(values)


def printed_experiment(text):
    """What the printed command trains, and its files."""
    words = shlex.split(text.split("train:   ")[1])
    assert words[:2] == shlex.split(launch_command("train.py"))
    return of_training(*words[2:])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A complete run on the digits, with 40% noise and a part for validation."""
    folder = tmp_path_factory.mktemp("runs") / "sop"
    settings = ["--noise_rate=0.4", "--augment=none", "--epochs=15", "--method=sop"]
    settings += ["--batch_size=64", "--v_lr=100", "--init_std=1e-4"]
    settings += ["--num_validation=180", "--seed=3"]
    experiment, _ = of_training(*settings)
    Run(experiment, folder).train(verbose=0)
    return folder


def rates(examples):
    return (examples.labels == examples.clean_labels).mean()


@pytest.mark.slow
def test_relabel_and_train_again(run, tmp_path, capsys):
    out = tmp_path / "a folder"
    correct(str(run), "--action=relabel", f"--output_dir={out}")
    text = capsys.readouterr().out
    before = load_run(run).data
    issues = read_label_issues(run / "label_issues.csv").set_index("id")
    issues = issues.loc[before.train.ids]  # in the order of the data

    dataset = load_manifest(
        out / "train.csv", test_manifest=out / "test.csv", num_classes=10, **SIZES
    )
    after = dataset.train
    # 1,437 digits; of the 1,797 ids, 180 are for validation, some of them the test's.
    assert len(after) == len(before.train) == len(issues) < 1437
    np.testing.assert_array_equal(after.ids, before.train.ids)
    np.testing.assert_array_equal(after.clean_labels, before.train.clean_labels)
    is_issue = issues["is_label_issue"].to_numpy()
    np.testing.assert_array_equal(after.labels != before.train.labels, is_issue)
    suggested = issues["suggested_label"].to_numpy()[is_issue]
    np.testing.assert_array_equal(after.labels[is_issue], suggested)
    # 64% are right before: 40% are redrawn, a tenth of them as they were.
    assert rates(before.train) < 0.67
    assert rates(after) > 0.9
    right = f"{100 * rates(before.train):.2f} % before, {100 * rates(after):.2f} % now"
    assert f"right labels: {right}" in text
    assert f"relabelled: {is_issue.sum():,} (" in text
    assert len(dataset.test) == 360
    np.testing.assert_array_equal(dataset.test.labels, before.tests["test"].labels)

    experiment, files = printed_experiment(text)
    expected = load_run(run).experiment
    changed = {"dataset": "manifest", "noise": "none", "num_classes": 10, **SIZES}
    changed |= {"num_validation": 0}
    assert experiment == dataclasses.replace(expected, **changed)
    result = Run(dataclasses.replace(experiment, epochs=8), tmp_path / "run", files)
    figures = result.train(verbose=0)
    assert figures["num_train"] == len(after)
    assert figures["noise_rate"] == pytest.approx(1 - rates(after))
    assert figures["final_test_accuracy"] > 0.85


def test_drop_the_lowest(run, tmp_path, capsys):
    arguments = [str(run), "--action=drop", f"--output_dir={tmp_path / 'out'}"]
    correct(*arguments, "--num_issues=200", "--format=parquet")
    text = capsys.readouterr().out
    data = load_run(run).data
    after = load_manifest(tmp_path / "out" / "train.parquet", num_classes=10).train
    assert len(after) == len(data.train) - 200
    # The file's first ones are of the lowest quality.
    lowest = read_label_issues(run / "label_issues.csv")["id"][:200]
    assert set(data.train.ids) - set(after.ids) == set(lowest)
    assert "dropped: 200 (" in text
    assert f"({len(data.validation)} for validation are not among them" in text
    assert "with ImageNet's mean and deviation, not those of digits, as RGB" in text
    assert "Labels are the classes' numbers" in text
    _, files = printed_experiment(text)
    assert files.manifest == str(tmp_path / "out" / "train.parquet")
    assert files.test_manifest == str(tmp_path / "out" / "test.parquet")


def test_a_share_and_both(run, tmp_path, capsys):
    arguments = [str(run), "--action=drop", f"--output_dir={tmp_path / 'out'}"]
    with pytest.raises(ValueError, match="say the same in two ways: give one"):
        correct(*arguments, "--num_issues=3", "--issue_rate=0.1")
    with pytest.raises(ValueError, match="nothing would change"):
        correct(*arguments, "--num_issues=0")
    correct(*arguments, "--issue_rate=0.25")
    after = load_manifest(tmp_path / "out" / "train.csv", num_classes=10).train
    num_train = len(load_run(run).data.train)
    assert len(after) == num_train - round(num_train / 4)


@pytest.fixture(scope="module")
def trained_on_photos(tmp_path_factory):
    return make_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture
def photos(trained_on_photos, tmp_path):
    """A copy of the photos, and of the run on them, which knows of the copy alone."""
    shutil.copytree(trained_on_photos, tmp_path, dirs_exist_ok=True)
    data = tmp_path / "run" / "data.json"
    text = data.read_text("utf-8")
    assert str(trained_on_photos) in text
    data.write_text(text.replace(str(trained_on_photos), str(tmp_path)), "utf-8")
    return tmp_path


def make_photos(tmp_path, tested=False):
    """A run on a table of files, of two classes, one of which is a piece of HTML."""
    write_photos(folder := tmp_path / "photos")
    arguments = ["--dataset=manifest", f"--manifest={folder / 'train.csv'}"]
    arguments += ["--noise=none", "--resize=12", "--image_size=8", "--epochs=1"]
    arguments += ["--max_bad_fraction=0.1", "--augment=flip", "--batch_size=4"]
    if tested:
        arguments.append(f"--test_manifest={folder / 'train.csv'}")
    experiment, files = of_training(*arguments)
    Run(experiment, tmp_path / "run", files).train(verbose=0)
    return tmp_path


def test_the_printed_command_allows_the_bad_images_that_the_run_did(
    tmp_path, in_process
):
    folder = make_photos(tmp_path, tested=True)
    out = folder / "out"
    words = ["--action=drop", "--num_issues=1", f"--output_dir={out}"]
    done = in_process(correct_labels, folder / "run", *words)
    assert done.returncode == 0, done.stderr
    words = shlex.split(done.stdout.split("train:   ")[1])
    # 1 of 12 test images is none: 8%, where 1% may be left out by default.
    done = in_process(train, *words[2:])
    assert done.returncode == 0, done.stderr
    result = json.loads((out / "run" / "result.json").read_text("utf-8"))
    assert result["num_bad_images"] == {"test": 1}
    assert result["num_train"] == 10


def test_files_of_any_name(photos, capsys):
    run, out = photos / "run", photos / "out"
    path = run / "label_issues.csv"
    issues = read_label_issues(path)
    issues["is_label_issue"] = issues["id"] == 0  # what decides is in the file
    write_label_issues(issues, path)
    correct(str(run), "--action=relabel", f"--output_dir={out}")
    text = capsys.readouterr().out
    dataset = load_manifest(out / "train.csv")
    # The one that is no image is left out; the first one is now of the other class.
    assert dataset.class_names == ("<script>alert(1)</script>", "cat")
    assert dataset.train.ids.tolist() == [3 * i for i in range(12) if i != 5]
    assert dataset.train.labels.tolist() == [0, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0]
    content = (photos / "photos" / "=cmd|' ,C calc'!A0.png").read_bytes()
    assert dataset.train.images.read(0) == content
    assert "left out: 1 whose images could not be read" in text
    assert "cat -> <script>alert(1)</scr..." in text
    assert "right labels" not in text
    assert [one.name for one in out.iterdir()] == ["train.csv"]
    experiment, files = printed_experiment(text)
    sizes = (experiment.resize, experiment.image_size, experiment.num_classes)
    assert sizes == (12, 8, None)
    assert experiment.augment == "flip"
    assert files.test_manifest is None
    assert files.max_bad_fraction == 0.1  # as the run allowed


def test_what_people_decided_is_applied(photos, capsys):
    run, out = photos / "run", photos / "out"
    path = run / "label_issues.csv"
    issues = read_label_issues(path)
    issues["is_label_issue"] = issues["id"] < 10  # 0, 3, 6 and 9
    write_label_issues(issues, path)
    time, header = "2024-05-06T07:08:09Z", "id,decision,label,time"
    for name, rows in {
        # Ids of even numbers are cats, 1, the others are the piece of HTML, 0.
        "a.csv": [
            "0,given,1",
            "3,remove,",
            "12,suggested,0",
            "30,other,0",
            "33,given,0",
        ],
        "b.csv": ["0,given,1", "30,given,1", "33,other,1"],
    }.items():
        lines = [header, *(f"{row},{time}" for row in rows)]
        (photos / name).write_text("\n".join(lines))
    files = f"--decisions={photos / 'a.csv'},{photos / 'b.csv'}"
    correct(str(run), "--action=relabel", files, f"--output_dir={out}")
    text = capsys.readouterr().out
    after = load_manifest(out / "train.csv").train
    labels = dict(zip(after.ids.tolist(), after.labels.tolist(), strict=True))
    assert 3 not in labels
    # Of the issues, nobody decided on 6 and 9.
    assert [labels[one] for one in (0, 6, 9, 12, 30, 33)] == [1, 0, 1, 0, 1, 0]
    assert [labels[one] for one in (18, 21, 24, 27)] == [1, 0, 1, 0]
    assert "decided: 3 (1 given, 1 suggested, 0 other, 1 remove)" in text
    assert "1  cat -> <script>alert(1)</scr..." in text
    assert "conflicts: 2, which stay as they are" in text
    assert f"id 30: {photos / 'a.csv'}: other 0, {photos / 'b.csv'}: given 1" in text
    assert "relabelled: 2 (18.2 %)" in text
    # Of 0, 3 and 12, the last two were wrong; Wilson's ends for 2 of 3.
    assert (
        "wrong among the decided: 2 of 3 (66.7 %; 95 % interval: 20.8 to 93.9" in text
    )
    assert "worth a look: 8 more, up to rank 11, of which some 5 are wrong;" in text


def test_what_the_audit_was_given_is_applied(photos, capsys, caplog):
    run, out = photos / "run", photos / "out"
    path = run / "label_issues.csv"
    issues = read_label_issues(path).set_index("id", drop=False)
    # As an audit leaves them: 0, a cat (1), is the piece of HTML (0); 3 is confirmed,
    # 6 removed. 9 looks wrong.
    issues["decision"] = ""
    said = {0: "other", 3: "given", 6: "remove"}
    issues.loc[list(said), "decision"] = list(said.values())
    issues["suggested_label"] = 1 - issues["given_label"]
    issues["is_label_issue"] = issues["id"] == 9
    issues.loc[list(said), "noise_score"] = np.nan
    issues.loc[list(said), "label_quality"] = [np.nan, 1.0, np.nan]
    write_label_issues(issues, path)

    correct(str(run), "--action=keep", f"--output_dir={out}")
    text = capsys.readouterr().out
    after = load_manifest(out / "train.csv").train
    labels = dict(zip(after.ids.tolist(), after.labels.tolist(), strict=True))
    assert 6 not in labels
    assert [labels[one] for one in (0, 3, 9, 12)] == [0, 0, 0, 1]
    assert "decided: 3 (1 given, 0 suggested, 1 other, 1 remove)" in text
    assert "decided before the audit: 3, as label_issues.csv has them\n" in text
    assert "wrong among the decided: 2 of 3" in text
    # Eight are open, and nobody has decided on any of the page of this table.
    assert "worth a look: 8 more, up to rank 8; where wrong ones get few is" in text

    # A file says that 0 is a cat after all; of eleven, the eight others are marked.
    decisions = photos / "new.csv"
    row = "0,given,1,2024-05-06T07:08:09Z"
    decisions.write_text(f"id,decision,label,time\n{row}\n")
    words = ["--action=drop", "--issue_rate=1", f"--decisions={decisions}"]
    correct(str(run), *words, f"--output_dir={photos / 'more'}")
    assert "where it says otherwise" in capsys.readouterr().out
    after = load_manifest(photos / "more" / "train.csv", num_classes=2).train
    assert after.ids.tolist() == [0, 3]
    assert after.labels.tolist() == [1, 0]
    assert "8 labels are marked as issues, not 11" in caplog.text
    assert "3 are trusted, or decided on." in caplog.text
    assert "never trained on" not in caplog.text


@pytest.mark.parametrize("network", ["network.keras", "efficientnet_lite0"])
def test_after_an_audit_its_head_is_not_trained_again(photos, network, capsys):
    """A head's 10 epochs and its rate are none of a network, which may be a file."""
    run, out = photos / "run", photos / "out"
    trained = load_run(run).experiment
    of_data = {name: getattr(trained, name) for name in audit.OF_DATA}
    experiment = experiment_of(HeadSettings(), network, "imagenet", **of_data)
    (run / "config.json").write_text(json.dumps(experiment.settings()))
    result = json.loads((run / "result.json").read_text("utf-8"))
    result["features"] = {"image_size": 224}
    (run / "result.json").write_text(json.dumps(result))
    correct(str(run), "--action=drop", "--num_issues=1", f"--output_dir={out}")
    text = capsys.readouterr().out
    assert "An audit has no settings of a training" in text
    found, files = printed_experiment(text)
    assert files.manifest == str(out / "train.csv")
    sizes = ["--resize=12", "--image_size=8"]
    expected, _ = of_training("--dataset=manifest", "--noise=none", *sizes)
    assert found == expected


def test_decisions_that_cannot_be_applied_write_nothing(photos):
    words = [str(photos / "run"), f"--output_dir={photos / 'out'}", "--action=keep"]
    with pytest.raises(ValueError, match="--action=keep is for the label issues that"):
        correct(*words)
    path = photos / "a.csv"
    with pytest.raises(FileNotFoundError, match="no file of decisions"):
        correct(*words, f"--decisions={path}")
    time = "2024-05-06T07:08:09Z"
    for row, message in (("1,given,0", "the first is 1"), ("0,other,2", "from 0 to 1")):
        path.write_text(f"id,decision,label,time\n{row},{time}\n")
        with pytest.raises(ValueError, match=message):
            correct(*words, f"--decisions={path}")
    assert not (photos / "out").exists()


def test_the_data_may_have_moved(photos):
    (photos / "photos").rename(photos / "moved")
    arguments = [str(photos / "run"), "--action=drop", "--num_issues=1"]
    arguments.append(f"--output_dir={photos / 'out'}")
    with pytest.raises(FileNotFoundError, match="--manifest"):
        correct(*arguments)
    # The share of bad images that the run allowed still is.
    correct(*arguments, f"--manifest={photos / 'moved' / 'train.csv'}")
    assert (photos / "out" / "train.csv").is_file()


def test_errors_come_before_anything_is_written(run, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="Say what to do and where to"):
        correct(str(run), f"--output_dir={out}")
    arguments = ["--action=drop", f"--output_dir={out}"]
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        correct(str(tmp_path), *arguments)
    copy = tmp_path / "run"
    copy.mkdir()
    for name in ("config.json", "data.json", "history.csv"):
        shutil.copy(run / name, copy / name)
    with pytest.raises(ValueError, match="run is not complete"):
        correct(str(copy), *arguments)
    shutil.copy(run / "result.json", copy / "result.json")
    with pytest.raises(
        FileNotFoundError, match=r"label_issues\.csv\. A run of SOP wri"
    ):
        correct(str(copy), *arguments)
    cross_entropy = dataclasses.replace(load_run(run).experiment, method="ce")
    (copy / "config.json").write_text(
        json.dumps(cross_entropy.settings()), encoding="utf-8"
    )
    (copy / "suggested.json").unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError, match="CE finds no wrong labels"):
        correct(str(copy), *arguments)
    with pytest.raises(ValueError, match="must be at most"):
        correct(str(run), *arguments, "--num_issues=9999")
    with pytest.raises(ValueError, match="is not empty"):
        correct(str(run), "--action=drop", f"--output_dir={run}")
    assert not out.exists()


@pytest.mark.slow
def test_the_command_that_it_prints_trains(run, tmp_path, monkeypatch, in_process):
    words = [str(run), "--action=relabel", "--output_dir=out"]
    monkeypatch.chdir(tmp_path)
    done = in_process(correct_labels, *words)
    assert done.returncode == 0, done.stderr
    again = shlex.split(done.stdout.split("train:   ")[1])
    assert os.path.abspath(shutil.which(again[0])) == sys.executable
    assert again[1] == str(ROOT / "launch" / "train.py")
    trained = in_process(train, *again[2:], "--epochs=1")
    assert trained.returncode == 0, trained.stderr
    result = json.loads((tmp_path / "out" / "run" / "result.json").read_text("utf-8"))
    assert result["noise_rate"] < 0.1
    failed = in_process(correct_labels, *words)
    assert failed.returncode == 1
    assert "error: out is not empty" in failed.stderr
    assert "Traceback" not in failed.stderr
