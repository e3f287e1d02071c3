"""launch/prepare.py: a tree in a published layout, stored once and trained on."""

import csv
import json

import command
import data_trees
import evaluate
import prepare
import pytest
import train
import train_flags

IMAGES, LABELS = data_trees.tiny_cifar10()
SIZES = ["--flagfile=webvision.flags", "--resize=36", "--image_size=32"]
SMALL = ["--backbone=mlp", "--method=ce", "--epochs=2", "--decay_epochs=1"]


@pytest.fixture(scope="module")
def webvision(tmp_path_factory):
    """WebVision and ILSVRC2012 in one folder, with a file that is no image."""
    folder = tmp_path_factory.mktemp("data")
    synsets = data_trees.wnids(1000, seed=3)
    parts = data_trees.write_webvision(
        folder / "webvision",
        IMAGES,
        LABELS,
        {"google": 90, "flickr": 5, "val": 20},
        synsets=synsets,
        names_are_text=False,
        searches_in_lists=False,
        style=data_trees.HANDLED,
    )
    data_trees.write_imagenet_tfds(folder, IMAGES, LABELS, 10, synsets=synsets)
    return folder, parts


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_training_on_what_was_prepared(webvision, tmp_path, in_process):
    data, _ = webvision
    folder, runs = tmp_path / "stored", tmp_path / "runs"
    where = ["--noexpect_full_size", f"--data_dir={data}"]
    done = in_process(prepare, *SIZES, *where, f"--output_dir={folder}")
    assert done.returncode == 0, done.stderr
    assert "stored: 90 train, 20 test, 10 ilsvrc12 images, 0.00 GB" in done.stdout
    words = [*SIZES, "--dataset=prepared", f"--data_dir={folder}"]
    assert f"train.py {' '.join(words)}" in done.stdout
    # The flagfile's --expect_full_size is for the data set, not for what is stored.
    results, histories = [], []
    for name, words in (
        ("files", where),
        ("stored", ["--dataset=prepared", f"--data_dir={folder}"]),
        ("fast", [*where, "--decode=fast"]),
    ):
        done = in_process(train, *SIZES, *SMALL, *words, f"--output_dir={runs / name}")
        assert done.returncode == 0, done.stdout + done.stderr
        results.append(json.loads((runs / name / "result.json").read_text("utf-8")))
        histories.append(rows_of(runs / name / "history.csv"))
    assert [one["num_train"] for one in results] == [90, 90, 90]
    assert [one["num_ilsvrc12"] for one in results] == [10, 10, 10]
    # BMPs keep every pixel: all that was trained and measured is the same.
    seconds = {"seconds", "epoch_seconds"}
    for files, stored in zip(*histories[:2], strict=True):
        assert files.keys() == stored.keys()
        assert {k: v for k, v in files.items() if k not in seconds} == {
            k: v for k, v in stored.items() if k not in seconds
        }
    labels = [
        json.loads((runs / name / "data.json").read_text("utf-8"))
        for name in ("files", "stored", "fast")
    ]
    assert len({one["labels"] for one in labels}) == 1
    assert results[2]["settings"]["decode"] == "fast"
    # The run of what is stored knows its network on the files themselves, too.
    run = runs / "stored"
    words = ["--dataset=webvision", "--num_classes=50", "--splits=ilsvrc12", *where]
    done = in_process(evaluate, f"--run={run}", *words)
    assert done.returncode == 0, done.stderr
    path = run / "evaluation" / "ilsvrc12.json"
    accuracy = json.loads(path.read_text("utf-8"))["accuracy"]
    assert accuracy == pytest.approx(results[1]["final_ilsvrc12_accuracy"])

    # The same command again has nothing to do; another one is refused.
    again = in_process(prepare, *SIZES, *where, f"--output_dir={folder}")
    assert again.stdout.splitlines()[-2:] == [
        line for line in again.stdout.splitlines() if "stored" in line
    ]
    failed = in_process(
        prepare, *SIZES, *where, "--resize=40", f"--output_dir={folder}"
    )
    assert failed.returncode == 1
    assert "resize=36 there, resize=40 asked for" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_bad_images_of_it(webvision, tmp_path, in_process):
    data, parts = webvision
    bad = parts["google"].files[4]
    content = data_trees.content(bad)
    words = [*SIZES, "--noexpect_full_size", f"--data_dir={data}"]
    words += [f"--output_dir={tmp_path / 'stored'}"]
    try:
        with open(bad, "wb") as stream:
            stream.write(b"<html>404</html>")
        failed = in_process(prepare, *words)
        assert failed.returncode == 1
        assert "error: 1 of the 90 images of the train examples" in failed.stderr
        done = in_process(prepare, *words, "--max_bad_fraction=0.02")
    finally:
        with open(bad, "wb") as stream:
            stream.write(content)
    assert done.returncode == 0, done.stderr
    assert "stored: 89 train, 20 test" in done.stdout
    path = tmp_path / "stored" / "bad_images.csv"
    assert f"1 images left out: {path}" in done.stdout
    assert [(row["split"], row["id"]) for row in rows_of(path)] == [("train", "4")]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["--flagfile", "webvision", "--resize", "320", "--num_classes=10"],
            ["--flagfile=webvision", "--num_classes=10", "--resize=320"],
        ),
        (
            ["--dataset=manifest", "--manifest=t.csv", "--noexpect_full_size"],
            ["--noise=none", "--backbone=resnet50"],
        ),
        # What names other data cannot stay, nor be taken back beside it.
        (
            ["--flagfile=OWN", "--image_size=28"],
            ["--noise=none", "--epochs=3", "--image_size=28"],
        ),
    ],
)
def test_the_printed_command_asks_for_what_is_stored(words, expected, tmp_path):
    own = tmp_path / "own.flags"
    lines = ["--dataset=manifest", "--manifest=there.csv", "--noise=none"]
    own.write_text("\n".join([*lines, "--epochs=3", "--output_dir=x"]), "utf-8")
    words = [one.replace("OWN", str(own)) for one in words]
    line = command.parse(
        prepare.define_flags(), words, ignored=list(train_flags.define())
    )
    found = prepare.training_words(line, tmp_path)
    assert found == [*expected, "--dataset=prepared", f"--data_dir={tmp_path}"]
    # It is a command of launch/train.py, which asks the data set for the same.
    values = train_flags.parsed(found)
    assert train_flags.files(values).manifest is None
    for name in ("num_classes", "resize", "image_size"):
        assert values[name].value == line.flags[name].value


def test_what_is_in_memory_needs_none(tmp_path, in_process):
    failed = in_process(prepare, f"--output_dir={tmp_path / 'stored'}")
    assert failed.returncode == 1
    assert "error: The images of digits are in memory" in failed.stderr
