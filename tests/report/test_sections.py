import json
import re

import numpy as np
import pandas as pd
import pytest
from untrained_runs import CLASSES, many_labels, table, write_run

from sop_keras.report.page import Section
from sop_keras.report.run_labels import RunLabels
from sop_keras.report.sections import ids_of, ids_on_page, sections_of
from sop_keras.report.write import write_report
from sop_keras.training.run_folder import RunFolderError

SIZE = 40
# Of four classes: 3 to 9 have the threshold 0.85.
RESULT = {
    "num_outliers": 30,
    "outliers": [5, 9, 99, *range(10, 38)],
    "num_contradictory_duplicates": 3,
    "contradictory_duplicates": [[1, 2], [99, 98], [3, *range(20, 30)]],
    "alike_classes": [[1, 3, 0.95], [0, 4, 0.99], [0, 1, 0.9]],
}


def labels(size=SIZE):
    """Example i has the rank i by quality, and the id i; labels are 0 to 3 in turn."""
    return RunLabels(table(many_labels(size)), np.arange(size), None, len(CLASSES))


def test_sections_by_hand():
    outliers, duplicates, alike = sections_of(RESULT, labels(), CLASSES)
    assert outliers.title == "Images of no class"
    # 99 is no example here: thirty are left, of which 24 are shown.
    assert ids_of([outliers]) == [5, 9, *range(10, 32)]
    assert outliers.text.startswith("30 images in which little speaks for any class")
    assert "above 0.85" in outliers.text
    assert "The first 24 are shown." in outliers.text
    assert duplicates.title == "The same image under different labels"
    assert duplicates.groups == [[1, 2], [3, *range(20, 27)]]
    assert (duplicates.is_same, duplicates.more) == (True, [0, 3])
    assert duplicates.text.startswith("3 groups of images")
    # Class 4 is none; of each of the others there are ten.
    assert alike.rows == [
        (CLASSES[1], "10", CLASSES[3], "10", "0.95"),
        (CLASSES[0], "10", CLASSES[1], "10", "0.90"),
    ]
    assert alike.groups == ()


def test_equal_features_alone_and_groups_that_are_cut_are_said_so():
    more = {"contradictory_duplicate_sizes": [2, 2, 500]}
    more["too_many_near_duplicates"] = 0.741
    _, duplicates, _ = sections_of({**RESULT, **more}, labels(), CLASSES)
    # Of the last group, eight are shown.
    assert (duplicates.groups, duplicates.more) == (
        [[1, 2], [3, *range(20, 27)]],
        [0, 492],
    )
    assert "equal features alone: 74 % of all have features at a cosine of 0.9" in (
        duplicates.text
    )


def test_what_is_not_found_has_no_section():
    assert sections_of({}, labels(), CLASSES) == []
    nothing = {name: [] for name in RESULT if not name.startswith("num_")}
    assert sections_of(nothing, labels(), CLASSES) == []
    strange = {"outliers": [99], "contradictory_duplicates": [[99]]}
    assert sections_of(strange, labels(), CLASSES) == []


def test_of_features_examples_are_named_so():
    titles = [one.title for one in sections_of(RESULT, labels(), CLASSES, "example")]
    assert titles[:2] == [
        "Examples of no class",
        "The same example under different labels",
    ]


def test_the_ids_on_a_page():
    some = pd.DataFrame({"id": [7, 8, 9, 6], "label_quality": [0.2, np.nan, 0.1, 0.2]})
    result = {"outliers": [8, 6], "contradictory_duplicates": [[7, 8]]}
    assert ids_on_page(some, result, 2) == [8, 6, 7, 9]
    assert ids_on_page(some, {"outliers": []}, 10) == [9, 6, 7]


def written(tmp_path, result, num_examples=2):
    """The page of a run that says this beside, and what its script is told."""
    folder = write_run(tmp_path / "run")
    known = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**known, **result}))
    text = write_report(folder, num_examples=num_examples).read_text("utf-8")
    found = re.search(r'type="application/json">(.*?)</script>', text)
    return text, json.loads(found[1])


def test_a_page_with_sections(tmp_path):
    # By quality: 0, 3, 1, 4, 2; 5 was not trained on. Two are the worst.
    text, data = written(
        tmp_path,
        {
            "outliers": [2, 5, 3],
            "contradictory_duplicates": [[1, 2]],
            "alike_classes": [[0, 1, 0.96]],
        },
    )
    assert [row["id"] for row in data["rows"]] == [0, 3]
    assert [row["id"] for row in data["moreRows"]] == [2, 1]
    assert "rank 5 of 5" in data["moreRows"][0]["reason"]
    assert data["moreRows"][0]["image"].startswith("data:image/png")
    assert data["laterIds"] == []
    assert data["sections"] == [
        {"name": "outliers", "isSame": False, "groups": [[2], [3]], "more": []},
        {"name": "duplicates", "isSame": True, "groups": [[1, 2]], "more": [0]},
    ]
    # Names of classes make no elements.
    cells = re.findall(r"<td>(.*?)</td>", text)
    assert cells[-5:] == [
        "&quot;&gt;&lt;b onclick=alert(1)&gt;",
        "2",
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "2",
        "0.96",
    ]
    for name in ("outliers", "duplicates", "alike"):
        assert f'<a href="#{name}-title">' in text


def test_a_page_without_sections_is_as_before(tmp_path):
    text, data = written(tmp_path, {})
    assert (data["sections"], data["moreRows"]) == ([], [])
    assert 'href="#outliers' not in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("outliers", ["<b>"]),
        ("outliers", [-1]),
        ("outliers", [2**63]),
        ("contradictory_duplicates", [1, 2]),
        ("alike_classes", [[0, 1]]),
        ("alike_classes", [[0.5, 1, 0.9]]),
        ("alike_classes", [[0, 1, "0.9"]]),
        ("num_outliers", "many"),
        ("contradictory_duplicate_sizes", [1.5]),
        ("too_many_near_duplicates", "many"),
    ],
)
def test_results_that_are_damaged(tmp_path, name, value):
    with pytest.raises(RunFolderError, match=f'its "{name}" is'):
        written(tmp_path, {name: value})


def test_a_section_has_nothing_unless_told():
    one = Section("a", "b", "c")
    assert (one.groups, one.rows, one.header, one.more) == ((), (), (), ())
