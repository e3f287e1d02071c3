"""Whether a file is text of the kind that is read here."""

from __future__ import annotations

import codecs
from pathlib import Path

_PEEK = 4096
_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def check_not_utf16(path: Path) -> None:
    """Check that a file is not text in UTF-16 or UTF-32, as spreadsheets export it.

    Raises:
        ValueError: if it begins with the mark of one, or has zero bytes.
    """
    with path.open("rb") as file:
        begin = file.read(_PEEK)
    # That of UTF-32, little endian, begins with that of UTF-16.
    if not (begin.startswith(_WIDE_MARKS) or b"\0" in begin):
        return
    raise ValueError(
        f"{path} is not text in UTF-8: it looks like UTF-16 (in spreadsheets: Unicode "
        "text). Save it as UTF-8 (in spreadsheets: CSV UTF-8), or run: iconv -f UTF-16 "
        f"-t UTF-8 {path.name} > new{path.suffix}"
    )
