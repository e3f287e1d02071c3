import numpy as np
import pytest

from sop_keras.validation import (
    check_choice_of,
    check_fraction,
    check_integer,
    check_number,
    check_positive,
)


@pytest.mark.parametrize("value", [2, np.int64(2), np.uint8(2)])
def test_integers(value):
    found = check_integer("num_classes", value, least=2)
    assert type(found) is int
    assert found == 2


@pytest.mark.parametrize("value", [1, 2.0, "2", None, True, np.nan])
def test_what_is_no_integer_or_too_small(value):
    message = rf"`num_classes` must be an integer of at least 2. Received: .*{value!r}"
    with pytest.raises(ValueError, match=message):
        check_integer("num_classes", value, least=2)


@pytest.mark.parametrize(
    ("value", "bounds", "expected"),
    [
        (11, {"most": 10}, r"in \[1, 10\]\. Received: size=11\."),
        (10, {"below": 10}, r"in \[1, 10\)\. Received: size=10\."),
        (2**64, {"below": 2**64}, r"in \[1, 2\*\*64\)\."),
        (0, {"below": 2**20 + 1}, r"in \[1, 1048577\)\."),
        (0, {"meaning": "of a"}, r"at least 1, of a\. Received: size=0\.$"),
        (0, {"mend": "Add some."}, r"Received: size=0\. Add some\.$"),
    ],
)
def test_the_text_has_the_range_and_what_was_added(value, bounds, expected):
    with pytest.raises(ValueError, match=f"^`size` must be an integer .*{expected}"):
        check_integer("size", value, 1, **bounds)


def test_the_ends_of_a_range_are_in_it():
    assert check_integer("size", 10, 1, most=10) == 10
    assert check_integer("size", 9, 1, below=10) == 9


@pytest.mark.parametrize("value", [0, 1e-8, np.float32(0.5)])
def test_numbers(value):
    assert check_number("init_std", value) == float(value)


@pytest.mark.parametrize("value", [-1e-8, np.nan, np.inf, None, "much", "0.5", True])
def test_what_is_no_number_or_negative(value):
    message = r"`init_std` must be a finite number of at least 0. Received: "
    with pytest.raises(ValueError, match=message):
        check_number("init_std", value)


@pytest.mark.parametrize("value", [0, -1.0, np.nan, np.inf, None])
def test_what_is_not_positive(value):
    assert check_positive("rate", 3) == 3.0
    with pytest.raises(ValueError, match=r"`rate` must be positive and finite\. Rec"):
        check_positive("rate", value)


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan, True, "0.5", None])
def test_what_is_no_fraction(value):
    assert [check_fraction("rate", one) for one in (0, 1, np.float32(0.5))] == [
        *(0.0, 1.0, 0.5)
    ]
    with pytest.raises(ValueError, match=r"`rate` must be a number in \[0, 1\]\. Rec"):
        check_fraction("rate", value)


def test_choices():
    assert check_choice_of("format", "csv", ("csv", "parquet")) == "csv"
    message = r"^`format` must be one of csv, parquet\. Received: format='xls'\.$"
    with pytest.raises(ValueError, match=message):
        check_choice_of("format", "xls", ("csv", "parquet"))
