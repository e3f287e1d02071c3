"""The command `sop-keras`: `sop-keras NAME ...` is `python launch/NAME.py ...`.

sop-keras                     # lists the commands
sop-keras audit PHOTOS
sop-keras audit --help
"""

from __future__ import annotations

import difflib
import importlib
import shlex
import sys
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path

FOLDER = Path(__file__).resolve().parent

COMMANDS = (
    *("audit", "train", "report", "correct_labels", "evaluate", "compare"),
    *("prepare", "reproduce", "figure1", "theory"),
)
"""The files that are commands of their own, in the order in which they are listed."""

_HELP = ("--help", "-help", "-h", "--helpshort", "--helpfull")


def main(arguments: Sequence[str] | None = None) -> int | None:
    """Run the command that the command line names, or list them all.

    Args:
        arguments: without the program's name. Defaults to `None`: the process' own.

    Returns:
        The exit status: None and 0 are success.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    # As Python does for `python launch/NAME.py`: launchers import each other by plain
    # names, which are theirs in this process, whatever else may have them.
    if sys.path[:1] != [str(FOLDER)]:
        sys.path.insert(0, str(FOLDER))
    import environment  # noqa: F401  # says at once what is not installed
    from terminal import say

    if not words or words[0] in _HELP:
        say(overview())
        return 0
    name, *rest = words
    if name not in COMMANDS:
        say(f"error: {_unknown(name)}", to=sys.stderr)
        return 1
    sys.argv = [f"{sys.argv[0]} {name}", *rest]
    return importlib.import_module(name).main(rest)


def overview() -> str:
    """The commands with what they do, a line each."""
    width = max(map(len, COMMANDS))
    listed = [f"  {name:<{width}}  {summary(name)}" for name in COMMANDS]
    return "\n".join(
        [
            "Finds wrong labels, and trains image classifiers in spite of them.",
            "",
            "    sop-keras audit PHOTOS    # a folder that has a folder for each class",
            "    sop-keras COMMAND --help",
            "",
            *listed,
        ]
    )


def summary(name: str) -> str:
    """The first line of a command's docstring, which is not imported for that."""
    source = SourceFileLoader(name, str(FOLDER / f"{name}.py")).get_source(name)
    return source.partition('"""')[2].partition("\n")[0]


def _unknown(name: str) -> str:
    """What to say of a word that is no command."""
    if name.startswith("-"):
        return (
            f"The command comes before its flags: sop-keras COMMAND {shlex.quote(name)}"
            f". Commands: {', '.join(COMMANDS)}."
        )
    text = f"There is no command {name!r}."
    if near := difflib.get_close_matches(name, COMMANDS, n=1):
        return f"{text} Nearest: {near[0]}. `sop-keras --help` lists all."
    if Path(name).exists():
        return f"{text} To find its wrong labels: sop-keras audit {shlex.quote(name)}."
    return f"{text} Commands: {', '.join(COMMANDS)}."


if __name__ == "__main__":
    sys.exit(main())
