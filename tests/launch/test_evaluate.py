import csv
import json
from pathlib import Path

import command
import evaluate
import evaluation_files
import evaluation_splits
import keras
import numpy as np
import pytest
from absl import flags

from sop_keras.data.datasets.digits import load_digits
from sop_keras.training.experiment import Experiment
from sop_keras.training.run import Run

ROOT = Path(__file__).resolve().parents[2]


def flags_of(*arguments):
    """The flags of a command line; not those that change the whole process."""
    values = evaluate.define_flags()
    command.parse(values, ["--nodeterministic", *arguments])
    return values


def evaluate_with(*arguments):
    evaluate.evaluate(command.CommandLine(flags_of(*arguments)))


@pytest.fixture
def asked(monkeypatch):
    """What the data set's function is asked for."""
    calls = []

    def load_dataset(name, **options):
        calls.append({"name": name, **options})
        return load_digits()

    monkeypatch.setattr(evaluation_splits, "load_dataset", load_dataset)
    return calls


def network(*shape, num_classes=10):
    pool = keras.layers.GlobalAveragePooling2D()
    return keras.Sequential([keras.Input(shape), pool, keras.layers.Dense(num_classes)])


SIZES = {"resize": 320, "image_size": 299}
WEBVISION = {"dataset": "webvision", "label_set": None, "num_classes": 50, **SIZES}


def options_for(asked, settings, model, *arguments):
    asked.clear()
    evaluation_splits.load(flags_of(*arguments), settings, model)
    names = ("name", "label_set", "num_classes", "resize", "image_size")
    return tuple(asked[0].get(name) for name in names)


def test_flags_win_over_the_run_and_the_run_over_the_model(asked):
    model = network(227, 227, 3)
    ran = ("webvision", None, 50, 320, 299)
    assert options_for(asked, WEBVISION, model, "--data_dir=D") == ran
    assert (asked[0]["data_dir"], asked[0]["expect_full_size"]) == ("D", True)
    changed = ["--image_size=200", "--num_classes=7", "--noexpect_full_size"]
    assert options_for(asked, WEBVISION, model, *changed) == (
        "webvision",
        None,
        7,
        320,
        200,
    )
    assert asked[0]["expect_full_size"] is False
    unset = {**WEBVISION, "resize": None, "image_size": None}
    sizes = ("webvision", None, 50, None, 227)
    assert options_for(asked, unset, model) == sizes
    assert options_for(asked, unset, network(None, None, 3))[-1] is None


def test_another_data_set_than_the_runs_gets_its_sizes_alone(asked, capsys):
    model = network(227, 227, 3)
    folder = ("image_folder", None, None, 320, 299)
    assert options_for(asked, WEBVISION, model, "--dataset=image_folder") == folder
    # The data that stands for it here is the digits'.
    text = "as those of digits are, with mean [0.3059] and deviation [0.3761]. If webv"
    assert text in capsys.readouterr().out
    given = ["--dataset=cifar10n", "--label_set=clean"]
    cifar10n = ("cifar10n", "clean", None, None, None)
    assert options_for(asked, WEBVISION, model, *given) == cifar10n
    assert options_for(asked, {}, model, "--dataset=tfds:some") == (
        "tfds:some",
        None,
        None,
        None,
        227,
    )


def test_images_are_decoded_as_in_the_run(asked):
    model, fast = network(227, 227, 3), {**WEBVISION, "decode": "fast"}
    for settings, words, expected in (
        (fast, [], "fast"),
        (fast, ["--decode=exact"], "exact"),
        (WEBVISION, [], None),
        (WEBVISION, ["--decode=fast"], "fast"),
    ):
        options_for(asked, settings, model, *words)
        assert asked[0].get("decode") == expected


def test_windows_are_square(asked):
    with pytest.raises(ValueError, match=r"\(20, 30, 3\).*squares"):
        options_for(asked, {}, network(20, 30, 3), "--dataset=image_folder")


