import contextlib
import csv
import json
import subprocess
import sys
from pathlib import Path

import evaluate
import evaluation_files
import keras
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from sop_keras.data.datasets.dataset import Examples, Source
from sop_keras.data.datasets.digits import load_digits
from sop_keras.training.evaluation import Evaluation
from sop_keras.training.run import Run

ROOT = Path(__file__).resolve().parents[2]

# Texts that spreadsheets, terminals and pictures would make something of.
NAMES = ('a,"b"', "c\nd", "e\rf", "$\\frac{1$", "类别", "\ud800", "x" * 60, "\x1b[31m")


@contextlib.contextmanager
def flags_of(*arguments):
    """The flags of a command line; not those that change the whole process."""
    with flagsaver.flagsaver():
        flags.FLAGS.unparse_flags()
        flags.FLAGS(["evaluate.py", "--nodeterministic", *arguments])
        yield


@pytest.fixture
def asked(monkeypatch):
    """What the data set's function is asked for."""
    calls = []

    def load_source(name, **options):
        calls.append({"name": name, **options})
        return load_digits()

    monkeypatch.setattr(evaluate, "load_source", load_source)
    return calls


def network(*shape, num_classes=10):
    pool = keras.layers.GlobalAveragePooling2D()
    return keras.Sequential([keras.Input(shape), pool, keras.layers.Dense(num_classes)])


SIZES = {"resize": 320, "image_size": 299}
WEBVISION = {"dataset": "webvision", "label_set": None, "num_classes": 50, **SIZES}


def options_for(asked, settings, model, *arguments):
    asked.clear()
    with flags_of(*arguments):
        evaluate.load(settings, model)
    names = ("name", "label_set", "num_classes", "resize", "image_size")
    return tuple(asked[0].get(name) for name in names)


def test_flags_win_over_the_run_and_the_run_over_the_model(asked):
    model = network(227, 227, 3)
    ran = ("webvision", None, 50, 320, 299)
    assert options_for(asked, WEBVISION, model, "--data_dir=D") == ran
    assert (asked[0]["data_dir"], asked[0]["expect_full_size"]) == ("D", True)
    changed = ["--image_size=200", "--webvision_classes=7", "--noexpect_full_size"]
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


def test_windows_are_square(asked):
    with pytest.raises(ValueError, match=r"\(20, 30, 3\).*squares"):
        options_for(asked, {}, network(20, 30, 3), "--dataset=image_folder")


def test_other_means_and_deviations():
    with flags_of("--mean=0", "--std=0.25"):
        source = evaluate.standardised(load_digits(), {})
    assert (source.mean, source.std) == ((0.0,), (0.25,))
    for arguments, text in [
        (["--mean=0"], "--mean and --std go together"),
        (["--mean=0,0,0", "--std=1,1,1"], "--mean must be one number, or 1, one for"),
    ]:
        with flags_of(*arguments), pytest.raises(ValueError, match=text):
            evaluate.standardised(load_digits(), {})


@pytest.mark.parametrize(
    "flag", ["--std=0", "--std=1,-1", "--std=", "--mean=nan", "--mean=grey"]
)
def test_means_and_deviations_are_checked_when_parsed(flag):
    text = r"must be .*numbers"
    with pytest.raises(flags.IllegalFlagValueError, match=text), flags_of(flag):
        pass


def test_what_to_evaluate_must_be_said(tmp_path):
    for arguments in ([], ["--model=m.keras"], ["--dataset=digits"]):
        with flags_of(*arguments), pytest.raises(ValueError, match="Say what to"):
            evaluate.evaluate()
    with flags_of(f"--run={tmp_path}"):
        with pytest.raises(FileNotFoundError, match=r"no config\.json\. $"):
            evaluate.evaluate()
        (tmp_path / "sop").mkdir()
        (tmp_path / "sop" / "config.json").write_text("{}")
        with pytest.raises(FileNotFoundError, match="holds runs, choose one: sop"):
            evaluate.evaluate()
        (tmp_path / "config.json").write_text("[1")
        with pytest.raises(ValueError, match=r"config\.json is no JSON object"):
            evaluate.evaluate()
        (tmp_path / "config.json").write_text("{}")
        with pytest.raises(FileNotFoundError, match=r"backbone\.keras: .*not complete"):
            evaluate.evaluate()


@pytest.fixture
def evaluation():
    """Of eight classes 1, 2, ..., 7, 0 images, of which 1, 1, 3, 4, ... are right."""
    evaluation = Evaluation(8)
    labels = np.repeat(np.arange(7), np.arange(1, 8))
    predictions = labels.copy()
    predictions[labels == 1] = [1, 7]
    evaluation.add(9 * np.eye(8)[predictions], labels)
    return evaluation


@pytest.fixture
def source():
    part = Examples(np.arange(30), np.zeros((30, 1, 1, 1), np.uint8), np.zeros(30, int))
    return Source("odd", NAMES, 30, part, part, mean=(0.5,), std=(0.25,))


