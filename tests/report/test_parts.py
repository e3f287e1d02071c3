import base64
import io
import json

import numpy as np
import pytest
from PIL import Image
from untrained_runs import CLASSES, many_labels, table

from sop_keras.data.datasets.dataset import Examples
from sop_keras.report import parts
from sop_keras.report.comparisons import Comparisons
from sop_keras.report.parts import ReportExamples
from sop_keras.report.reasons import Reasons
from sop_keras.report.run_labels import RunLabels

SIZE = 12


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(parts, "NUM_FIRST", 4)
    monkeypatch.setattr(parts, "PART_SIZE", 3)


def labels(size=SIZE):
    """Example i has the rank i by quality, and the id i."""
    positions = np.arange(size)
    return RunLabels(table(many_labels(size)), positions, None, len(CLASSES))


def train(size=SIZE):
    """Grey images of as many levels."""
    pixels = np.arange(size, dtype=np.uint8)[:, None, None, None]
    images = np.broadcast_to(pixels, (size, 8, 8, 1)).copy()
    return Examples(np.arange(size), images, np.array(many_labels(size).given))


def examples(num_examples, similar=None):
    comparisons = Comparisons(labels(), train(), None, similar)
    return ReportExamples(labels(), train(), CLASSES, num_examples, None, comparisons)


def level(uri):
    """The grey level of a picture."""
    content = base64.b64decode(uri.split(",")[1])
    return Image.open(io.BytesIO(content)).getpixel((0, 0))


def written(path):
    """Key, number and content of a file."""
    text = path.read_text("ascii")
    start, end = "addReportExamples(", ");\n"
    assert text.startswith(start)
    assert text.endswith(end)
    return json.loads(f"[{text[len(start) : -len(end)]}]")


def test_what_is_not_in_the_page_is_in_files_one_after_another(tmp_path):
    some = examples(9)
    first = some.first()
    assert [row["id"] for row in first.rows] == [0, 1, 2, 3]
    assert first.later_ids == [4, 5, 6, 7, 8]
    assert some.write_others(tmp_path, first) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "examples-1.js",
        "examples-2.js",
    ]
    key, number, content = written(tmp_path / "examples-1.js")
    assert (key, number) == (first.key, 1)
    assert [row["id"] for row in content["rows"]] == [4, 5, 6]
    assert [level(row["image"]) for row in content["rows"]] == [4, 5, 6]
    assert "rank 5 of 12" in content["rows"][0]["reason"]
    # All four classes are among the right ones of the page.
    assert content["rightOnes"] == {}
    _, number, content = written(tmp_path / "examples-2.js")
    assert number == 2
    assert [row["id"] for row in content["rows"]] == [7, 8]


def test_files_have_the_right_ones_that_the_page_lacks(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "NUM_FIRST", 1)
    some = examples(4)
    first = some.first()
    # The first label is 0, and 1 is suggested.
    assert sorted(first.right_ones) == [0, 1]
    some.write_others(tmp_path, first)
    # Then 1 and 3, 2 and 1, and 3 and 0.
    _, _, content = written(tmp_path / "examples-1.js")
    assert sorted(content["rightOnes"]) == ["2", "3"]


def test_files_of_an_earlier_report_go(tmp_path):
    for name in ("examples-1.js", "examples-3.js", "examples-40.js"):
        (tmp_path / name).write_text("earlier")
    for name in ("examples-0.js", "examples-3.json", "plot.png"):
        (tmp_path / name).write_text("other")
    some = examples(7)
    some.write_others(tmp_path, some.first())
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["examples-0.js", "examples-1.js", "examples-3.json", "plot.png"]
    assert written(tmp_path / "examples-1.js")[1] == 1


def test_a_key_is_one_of_labels_and_classes_alone():
    key = examples(9).key
    assert key == examples(2).key
    assert len(key) == 32
    others = Comparisons(labels(), train(), None)
    renamed = ReportExamples(labels(), train(), CLASSES[::-1], 9, None, others)
    assert renamed.key != key
    fewer = ReportExamples(labels(11), train(), CLASSES, 9, None, others)
    assert fewer.key != key


def test_right_ones_are_the_best_that_are_no_issues():
    # Qualities are (i + 1/2) / 12: from 6 on, labels are no issues; those of class 3
    # are 3, 7 and 11.
    found = Comparisons(labels(), train(), None).of_classes([3, 3])
    assert list(found) == [3]
    assert [one["id"] for one in found[3]] == [11, 7]
    assert [one["given"] for one in found[3]] == [3, 3]
    assert [level(one["picture"]) for one in found[3]] == [11, 7]
    assert (found[3][0]["width"], found[3][0]["height"]) == (96, 96)


def test_similar_ones_that_are_handed_in():
    some = examples(9, similar={1: np.array([9, 4]), 2: [0]})
    rows = some.first().rows
    assert [one["id"] for one in rows[1]["similar"]] == [9, 4]
    assert [level(one["picture"]) for one in rows[1]["similar"]] == [9, 4]
    assert [one["given"] for one in rows[1]["similar"]] == [1, 0]
    assert [one["id"] for one in rows[2]["similar"]] == [0]
    assert "similar" not in rows[0]
    with pytest.raises(ValueError, match=r"`similar` must .* Received: 12, which is"):
        examples(9, similar={1: [3, 12]})


def test_reasons_by_hand():
    row = {"given": 3, "suggested": 2, "quality": 0.2, "isIssue": True}
    row |= {"givenProb": 0.02, "suggestedProb": 0.95, "noise": -2.0}
    reasons = Reasons(labels(), ("cat", "dog", "eel", "fox\x1b"))
    # Noise scores are -10 (i + 1/2) / 12: those of 2 to 11 are below -2.
    assert reasons.of(row, 1).replace("\N{NO-BREAK SPACE}", " ") == (
        r"The network gives the label “fox\x1b” 2.00 % and suggests “eel” with 95.0 %. "
        "By quality, 0.200, the label has rank 2 of 12 from below: an issue. Its noise "
        "score, -2.00, is above that of 83.3 % of the labels."
    )
    tiny = row | {"givenProb": 1e-5, "noise": None, "isIssue": False}
    assert reasons.of(tiny, 11).replace("\N{NO-BREAK SPACE}", " ") == (
        r"The network gives the label “fox\x1b” less than 0.01 % and suggests “eel” "
        "with 95.0 %. By quality, 0.200, the label has rank 12 of 12 from below: no "
        "issue."
    )