def test_other_means_and_deviations():
    values = flags_of("--mean=0", "--std=0.25")
    dataset = evaluation_splits.standardised(values, load_digits(), {})
    assert (dataset.mean, dataset.std) == ((0.0,), (0.25,))
    for arguments, text in [
        (["--mean=0"], "--mean and --std go together"),
        (["--mean=0,0,0", "--std=1,1,1"], "--mean must be one number, or 1, one for"),
    ]:
        with pytest.raises(ValueError, match=text):
            evaluation_splits.standardised(flags_of(*arguments), load_digits(), {})


@pytest.mark.parametrize(
    "flag", ["--std=0", "--std=1,-1", "--std=", "--mean=nan", "--mean=grey"]
)
def test_means_and_deviations_are_checked_when_parsed(flag):
    text = r"must be .*numbers"
    with pytest.raises(flags.IllegalFlagValueError, match=text):
        flags_of(flag)


def test_what_to_evaluate_must_be_said(tmp_path):
    for arguments in ([], ["--model=m.keras"], ["--dataset=digits"]):
        with pytest.raises(ValueError, match="Say what to"):
            evaluate_with(*arguments)
    with pytest.raises(FileNotFoundError, match=r"no config\.json\. Give the"):
        evaluate_with(f"--run={tmp_path}")
    (tmp_path / "sop").mkdir()
    (tmp_path / "sop" / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(FileNotFoundError, match="holds runs, choose one: sop"):
        evaluate_with(f"--run={tmp_path}")
    (tmp_path / "config.json").write_text("[1", encoding="utf-8")
    with pytest.raises(ValueError, match=r"config\.json is no JSON object"):
        evaluate_with(f"--run={tmp_path}")
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(FileNotFoundError, match=r"backbone\.keras: .*not complete"):
        evaluate_with(f"--run={tmp_path}")
    # The figures of an audit are complete, and no run of anything goes on with it.
    (tmp_path / "result.json").write_text('{"features": {}}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"is an audit, .* has no network to evaluate"):
        evaluate_with(f"--run={tmp_path}")


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_an_earlier_list_of_bad_images_loses_the_parts_evaluated_anew(tmp_path):
    path = tmp_path / "bad_images.csv"
    evaluation_files.forget(path, ["test"])
    assert not path.exists()
    path.write_text(
        'split,id,image,reason\ntest,1,a,b\ntrain,2,"c,d",e\ntest,3,a,b\n',
        encoding="utf-8",
    )
    evaluation_files.forget(path, {"test": None})
    assert read(path) == [
        ["split", "id", "image", "reason"],
        ["train", "2", "c,d", "e"],
    ]


def test_both_validation_sets_of_webvision(tmp_path, capsys, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tests")
    import data_trees

    images, labels = data_trees.tiny_cifar10()
    synsets = data_trees.wnids(50, seed=1)
    sizes = {"google": 20, "flickr": 5, "val": 40}
    parts = data_trees.write_webvision(
        tmp_path / "webvision", images, 5 * labels, sizes, synsets=synsets
    )
    data_trees.write_imagenet_val(
        tmp_path / "imagenet" / "val", images, labels, 30, synsets=synsets[::5]
    )
    with open(parts["val"].files[7], "wb") as file:
        file.write(b"no image")
    model = tmp_path / "model.keras"
    # Always class 15, what images of the fourth class of CIFAR-10 have here.
    constant = network(20, 20, 3, num_classes=50)
    constant.set_weights([np.zeros((3, 50)), np.eye(50)[15]])
    constant.save(model)
    words = [f"--model={model}", "--dataset=webvision", f"--data_dir={tmp_path}"]
    words += ["--noexpect_full_size", "--resize=24", "--max_bad_fraction=0.05"]
    evaluate_with(*words)

    folder = tmp_path / "evaluation"
    figures = {
        part: json.loads((folder / f"{part}.json").read_text("utf-8"))
        for part in ("test", "ilsvrc12")
    }
    is_used = np.arange(40) != 7
    right = (parts["val"].labels == 15)[is_used].mean()
    assert 0 < right < 1
    assert figures["test"]["accuracy"] == pytest.approx(right)
    assert (figures["test"]["num_images"], figures["test"]["num_left_out"]) == (39, 1)
    assert figures["ilsvrc12"]["num_images"] == 30
    assert [row[:2] for row in read(folder / "bad_images.csv")] == [
        ["split", "id"],
        ["test", "7"],
    ]
    table = capsys.readouterr().out
    assert f" test             39              1          {100 * right:.2f} " in table
    assert " ilsvrc12 " in table
    # Another time the list is not twice as long, and a limit is kept to.
    evaluate_with(*words, "--splits=test")
    assert len(read(folder / "bad_images.csv")) == 2
    text = "1 of the 40 images of the test"
    with pytest.raises(ValueError, match=text):
        evaluate_with(*words, "--max_bad_fraction=0")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["extra"], "arguments that are no flags: extra"),
        (["--flagfile=nope"], "There is no flagfile 'nope'"),
        (["--traceback=false"], "Say what to evaluate"),
        (["--epochs=3"], "Unknown command line flag 'epochs'"),
        (["--flagfile=webvision"], "Say what to evaluate"),  # with flags of training
    ],
)
def test_errors_are_one_line(arguments, text, in_process):
    failed = in_process(evaluate, *arguments)
    assert failed.returncode == 1
    assert f"error: {text}" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.slow