def read(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_the_files_by_hand(evaluation, source, tmp_path):
    evaluation_files.write(tmp_path, "test", evaluation, source, Path("m.keras"))
    figures = json.loads((tmp_path / "test.json").read_text())
    assert (figures["model"], figures["dataset"], figures["part"]) == (
        "m.keras",
        "odd",
        "test",
    )
    # 1 + 2 + ... + 7 = 28 of the 30 images were evaluated, 27 of them are right.
    assert (figures["num_images"], figures["num_left_out"]) == (28, 2)
    assert figures["accuracy"] == pytest.approx(27 / 28)
    assert (figures["mean"], figures["std"]) == ([0.5], [0.25])
    # Half of a pair of characters is written out, all else is what it was.
    names = [name if name != "\ud800" else "\\ud800" for name in NAMES]
    header, *rows = read(tmp_path / "test_per_class.csv")
    assert header == ["class", "name", "images", "correct", "accuracy", "precision"]
    assert [row[1] for row in rows] == names
    assert rows[1][2:] == ["2", "1", "0.5", "1.0"]
    assert rows[7][2:] == ["0", "0", "", "0.0"]
    header, *rows = read(tmp_path / "test_confusion.csv")
    assert header[1:] == [row[0] for row in rows] == names
    counts = [[int(cell) for cell in row[1:]] for row in rows]
    assert counts == evaluation.confusion.tolist()
    assert not list(tmp_path.glob("*.partial"))


def test_a_name_that_a_spreadsheet_would_take_for_a_formula_stays_text(tmp_path):
    evaluation_files.write_csv(tmp_path / "some.csv", [["=1+1", 2]])
    assert (tmp_path / "some.csv").read_text() == '"=1+1",2\n'


def drawn(monkeypatch, draw, *arguments):
    """The figure that is drawn; warnings are errors here."""
    figures, save = [], evaluation_files._save
    with monkeypatch.context() as patch:
        patch.setattr(
            evaluation_files,
            "_save",
            lambda figure, path: figures.append(figure) or save(figure, path),
        )
        draw(*arguments)
    path = arguments[-1]
    assert path.read_bytes()[:4] == b"\x89PNG"
    return figures[0]


def test_a_picture_of_few_classes_has_their_counts(evaluation, tmp_path, monkeypatch):
    path, title = tmp_path / "some.png", "$\\frac{: 96 %"
    figure = drawn(
        monkeypatch, evaluation_files.draw_confusion, evaluation, NAMES, title, path
    )
    axis = figure.axes[0]
    cells = {
        (int(t.get_position()[1]), int(t.get_position()[0])): t for t in axis.texts
    }
    counts = evaluation.confusion
    assert {place: int(text.get_text()) for place, text in cells.items()} == {
        (line, column): counts[line, column] for line, column in np.argwhere(counts)
    }
    shown = [text.get_text() for text in axis.get_yticklabels()]
    assert shown[:4] == ['a,"b"', "c?d", "e?f", "$\\frac{1$"]
    assert shown[4:] == ["类别", "?", "x" * 21 + "...", "?[31m"]
    assert shown == [text.get_text() for text in axis.get_xticklabels()]
    # Rows are labels: of class 1, half was taken for class 7.
    shares = axis.images[0].get_array()
    assert (shares[1, 1], shares[1, 7], shares[7, 1]) == (50, 50, 0)


@pytest.mark.parametrize(("num_classes", "has_names"), [(50, True), (120, False)])
def test_a_picture_of_many_classes(num_classes, has_names, tmp_path, monkeypatch):
    evaluation = Evaluation(num_classes)
    evaluation.add(np.eye(num_classes), np.arange(num_classes))
    names = [f"class {place}" for place in range(num_classes)]
    figure = drawn(
        monkeypatch,
        evaluation_files.draw_confusion,
        evaluation,
        names,
        "title",
        tmp_path / "some.png",
    )
    axis = figure.axes[0]
    assert not axis.texts
    labels = [text.get_text() for text in axis.get_yticklabels()]
    assert (labels == names) is has_names
    assert any(label.startswith("class") for label in labels) is has_names


def test_a_picture_of_the_calibration(evaluation, tmp_path, monkeypatch):
    figure = drawn(
        monkeypatch,
        evaluation_files.draw_reliability,
        evaluation,
        "$\\frac{",
        tmp_path / "some.png",
    )
    # All have the confidence e^9 / (e^9 + 7) > 14/15, and 27 of 28 are right.
    upper, lower = figure.axes
    heights = [bar.get_height() for bar in upper.patches]
    assert heights == pytest.approx([0] * 14 + [100 * 27 / 28])
    assert [bar.get_height() for bar in lower.patches] == [0] * 14 + [100]


def test_the_table_by_hand(evaluation, source):
    lines = evaluate.table(
        {"test": evaluation, "train": evaluation}, source
    ).splitlines()
    table = [line.split() for line in lines if line.startswith("  ")]
    assert table[0] == [
        "images",
        "left",
        "out",
        "top-1",
        "top-5",
        "ECE",
        "cross",
        "entropy",
    ]
    # Confidence e^9 / (e^9 + 7), 0.99914, against 27 / 28: 3.49 points. The cross
    # entropy is that of the confidence, for the one that is wrong 9 nats more. Its
    # label 1 comes after 7, which has the 9, and 0, the first of those with 0.
    cross_entropy = np.log(1 + 7 * np.exp(-9)) + 9 / 28
    figures = ["28", "2", "96.43", "100.00", "3.49", f"{cross_entropy:.4f}"]
    assert table[1:] == [["test", *figures], ["train", *figures]]
    assert lines[-2] == 'worst classes of test: c?d 50.0 %; a,"b" 100.0 %; e?f 100.0 %'


def test_an_earlier_list_of_bad_images_loses_the_parts_evaluated_anew(tmp_path):
    path = tmp_path / "bad_images.csv"
    evaluate.forget(path, ["test"])
    assert not path.exists()
    path.write_text('part,id,image,reason\ntest,1,a,b\ntrain,2,"c,d",e\ntest,3,a,b\n')
    evaluate.forget(path, {"test": None})
    assert read(path) == [["part", "id", "image", "reason"], ["train", "2", "c,d", "e"]]


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
    command = [f"--model={model}", "--dataset=webvision", f"--data_dir={tmp_path}"]
    command += ["--noexpect_full_size", "--resize=24", "--max_bad_fraction=0.05"]
    with flags_of(*command):
        evaluate.evaluate()

    folder = tmp_path / "evaluation"
    figures = {
        part: json.loads((folder / f"{part}.json").read_text())
        for part in ("test", "ilsvrc12")
    }
    is_used = np.arange(40) != 7
    right = (parts["val"].labels == 15)[is_used].mean()
    assert 0 < right < 1
    assert figures["test"]["accuracy"] == pytest.approx(right)
    assert (figures["test"]["num_images"], figures["test"]["num_left_out"]) == (39, 1)
    assert figures["ilsvrc12"]["num_images"] == 30
    assert [row[:2] for row in read(folder / "bad_images.csv")] == [
        ["part", "id"],
        ["test", "7"],
    ]
    table = capsys.readouterr().out
    assert f" test             39              1          {100 * right:.2f} " in table
    assert " ilsvrc12 " in table
    # Another time the list is not twice as long, and a limit is kept to.
    with flags_of(*command, "--parts=test"):
        evaluate.evaluate()
    assert len(read(folder / "bad_images.csv")) == 2
    text = "1 of the 40 images of the test"
    none_bad = flags_of(*command, "--max_bad_fraction=0")
    with none_bad, pytest.raises(ValueError, match=text):
        evaluate.evaluate()


def launch(*arguments, cwd):
    command = [sys.executable, str(ROOT / "launch" / "evaluate.py"), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["extra"], "arguments that are no flags: extra"),
        (["--flagfile=nope"], "There is no flagfile 'nope'"),
        (["--traceback=false"], "Say what to evaluate"),
    ],
)
def test_errors_are_one_line(arguments, text, monkeypatch):
    def parse_and_run(run, argv):
        with flags_of(*argv[1:]):
            run(["evaluate.py", *(one for one in argv[1:] if not one.startswith("-"))])

    monkeypatch.setattr(evaluate.train.app, "run", parse_and_run)
    monkeypatch.setattr(evaluate.train, "show_messages", lambda: None)
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *arguments])
    with pytest.raises(SystemExit, match=f"error: {text}"):
        evaluate.main()


