from pathlib import Path

import pytest

from sop_keras.files.shown_text import shown, shown_lines


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b.jpg", "a b.jpg"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("bell\x07", r"bell\x07"),
        ("two\nlines\r\tand", r"two\nlines\r\tand"),
        ("\x9b2J", r"\x9b2J"),  # one character that begins a control sequence
        ("\x7f\0", r"\x7f\x00"),
        ("gpj.\u202egnp", r"gpj.\u202egnp"),
        ("\u2066a\u2069\u200e\u061c", r"\u2066a\u2069\u200e\u061c"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\ufeffa\u200b", r"\ufeffa\u200b"),
        ("\U000e0041", r"\U000e0041"),
        ("\udcff", r"\udcff"),
        # What people write stays: other scripts, joined letters and emoji, blanks.
        ("größer 猫 кот", "größer 猫 кот"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("👩\u200d🔬", "👩\u200d🔬"),
        ("a\u00a0b\u3000c", "a\u00a0b\u3000c"),
        ("C:\\new", "C:\\new"),
        (b"\xff\x1b caf\xc3\xa9", r"\xff\x1b café"),
        (Path("a\x1b/b"), r"a\x1b/b"),
    ],
)
def test_what_is_not_seen_is_escaped(text, expected):
    assert shown(text) == expected
    assert shown(expected) == expected


def test_lines_of_ours_stay_lines():
    assert shown_lines("one\n\ttwo\r\x1b\u202e") == "one\n\ttwo\\r\\x1b\\u202e"