def test_a_run_and_a_model(tmp_path, monkeypatch, in_process):
    run = tmp_path / "run"
    options = {"method": "ce", "test_views": "flip"}
    experiment = Experiment(augment="none", epochs=1, **options)
    result = Run(experiment, run).train(verbose=0)

    monkeypatch.chdir(tmp_path)
    done = in_process(evaluate, f"--run={run}", "--splits=test,train")
    assert done.returncode == 0, done.stderr
    assert "worst classes of train" in done.stdout
    figures = json.loads((run / "evaluation" / "test.json").read_text("utf-8"))
    assert figures["accuracy"] == pytest.approx(result["final_test_accuracy"])
    # The run has them, so that they are here, too.
    views = result["final_test_accuracy_flip"]
    assert figures["accuracy_flip"] == pytest.approx(views) != figures["accuracy"]
    assert " top-1 flip " in done.stdout
    assert f" {100 * views:.2f} " in done.stdout
    # The labels are those of the data set, not those with noise drawn.
    figures = json.loads((run / "evaluation" / "train.json").read_text("utf-8"))
    clean = result["train_accuracy_clean_labels"]
    assert figures["accuracy"] == pytest.approx(clean)
    assert clean != result["train_accuracy_given_labels"]

    # A model without its run, and the flagfile that names its data set.
    model = f"--model={run / 'model.keras'}"
    words = ["--output_dir=out", "--test_views=flip_translate"]
    done = in_process(evaluate, "--flagfile=digits", model, *words)
    assert done.returncode == 0, done.stderr
    again = json.loads((tmp_path / "out" / "test.json").read_text("utf-8"))
    assert again["accuracy"] == pytest.approx(result["final_test_accuracy"])
    assert again["accuracy_flip_translate"] not in (again["accuracy"], views)
    assert (tmp_path / "out" / "test_reliability.png").is_file()

    failed = in_process(evaluate, model)
    assert failed.returncode == 1
    assert "error: Say what to evaluate: --run" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_data_set_that_would_be_fetched_is_asked_for_by_the_user(asked):
    name = "tfds:huggingface:mnist"
    with pytest.raises(ValueError, match=r"may come out of the network"):
        options_for(asked, {"dataset": name}, network(8, 8, 3), "--run=R")
    for words in ([f"--may_fetch={name}"], [f"--dataset={name}"]):
        options_for(asked, {"dataset": name}, network(8, 8, 3), "--run=R", *words)
