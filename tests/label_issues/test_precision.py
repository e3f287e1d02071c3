import math

import numpy as np
import pandas as pd
import pytest

from sop_keras.label_issues.decisions import Decisions
from sop_keras.label_issues.precision import seen_precision, wilson_interval


def table(size):
    """Examples whose given label is 0; the rank of an id is the id."""
    ids = np.arange(1, size + 1)
    issues = pd.DataFrame(
        {
            "id": ids,
            "given_label": 0,
            "label_quality": ids / (size + 1),
            "noise_score": -1.0,
        }
    )
    return issues.sample(frac=1, random_state=0)


def decided(labels):
    """Decisions from the label of each id; -1 removes."""
    ids = np.array(sorted(labels), np.int64)
    of_ids = np.array([labels[one] for one in ids.tolist()], np.int64)
    kinds = np.where(of_ids < 0, "remove", np.where(of_ids == 0, "given", "other"))
    return Decisions(ids, kinds, of_ids, np.zeros(len(ids), "datetime64[ms]"))


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [
        # With z^2 = 3.841459: of 0 of 10, 0 and z^2 / (10 + z^2) = 0.277533.
        (0, 10, 0.0, 0.277533),
        (10, 10, 0.722467, 1.0),
        # 5 of 10: half of it is 1/2 sqrt(z^2 / (10 + z^2)) = 0.263407.
        (5, 10, 0.236593, 0.763407),
        # 20 of 100: the middle is (0.2 + 0.01920729) / 1.03841459 = 0.211098, the half
        # sqrt(0.16 * 0.03841459 + 0.01920729^2) / 1.03841459 = 0.077734.
        (20, 100, 0.133367, 0.288829),
    ],
)
def test_wilson_intervals_by_hand(count, total, low, high):
    assert wilson_interval(count, total) == pytest.approx((low, high), abs=2e-5)


def test_nothing_is_known_of_none():
    assert wilson_interval(0, 0) == (0, 1)


def test_wilson_interval_solves_its_equation():
    # Its ends are the shares that lie z standard deviations from what was seen.
    for end in wilson_interval(7, 23):
        deviation = math.sqrt(end * (1 - end) / 23)
        assert abs(7 / 23 - end) / deviation == pytest.approx(1.959964, abs=1e-6)


def test_windows_by_hand():
    # 120 decided, every second rank: 2, 4, ..., 240. Windows: ranks 2 to 100, and 102
    # to 240, as the last 20 are no whole window. In the first, 20 of 50 are wrong, of
    # which 5 are to be removed; in the second 35 of 70 = 1/2.
    labels = dict.fromkeys(range(2, 242, 2), 0)
    labels |= dict.fromkeys(range(2, 32, 2), 1)
    labels |= dict.fromkeys(range(32, 42, 2), -1)
    labels |= dict.fromkeys(range(102, 172, 2), 2)
    found = seen_precision(decided(labels), table(500))
    assert (found.decided.num_decided, found.decided.num_wrong) == (120, 55)
    assert found.decided.share == 55 / 120
    one, other = found.windows
    assert (one.first, one.last, one.num_decided, one.num_wrong) == (2, 100, 50, 20)
    assert (other.first, other.last) == (102, 240)
    assert (other.num_decided, other.num_wrong) == (70, 35)
    assert (one.share, other.share) == (0.4, 0.5)
    assert one.interval() == wilson_interval(20, 50)
    # They rise, so that both have the mean of all.
    assert one.smoothed == other.smoothed == pytest.approx(55 / 120)
    # Nobody saw the end: the 120 odd ranks up to 239, and the next 50, 241 to 290.
    worth = found.worth_looking_at
    assert (worth.last_rank, worth.num_undecided) == (290, 170)
    assert worth.num_wrong == pytest.approx(170 * 55 / 120)
    assert not worth.is_end_seen


