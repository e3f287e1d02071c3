"""What commands say: all of it goes through here, so that no name does harm."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TextIO

from sop_keras.files.shown_text import shown_lines
from sop_keras.files.untrusted import read_text


def say(*texts: object, to: TextIO | None = None, sep: str = " ") -> None:
    """Print, with control characters and the like escaped (`shown_lines`).

    Args:
        texts: what to print.
        to: where to. Defaults to `None`: to stdout.
        sep: between them. Defaults to a blank.
    """
    print(shown_lines(sep.join(map(str, texts))), file=to, flush=True)


def show_table(folder: Path) -> None:
    """Print the table.md of a folder, and the names of the files of the table."""
    say("", read_text(folder / "table.md"), sep="\n")
    say(*(folder / f"table.{ending}" for ending in ("md", "csv", "png")), sep="\n")


class ShownFormatter(logging.Formatter):
    """Formats messages as `say` prints."""

    def format(self, record: logging.LogRecord) -> str:
        """The message, in the lines that it has."""
        return shown_lines(super().format(record))
