"""Texts that a spreadsheet would run: in a CSV they get an apostrophe in front."""

from __future__ import annotations

import re

# Where a spreadsheet finds a formula: a cell whose first character is = + - @ or a
# full-width one of them, maybe after blanks and characters that are not seen. A cell
# may begin inside the text as well: quotes do not hold it together for a spreadsheet
# whose separator is not the comma.
_FORMULA = re.compile(
    r"\A(?=[\t\r])|(?:\A|(?<=[;|\t\r\n]))"
    r"(?=[\s\"\x00-\x1f\x7f-\x9f\u200b-\u200f\u2060\ufeff]*[=+\-@＝＋－＠])"
)


def is_formula(text: str) -> bool:
    """Whether a spreadsheet would run a cell with this text, or with an end of it."""
    return _FORMULA.search(text) is not None


def without_formulas(text: str) -> str:
    """The text with an apostrophe where a formula would begin; twice is once."""
    return _FORMULA.sub("'", text)
