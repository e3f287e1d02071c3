"""Commands that are printed for the user to run: they work where they are printed."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from sop_keras.files.shown_text import is_hidden

CONSOLE = "sop-keras"
"""The command that the package installs."""

_LAUNCH = Path(__file__).resolve().parent
_INSTALLED = "sop_keras_launch"  # what a wheel calls this folder


def launch_command(script: str, words: Sequence[object] = ()) -> str:
    """The line that starts a command of this folder, from where this process was.

    Args:
        script: its file, such as `"train.py"`.
        words: what it is given.
    """
    if (console := _console()) is not None:
        return shell_line([program(CONSOLE, console), Path(script).stem, *words])
    path = _from_here(_LAUNCH / script)
    return shell_line([program("python", sys.executable), path, *words])


def as_started(text: str) -> str:
    """Text that says `python launch/NAME.py`, as `sop-keras NAME` if that is used."""
    if _console() is None:
        return text
    text = re.sub(r"(?:python )?launch/(\w+)\.py", rf"{CONSOLE} \1", text)
    return text.replace("launch/flags/", f"{_LAUNCH / 'flags'}/")


def _console() -> str | None:
    """The file of `sop-keras`, where commands are started by it; else None."""
    started, _, _ = sys.argv[0].rpartition(" ")  # console.py adds the command's name
    if os.path.basename(started) == CONSOLE:
        return started
    if _LAUNCH.name != _INSTALLED:
        return None
    # A process that another one started, such as train_cell.py.
    path = os.path.join(sysconfig.get_path("scripts"), CONSOLE)
    return path if os.path.isfile(path) else shutil.which(CONSOLE)


def program(name: str, path: str | os.PathLike[str]) -> str:
    """A program's name, if a shell finds that very one by it; else its path."""
    found = shutil.which(name)
    is_same = found is not None and os.path.abspath(found) == os.path.abspath(path)
    return name if is_same else _from_here(path)


def _from_here(path: str | os.PathLike[str]) -> str:
    """A path relative to the working directory if it is below it, else absolute."""
    whole = os.path.abspath(path)
    relative = os.path.relpath(whole)
    return whole if relative.startswith(os.pardir) else relative


def shell_line(words: Sequence[object]) -> str:
    r"""Words as a shell (bash, zsh) takes them, in one line that does nothing if shown.

    Control characters and the like are escaped as `$'\x1b'`, which stays a command.
    """
    return " ".join(_shell_word(str(word)) for word in words)


def _shell_word(word: str) -> str:
    if not any(map(is_hidden, word)):
        return shlex.quote(word)
    return "$'" + "".join(map(_in_quotes, word)) + "'"


def _in_quotes(character: str) -> str:
    if is_hidden(character):
        # Bytes of paths that are no text are what they were.
        return "".join(f"\\x{one:02x}" for one in os.fsencode(character))
    return f"\\{character}" if character in "\\'" else character
