import dataclasses

import numpy as np
import pytest
from untrained_runs import Labels, table, write_run

from sop_keras.label_issues.export import write_label_issues
from sop_keras.report.headline import statistics_of
from sop_keras.report.run_labels import labels_of
from sop_keras.training.saved_run import load_run

CLEAN = (1, 1, 2, 2, 0, 2)


@pytest.fixture
def run(tmp_path):
    return load_run(write_run(tmp_path / "run", CLEAN))


def test_labels_come_from_the_lowest_quality_on_without_unknown_ones(run):
    labels = labels_of(run)
    # Of the qualities 0.01, 0.3, 0.9, 0.2, 0.6 and NaN.
    assert labels.positions.tolist() == [0, 3, 1, 4, 2]
    assert labels.column("id").tolist() == [0, 3, 1, 4, 2]
    assert labels.clean.tolist() == [1, 2, 1, 0, 2]
    # Given labels: 0, 3, 1, 0, 2.
    assert labels.is_wrong.tolist() == [True, True, False, False, False]
    # The first three are issues, of suggested labels 1, 2, 0.
    assert labels.estimated.tolist() == [1, 2, 0, 0, 2]


def test_the_matrices_by_hand(run):
    matrices = labels_of(run).matrices()
    # True classes 1, 2, 1, 0, 2 were given as 0, 3, 1, 0, 2; and 2 as 1, of the example
    # that nothing is known of.
    third = 1 / 3
    expected = [[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0, *[third] * 3], [0, 0, 0, 0]]
    np.testing.assert_array_equal(matrices["true"], expected)
    # Estimated are 1, 2, 0, 0, 2.
    expected = [[0.5, 0.5, 0, 0], [1, 0, 0, 0], [0, 0, 0.5, 0.5], [0, 0, 0, 0]]
    np.testing.assert_array_equal(matrices["estimated"], expected)


def test_what_was_decided_to_be_wrong_is_counted(tmp_path):
    # Of six: 0 was decided to be a 1, 3 was removed: they have no quality. 1 looks
    # wrong, 4 was confirmed. Of 5 nothing is known. Wrong are 0, 3 and 5.
    folder = write_run(tmp_path / "run", CLEAN)
    issues = table(Labels(quality=(np.nan, 0.3, 0.9, np.nan, 1.0, np.nan)))
    issues["decision"] = ["other", "", "", "remove", "given", ""]
    issues.loc[3, "suggested_label"] = 3  # as an audit has it of what is removed
    write_label_issues(issues, folder / "label_issues.csv")
    run = load_run(folder)
    labels = labels_of(run)
    assert labels.column("id").tolist() == [1, 2, 4]
    assert labels.whole.column("id").tolist() == [1, 2, 4, 0, 3, 5]
    assert labels.whole.is_known.tolist() == [True] * 5 + [False]
    # An issue of five known ones, and two that were decided to be wrong.
    told = {one.name: (one.value, one.note) for one in statistics_of(run, labels)}
    assert told["Label issues"] == ("1", "of 5 training labels")
    assert told["Estimated noise rate"] == (
        *("60.0 %", "share of issues and of 2 that were decided to be wrong"),
    )
    assert told["True noise rate"] == ("50.0 %", "3 wrong labels")
    # Classes 0, 2, 0, 1, 3, by what is suggested and decided, were given as 1, 2, 0, 0,
    # 3; by the clean labels 1, 2, 0, 1, 2, 2 as 1, 2, 0, 0, 3, 1.
    half, third = 1 / 2, 1 / 3
    matrices = labels.matrices()
    expected = [[half, half, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    np.testing.assert_array_equal(matrices["estimated"], expected)
    expected = [[1, 0, 0, 0], [half, half, 0, 0], [0, *[third] * 3], [0, 0, 0, 0]]
    np.testing.assert_array_equal(matrices["true"], expected)


def test_of_many_classes_there_is_no_matrix(run):
    labels = labels_of(run)
    assert dataclasses.replace(labels, num_classes=2001).matrices() == {}
    assert set(dataclasses.replace(labels, num_classes=2000).matrices()) == {
        *("true", "estimated"),
    }


def test_the_frequent_changes_by_hand(tmp_path):
    labels = Labels(
        given=(3, 0, 2, 3, 1, 3),
        suggested=(2, 1, 0, 2, 0, 0),
        quality=(0.1, 0.2, 0.3, 0.4, 0.9, 0.1),
    )
    labels = labels_of(load_run(write_run(tmp_path / "run", labels=labels)))
    # Twice 3 -> 2, once 0 -> 1, 2 -> 0 and 3 -> 0; 1 -> 0 is no issue.
    assert labels.frequent_changes(10) == [(3, 2, 2), (0, 1, 1), (2, 0, 1), (3, 0, 1)]
    assert labels.frequent_changes(1) == [(3, 2, 2)]
    assert labels.is_wrong is None
    assert list(labels.matrices()) == ["estimated"]


@pytest.mark.parametrize(
    ("column", "place", "value", "reason"),
    [
        ("id", 5, 6, "No example of id 6 has the given label 1"),
        ("given_label", 2, 3, "No example of id 2 has the given label 3"),
        ("suggested_label", 1, 4, "the label 4 for the example of id 1;"),
    ],
)
def test_a_table_of_other_data_is_refused(run, column, place, value, reason):
    issues = table(Labels())
    issues.loc[place, column] = value
    write_label_issues(issues, run.folder / "label_issues.csv")
    with pytest.raises(ValueError, match=rf"csv is not of this run\. .*{reason}"):
        labels_of(run)


def test_a_run_without_a_table_says_how_to_make_one(run):
    (run.folder / "label_issues.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"label_issues\.csv\. A run of SOP"):
        labels_of(run)
