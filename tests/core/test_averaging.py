"""What an average of weights is of, as text."""

import re

import pytest

from sop_keras.core.averaging import Averaging, averaging_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", None),
        ("ema:0.999", Averaging(0.999)),
        ("ema:1e-3", Averaging(0.001)),
        ("last:5", Averaging(1.0, 5)),
    ],
)
def test_what_it_is_of(text, expected):
    assert averaging_of(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "ema", "ema:", "ema:0", "ema:1", "ema:1.5", "ema:nan", "ema:often"),
        *("last", "last:0", "last:-1", "last:2.5", "swa:3", "None", None, True, 0.9),
    ],
)
def test_anything_else_is_refused_with_what_there_is(text):
    expected = (
        'must be "none"; "ema:DECAY" with a decay above 0 and below 1, such as '
        f'"ema:0.999"; or "last:EPOCHS".*weight_average={re.escape(repr(text))}'
    )
    with pytest.raises(ValueError, match=expected):
        averaging_of(text)


def test_where_it_begins():
    assert Averaging(0.9).begin(epochs=10) == 0
    assert Averaging(0.9).begin(epochs=10, first=4) == 4
    assert Averaging(1.0, 3).begin(epochs=10) == 7
    # Networks that start anew before epoch 8 have no earlier ones.
    assert Averaging(1.0, 3).begin(epochs=10, first=8) == 8
    assert Averaging(1.0, 3).begin(epochs=2) == 0
