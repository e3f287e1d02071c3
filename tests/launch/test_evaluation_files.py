import csv
import json
from pathlib import Path

import evaluation_files
import evaluation_splits
import numpy as np
import pytest

from sop_keras.data.datasets.dataset import Dataset, Examples
from sop_keras.training.evaluation import Evaluation

# Texts that spreadsheets, terminals and pictures would make something of.
NAMES = ('a,"b"', "c\nd", "e\rf", "$\\frac{1$", "类别", "\ud800", "x" * 60, "\x1b[31m")


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
def dataset():
    part = Examples(np.arange(30), np.zeros((30, 1, 1, 1), np.uint8), np.zeros(30, int))
    return Dataset("odd", NAMES, 30, part, part, mean=(0.5,), std=(0.25,))


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_figures_of_views_have_names_of_their_own(evaluation, dataset, tmp_path):
    # All outputs are 9 for class 0: 1 of the 28 labels, and 5 among 0 to 4 of 15.
    other = Evaluation(8)
    labels = np.repeat(np.arange(7), np.arange(1, 8))
    other.add(9 * np.eye(8)[np.zeros(28, int)], labels)
    figures = evaluation_files.figures_of_views(other, "flip")
    evaluation_files.write(
        tmp_path, "test", evaluation, dataset, Path("m.keras"), figures
    )
    written = json.loads((tmp_path / "test.json").read_text("utf-8"))
    assert written["accuracy"] == pytest.approx(27 / 28)
    assert written["accuracy_flip"] == pytest.approx(1 / 28)
    assert written["top_k_accuracy_flip"] == pytest.approx(15 / 28)
    confidence = 1 / (1 + 7 * np.exp(-9))
    assert written["expected_calibration_error_flip"] == pytest.approx(
        confidence - 1 / 28
    )
    expected = -np.log(confidence) + 9 * 27 / 28
    assert written["cross_entropy_flip"] == pytest.approx(expected)
    lines = evaluation_splits.table(
        {"test": evaluation}, dataset, {"test": other}, "flip"
    ).splitlines()
    (header, row) = (line for line in lines if line.startswith("  "))
    assert header.split()[3:6] == ["top-1", "top-1", "flip"]
    assert row.split()[3:5] == ["96.43", f"{100 / 28:.2f}"]


def test_the_files_by_hand(evaluation, dataset, tmp_path):
    evaluation_files.write(tmp_path, "test", evaluation, dataset, Path("m.keras"))
    figures = json.loads((tmp_path / "test.json").read_text("utf-8"))
    assert (figures["model"], figures["dataset"], figures["split"]) == (
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
    assert not list(tmp_path.glob("partial-*"))


def test_of_many_classes_there_is_no_matrix(evaluation, dataset, tmp_path, monkeypatch):
    evaluation_files.write(tmp_path, "test", evaluation, dataset, Path("m.keras"))
    monkeypatch.setattr("sop_keras.training.evaluation.MOST_CLASSES", 7)
    many = Evaluation(8)
    labels = np.repeat(np.arange(7), np.arange(1, 8))
    predictions = labels.copy()
    predictions[labels == 1] = [1, 7]
    many.add(9 * np.eye(8)[predictions], labels)
    assert many.confusion is None
    evaluation_files.write(tmp_path, "train", many, dataset, Path("m.keras"))
    assert not list(tmp_path.glob("train_confusion.*"))
    one, other = (tmp_path / f"{part}_per_class.csv" for part in ("test", "train"))
    assert one.read_text() == other.read_text()
    assert many.figures() == evaluation.figures()


def test_a_name_that_a_spreadsheet_would_run_gets_an_apostrophe(tmp_path):
    # Quotes are gone once a spreadsheet has read the cell: they stop no formula.
    path = tmp_path / "some.csv"
    rows = [['=HYPERLINK("http://x","a")', 2, -0.5, None, "a=1"]]
    evaluation_files.write_csv(path, rows)
    written = [["'" + rows[0][0], "2", "-0.5", "", "a=1"]]
    assert read(path) == written
    evaluation_files.write_csv(path, [["'=1"]])  # a row of before, kept
    assert read(path) == [["'=1"]]


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
        monkeypatch,
        evaluation_files.draw_confusion,
        evaluation.confusion,
        NAMES,
        title,
        path,
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
    assert shown[:4] == ['a,"b"', r"c\nd", r"e\rf", "$\\frac{1$"]
    assert shown[4:] == ["类别", r"\ud800", "x" * 21 + "...", r"\x1b[31m"]
    assert shown == [text.get_text() for text in axis.get_xticklabels()]
    # Rows are labels: of class 1, half was taken for class 7.
    shares = axis.images[0].get_array()
    assert (shares[1, 1], shares[1, 7], shares[7, 1]) == (0.5, 0.5, 0)


@pytest.mark.parametrize(("num_classes", "has_names"), [(50, True), (120, False)])
def test_a_picture_of_many_classes(num_classes, has_names, tmp_path, monkeypatch):
    evaluation = Evaluation(num_classes)
    evaluation.add(np.eye(num_classes), np.arange(num_classes))
    names = [f"class {place}" for place in range(num_classes)]
    figure = drawn(
        monkeypatch,
        evaluation_files.draw_confusion,
        evaluation.confusion,
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


def test_the_table_by_hand(evaluation, dataset):
    lines = evaluation_splits.table(
        {"test": evaluation, "train": evaluation}, dataset
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
    worst = r'c\nd 50.0 %; a,"b" 100.0 %; e\rf 100.0 %'
    assert lines[-2] == f"worst classes of test: {worst}"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("[1", r"data\.json cannot be read as JSON"),
        ("{}", r'data\.json is damaged: its "class_names" is None, not a list'),
    ],
)
def test_damaged_data_of_a_run_are_named(tmp_path, content, text):
    evaluation_splits.compare_classes(str(tmp_path), None)  # nothing to compare with
    (tmp_path / "data.json").write_text(content)
    with pytest.raises(ValueError, match=text):
        evaluation_splits.compare_classes(str(tmp_path), None)
