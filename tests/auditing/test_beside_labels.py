import numpy as np
import pandas as pd
import pytest
from array_rows import ArrayRows

from sop_keras.auditing.beside_labels import beside_labels

NAMES = ("ant", "bee", "cow", "\x1bdog")
# Twenty examples a class, each a unit vector away from the others; the ids are places
# and 1,000. At the end three examples twice, under labels 0 and 1, 1 and 2, 2 and 2.
NUM = 80
IDS = np.arange(NUM + 6) + 1_000


@pytest.fixture(scope="module")
def features():
    draw = np.random.default_rng(0)
    array = draw.normal(0, 1, (NUM + 6, 40)).astype(np.float32)
    array[np.arange(NUM), np.arange(NUM) % 4] += 3
    array[NUM + 1 :: 2] = array[NUM::2]
    return ArrayRows(array)


def table(**decisions):
    """What was decided, by the places of examples: `p3="remove"`, or a label."""
    given = np.append(np.arange(NUM) % 4, [0, 1, 1, 2, 2, 2])
    suggested, said = (given + 1) % 4, np.full(len(given), "", object)
    for name, one in decisions.items():
        place = int(name[1:])
        said[place] = one if isinstance(one, str) else "other"
        if not isinstance(one, str):
            suggested[place] = one
    return pd.DataFrame(
        {"given_label": given, "suggested_label": suggested, "decision": said}
    )


def contradictory(found):
    return found.figures(IDS)["contradictory_duplicates"]


def test_groups_under_two_labels(features):
    found = beside_labels(features, table())
    assert contradictory(found) == [[1080, 1081], [1082, 1083]]
    assert found.figures(IDS)["num_contradictory_duplicates"] == 2
    facts = found.facts(NAMES)
    assert facts["Near-duplicates"] == "3 groups, 2 of them under different labels"
    # That the groups' labels differ is no longer so, or is what people say.
    settled = {"p80": 1, "p82": "given", "p83": "given"}
    assert contradictory(beside_labels(features, table(**settled))) == []
    # One is removed; and the group that agreed has two labels by now.
    decided = {"p81": "remove", "p84": 3}
    assert contradictory(beside_labels(features, table(**decided))) == [
        [1082, 1083],
        [1084, 1085],
    ]


def test_decided_outliers_are_not_listed_again():
    draw = np.random.default_rng(1)
    array = draw.normal(0, 0.3, (300, 5)).astype(np.float32)
    kind = np.arange(300) % 3
    array[np.arange(300), kind] += 3
    # Between all classes: nothing speaks for any; the second has a little for its own.
    array[10], array[20] = [1, 1, 1, 0, 0], [0.9, 0.9, 1.2, 0, 0]
    said = pd.DataFrame({"given_label": kind, "suggested_label": 0, "decision": ""})
    found = beside_labels(ArrayRows(array), said)
    ids = np.arange(300) + 500
    assert found.figures(ids)["outliers"] == [510, 520]
    assert found.facts(NAMES)["Images of no class"] == "2"
    for kind_of_decision in ("remove", "given"):
        said.loc[10, "decision"] = kind_of_decision
        found = beside_labels(ArrayRows(array), said)
        assert found.columns["is_outlier"].nonzero()[0].tolist() == [10, 20]
        figures = found.figures(ids)
        assert (figures["outliers"], figures["num_outliers"]) == ([520], 1)
        assert found.facts(NAMES)["Images of no class"] == "1, and 1 decided on"


def test_classes_that_look_like_one():
    draw = np.random.default_rng(1)
    array = draw.normal(0, 0.5, (300, 5)).astype(np.float32)
    kind = np.arange(300) % 3
    array[np.arange(300), kind] += 3
    given = np.where((kind == 2) & (draw.random(300) < 0.5), 3, kind)
    said = pd.DataFrame({"given_label": given, "suggested_label": 0, "decision": ""})
    found = beside_labels(ArrayRows(array), said, 4, "example")
    ((first, second, share),) = found.figures(np.arange(300))["alike_classes"]
    assert (first, second) == (2, 3)
    facts = found.facts(NAMES)
    assert facts["Classes that look like one"] == rf"cow and \x1bdog ({share:.2f})"
    assert "Examples of no class" in facts
    # Decided labels count: with all of 3 called 2, there is no such pair.
    is_other = given == 3
    said.loc[is_other, ["suggested_label", "decision"]] = [2, "other"]
    found = beside_labels(ArrayRows(array), said, 4)
    assert found.alike == ()
    assert "Classes that look like one" not in found.facts(NAMES)


def test_too_many_near_ones_are_said_and_large_groups_are_cut():
    # All rows of one class are at a cosine of nearly 1; those of the first are equal.
    draw = np.random.default_rng(0)
    kind = np.arange(600) % 3
    array = 10 * np.eye(3)[kind] + draw.normal(0, 0.1, (600, 3))
    array[kind == 0] = array[0]
    array = array.astype(np.float32)
    given = np.where(np.arange(600) == 3, 1, kind)
    said = pd.DataFrame({"given_label": given, "suggested_label": 0, "decision": ""})
    found = beside_labels(ArrayRows(array), said)
    # The other 400 are near-duplicates of others.
    text = found.facts(NAMES)["Near-duplicates"]
    assert text.startswith("1 groups, 1 of them under different labels; of equal feat")
    assert "as 67 % of all are at a cosine of 0.9 or more to another one" in text
    figures = found.figures(np.arange(600))
    assert figures["too_many_near_duplicates"] == round(2 / 3, 4)
    (ids,) = figures["contradictory_duplicates"]
    assert ids == [3 * number for number in range(100)]
    assert figures["contradictory_duplicate_sizes"] == [200]
