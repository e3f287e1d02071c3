"""Text that comes from files, shown so that it does nothing but be read."""

from __future__ import annotations

import os
import unicodedata

# Control characters, signs that turn the direction of writing and others that are not
# seen, half surrogates, and ends of lines and paragraphs.
_CATEGORIES = ("Cc", "Cf", "Cs", "Zl", "Zp")
# Words of some languages, and emoji, need these two: they join letters, or do not.
_JOINERS = "\u200c\u200d"


def shown(text: str | bytes | os.PathLike[str], keep: str = "") -> str:
    r"""A name of somebody else's, for a terminal, a log, a message or a page.

    Characters that would move the cursor, ring, end the line, turn the direction of
    writing or not be seen are written as Python does it: `\x1b`, `\n`, `\u202e`. So
    are bytes that are no text: `\xff`, and `\udcff` where they came as one half of a
    pair. All else is as it is, backslashes too: this is for people, and the name cannot
    be had back from it.

    Args:
        text: the name; bytes are read as UTF-8.
        keep: characters to leave as they are. Defaults to `""`: none.
    """
    if isinstance(text, bytes):
        text = text.decode(errors="backslashreplace")
    text = os.fspath(text)
    if text.isprintable():
        return text
    return "".join(
        one if one in keep or not is_hidden(one) else _escaped(one) for one in text
    )


def shown_lines(text: str) -> str:
    """Text of ours with somebody else's names in it: its own lines stay lines.

    For where text goes out. A line break in a name is not told from one of ours there:
    names go through `shown` where they are put in.
    """
    return shown(text, keep="\n\t")


def is_hidden(character: str) -> bool:
    """Whether `shown` escapes a character."""
    if character.isprintable():
        return False
    return unicodedata.category(character) in _CATEGORIES and character not in _JOINERS


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
