import numpy as np

from sop_keras.drawing.cells import percents, shown_name


def test_names_are_one_short_line():
    assert shown_name("a\nb\x00", 14) == r"a\nb\x00"
    assert shown_name("<script>alert(1)</script>", 14) == "<script>ale..."
    assert shown_name("a" * 14, 14) == "a" * 14


def test_what_rounds_to_0_percent_is_not_written():
    shares = np.array([[0.995, 0.005], [0.0051, 0.9949]])
    assert percents(shares) == {(0, 0): "100", (1, 0): "1", (1, 1): "99"}
