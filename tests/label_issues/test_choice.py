import numpy as np
import pytest

from sop_keras.label_issues.choice import label_issues

QUALITY = np.array([0.6, 0.1, np.nan, 0.49, 0.5])


def test_issues_are_those_below_one_half():
    assert label_issues(QUALITY).tolist() == [False, True, False, True, False]


@pytest.mark.parametrize(("how", "expected"), [
    ({"num_issues": 0}, []),
    ({"num_issues": 3}, [1, 3, 4]),
    ({"num_issues": 5}, [0, 1, 3, 4]),  # NaN never is
    ({"issue_rate": 0.2}, [1]),
    ({"issue_rate": 0.0}, []),
])  # fmt: skip
def test_wanted_numbers_of_issues(how, expected):
    assert np.flatnonzero(label_issues(QUALITY, **how)).tolist() == expected


@pytest.mark.parametrize(("how", "text"), [
    ({"num_issues": 1400}, "1149 labels are marked as issues, not 1400 (num_issues)"),
    ({"issue_rate": 0.9}, "1149 labels are marked as issues, not 1293 (issue_rate=0.9"),
    ({"num_issues": 1149}, None),
    ({"issue_rate": 0.5}, None),
    ({}, None),
])  # fmt: skip
def test_fewer_are_marked_than_wished_for(how, text, caplog):
    # 1,437 examples, 288 of them unknown: 1,149 can be marked. 0.9 of all are 1,293.
    quality = np.linspace(0, 1, 1437)
    quality[::5] = np.nan
    found = label_issues(quality, **how)
    assert not found[::5].any()
    if text is None:
        assert not caplog.text
    else:
        assert found.sum() == 1149
        assert text in caplog.text
        assert "of the other 288 of 1437 examples, which were never" in caplog.text


def test_trusted_labels_are_never_marked(caplog):
    quality = np.array([1.0, 0.1, 1.0, 0.4, np.nan])
    is_trusted = np.array([True, True, False, False, False])
    found = label_issues(quality, is_trusted=is_trusted)
    assert found.tolist() == [False, False, False, True, False]
    # The trusted one before it is as good as the last that is marked.
    found = label_issues(quality, num_issues=2, is_trusted=is_trusted)
    assert found.tolist() == [False, False, True, True, False]
    assert not caplog.text
    label_issues(quality, num_issues=4, is_trusted=is_trusted)
    assert "2 labels are marked as issues, not 4 (num_issues)" in caplog.text
    assert "the other 1 of 5 examples, which were never" in caplog.text
    assert "trained on, and 2 are trusted, or decided on." in caplog.text


def test_decided_labels_are_not_said_to_be_unknown(caplog):
    # Of five, one was decided to be wrong, NaN, and one confirmed, 1: three are left.
    quality = np.array([np.nan, 1.0, 0.9, 0.2, 0.7])
    decided = np.array([True, True, False, False, False])
    found = label_issues(quality, issue_rate=1.0, is_trusted=decided)
    assert found.tolist() == [False, False, True, True, True]
    assert "5 (issue_rate=1.0 of all): 2 are trusted, or decided on." in caplog.text


@pytest.mark.parametrize(("how", "message"), [
    ({"num_issues": 6}, "at most 5, the number of examples"),
    ({"num_issues": -1}, "at least 0. Received: num_issues=-1"),
    ({"num_issues": 2.0}, "must be an integer"),
    ({"issue_rate": 1.5}, r"in \[0, 1\]. Received: issue_rate=1.5"),
    ({"issue_rate": float("nan")}, r"in \[0, 1\]"),
    ({"num_issues": 1, "issue_rate": 0.1}, "give one"),
])  # fmt: skip
def test_bad_wishes(how, message):
    with pytest.raises(ValueError, match=message):
        label_issues(QUALITY, **how)
