"""Whether a file is text of the kind that is read here."""

from __future__ import annotations

import codecs
import shlex
from pathlib import Path

from sop_keras.files.untrusted import NO_LIMIT, open_untrusted

_PEEK = 4096
# Of so many bytes, one or more are zero.
_LEAST_SHARE = 10
_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def check_not_utf16(path: Path) -> None:
    """Check that a file is not text in UTF-16 or UTF-32, as spreadsheets export it.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it begins with the mark of one, or many of its bytes are zero. A
            single one is not: that is for its reader to say.
    """
    with open_untrusted(path, NO_LIMIT) as file:
        begin = file.read(_PEEK)
    # Of letters of most languages in Europe, half of the bytes are zero.
    is_wide = begin.count(0) * _LEAST_SHARE > len(begin)
    # The mark of UTF-32, little endian, begins with that of UTF-16.
    if not (begin.startswith(_WIDE_MARKS) or is_wide):
        return
    raise ValueError(
        f"{path} is not text in UTF-8: it looks like UTF-16 (in spreadsheets: Unicode "
        "text). Save it as UTF-8 (in spreadsheets: CSV UTF-8), or run: iconv -f UTF-16 "
        f"-t UTF-8 {shlex.quote(str(path))} > {shlex.quote('new' + path.suffix)}"
    )
