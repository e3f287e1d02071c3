import numpy as np
import pytest

from sop_keras.randomness.ids import checked_ids


def test_ids_keep_their_order_and_become_int64():
    ids = checked_ids(np.array([7, 0, 3], dtype=np.int32))
    assert ids.dtype == np.int64
    assert ids.tolist() == [7, 0, 3]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([[1, 2]], r"one-dimensional array of integers\. Received: .*shape \(1, 2\)"),
        ([0.0, 1.0], "dtype float64"),
        ([True, False], "dtype bool"),
        ([3, -1], r"must not be negative\. Received: -1"),
        ([5, 1, 5, 5], "Received: id 5 3 times"),
    ],
)
def test_ids_that_cannot_own_a_draw_are_refused(ids, message):
    with pytest.raises(ValueError, match=message):
        checked_ids(np.array(ids))