def test_where_looking_ends_by_hand():
    # Ranks 1 to 50: 30 wrong; 61 to 110: 4; 121 to 170: 10; 171 to 220: 2. The second
    # and the third share 14 of 100, which is above a tenth; the fourth is below.
    labels = {}
    for start, num_wrong in ((1, 30), (61, 4), (121, 10), (171, 2)):
        labels |= {start + k: int(k < num_wrong) for k in range(50)}
    found = seen_precision(decided(labels), table(1000))
    smoothed = [window.smoothed for window in found.windows]
    assert smoothed == pytest.approx([0.6, 0.14, 0.14, 0.04])
    worth = found.worth_looking_at
    # Undecided up to rank 170 are 51 to 60 and 111 to 120, with 0.14 each.
    assert (worth.last_rank, worth.num_undecided) == (170, 20)
    assert worth.num_wrong == pytest.approx(2.8)
    assert worth.is_end_seen


def test_a_tenth_is_worth_it_and_less_is_not():
    tenth = {rank: int(rank <= 5) for rank in range(1, 51)}
    assert not seen_precision(decided(tenth), table(60)).worth_looking_at.is_end_seen
    less = {rank: int(rank <= 4) for rank in range(1, 51)}
    worth = seen_precision(decided(less), table(60)).worth_looking_at
    assert (worth.last_rank, worth.num_undecided, worth.num_wrong) == (0, 0, 0)
    assert worth.is_end_seen


def test_all_are_decided():
    worth = seen_precision(decided({1: 1, 2: 1}), table(2)).worth_looking_at
    assert (worth.last_rank, worth.num_undecided, worth.num_wrong) == (2, 0, 0)


def test_no_decisions():
    found = seen_precision(decided({}), table(60))
    assert found.windows == ()
    assert math.isnan(found.decided.share)
    worth = found.worth_looking_at
    assert (worth.last_rank, worth.num_undecided) == (50, 50)
    assert math.isnan(worth.num_wrong)
    assert not worth.is_end_seen


def test_what_has_no_quality_has_no_rank():
    issues = table(10)
    issues.loc[issues["id"] == 1, ["label_quality", "noise_score"]] = np.nan
    found = seen_precision(decided({1: 1, 3: 0}), issues)
    # Both were decided, one was wrong; 3 is the second that has a quality.
    assert (found.decided.num_decided, found.decided.num_wrong) == (2, 1)
    (window,) = found.windows
    assert (window.first, window.num_decided, window.num_wrong) == (2, 1, 0)


def test_the_second_round_has_the_ranks_of_the_second_table():
    # The first round: 100 examples, of which 90 were wrong. In the second audit's table
    # these have NaN, the 10 that were confirmed 1, and none has a noise score. The
    # second round: of the lowest 50 others, 20 are wrong.
    issues = table(1000)
    before = issues["id"] <= 100
    issues.loc[before, "noise_score"] = np.nan
    issues.loc[before, "label_quality"] = np.where(
        issues["id"][before] <= 90, np.nan, 1
    )
    labels = {one: int(one <= 90) for one in range(1, 101)}
    labels |= {one: int(one <= 120) for one in range(101, 151)}
    found = seen_precision(decided(labels), issues)
    assert (found.decided.num_decided, found.decided.num_wrong) == (150, 110)
    (window,) = found.windows
    assert (window.first, window.last) == (1, 50)
    assert (window.num_decided, window.num_wrong) == (50, 20)
    # Nobody saw the end: the next 50, two fifths of them wrong.
    worth = found.worth_looking_at
    assert (worth.last_rank, worth.num_undecided) == (100, 50)
    assert worth.num_wrong == pytest.approx(20)
    assert not worth.is_end_seen


def test_decisions_on_other_examples_are_refused():
    with pytest.raises(ValueError, match="no example of id 11, which was decided on"):
        seen_precision(decided({3: 1, 11: 1, 12: 0}), table(10))