@pytest.mark.slow
def test_the_command_line(tmp_path):
    run = tmp_path / "run"
    with flags_of("--noise_rate=0.4", "--augment=none", "--epochs=1", "--method=ce"):
        experiment = evaluate.train.experiment_from_flags(flags.FLAGS, "ce")
    result = Run(experiment, run).train(verbose=0)

    done = launch(f"--run={run}", "--parts=test,train", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "worst classes of train" in done.stdout
    figures = json.loads((run / "evaluation" / "test.json").read_text())
    assert figures["accuracy"] == pytest.approx(result["final_test_accuracy"])
    # The labels are those of the data set, not those with noise drawn.
    figures = json.loads((run / "evaluation" / "train.json").read_text())
    clean = result["train_accuracy_clean_labels"]
    assert figures["accuracy"] == pytest.approx(clean)
    assert clean != result["train_accuracy_given_labels"]

    # A model without its run, and the flagfile that names its data set.
    model = f"--model={run / 'model.keras'}"
    done = launch("--flagfile=digits", model, "--output_dir=out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    again = json.loads((tmp_path / "out" / "test.json").read_text())
    assert again["accuracy"] == pytest.approx(result["final_test_accuracy"])
    assert (tmp_path / "out" / "test_reliability.png").is_file()

    failed = launch(model, cwd=tmp_path)
    assert failed.returncode == 1
    assert "error: Say what to evaluate: --run" in failed.stderr
    assert "Traceback" not in failed.stderr
