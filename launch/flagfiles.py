"""`--flagfile=NAME.flags`: found in launch/flags/ from any directory, nested or not."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from pathlib import Path

from sop_keras import methods
from sop_keras.files.text_encoding import check_not_utf16
from sop_keras.files.untrusted import read_text

FOLDER = Path(__file__).resolve().parent / "flags"
DEFAULT = "digits.flags"

# A flagfile has some lines; what is longer is another file.
MAX_BYTES = 2**20


def resolve(
    arguments: Sequence[str],
    default: str | None = DEFAULT,
    ignored: Collection[str] = (),
) -> tuple[list[str], str | None]:
    """Put the flags of the flagfiles in front; the default's where none is given.

    A value that is the path of a file stays; any other is looked up in launch/flags/,
    with or without its ending.

    Args:
        arguments: the command line, without the program's name.
        default: the flagfile where none is given, nor a data set that is not the
            digits; None for none. Defaults to the digits'.
        ignored: the names of flags that are left out of flagfiles. Defaults to none.

    Returns:
        The command line for absl, free of flagfiles, their flags first, so that all
        other flags win; and the name of the last flagfile, without its ending, None
        where there is none.

    Raises:
        ValueError: for a name that is no file in either place, or a flagfile that
            includes itself.
    """
    files, others, position = [], [], 0
    while position < len(arguments):
        argument = arguments[position]
        position += 1
        if argument in ("--flagfile", "-flagfile"):
            if position == len(arguments):
                raise ValueError("--flagfile needs a name.")
            argument = f"--flagfile={arguments[position]}"
            position += 1
        value = _flagfile(argument)
        if value is None:
            others.append(argument)
        else:
            files.append(_find(value))
    # The default is an experiment on the digits: its settings are not for other data.
    other_data = any(_is_other_dataset(others, place) for place in range(len(others)))
    if not files and default is not None and not other_data:
        files = [_find(default)]
    lines = [line for path in files for line in read(path)]
    lines = [line for line in lines if not names_of(line).intersection(ignored)]
    # In front, so that every other flag comes after them and wins.
    return [*lines, *others], files[-1].stem if files else None


def named(words: Sequence[str]) -> list[str]:
    """The `--flagfile=NAME` of a command line, also of `--flagfile NAME`, in turn."""
    found = []
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name = following if word in ("--flagfile", "-flagfile") else _flagfile(word)
        if name is not None:
            found.append(f"--flagfile={name}")
    return found


def names_of(word: str) -> set[str]:
    """What a flag may be called: `--nodry` sets `dry`."""
    name = word.lstrip("-").partition("=")[0]
    return {name, name.removeprefix("no")}


def given(words: Sequence[str], names: Collection[str]) -> list[str]:
    """Which of these flags are on a command line itself, not in a flagfile on it."""
    found = [names_of(word) for word in words if word.startswith("-")]
    return [name for name in names if any(name in one for one in found)]


def without(words: Sequence[str], names: Collection[str]) -> list[str]:
    """A command line without some flags, all of which take a value."""
    rest, is_value = [], False
    for word in words:
        if is_value:
            is_value = False
        elif word.startswith("-") and names_of(word).intersection(names):
            is_value = "=" not in word  # as in `--seeds 0,1`
        else:
            rest.append(word)
    return rest


def _is_other_dataset(arguments: list[str], place: int) -> bool:
    option, separator, value = arguments[place].partition("=")
    if option not in ("--dataset", "-dataset"):
        return False
    if not separator:
        value = "".join(arguments[place + 1 : place + 2])
    return value != "digits"


def read(path: Path, including: tuple[Path, ...] = ()) -> list[str]:
    """The flags of a flagfile, those of a nested one in the place where it is named.

    Args:
        path: the flagfile. Its lines are flags, `--flagfile=NAME` among them, blank, or
            comments, which begin with `#` or `//`.
        including: the flagfiles that led to this one. Defaults to none.

    Raises:
        OSError: if it is no regular file, or has more than `MAX_BYTES`.
        ValueError: for a name that is no file, or a flagfile that includes itself.
    """
    chain = (*including, path)
    if path.resolve() in [other.resolve() for other in including]:
        raise ValueError(
            "A flagfile includes itself: "
            f"{' -> '.join(str(one) for one in chain)}. Take one of these --flagfile "
            "lines out."
        )
    flags = []
    check_not_utf16(path)
    for line in read_text(path, MAX_BYTES).splitlines():
        line = line.strip()
        if not line or line.startswith(("#", "//")):
            continue
        value = _flagfile(line)
        # absl itself would look for a nested file in the working directory alone.
        flags += [line] if value is None else read(_find(value), chain)
    return flags


def _flagfile(argument: str) -> str | None:
    """The name in `--flagfile=NAME`; None for any other flag."""
    option, separator, value = argument.partition("=")
    if separator and option in ("--flagfile", "-flagfile"):
        return value
    return None


def _find(value: str) -> Path:
    for path in (Path(value), FOLDER / value, FOLDER / f"{value}.flags"):
        if path.exists() and not path.is_dir():
            return path
    raise ValueError(
        f"There is no flagfile {value!r}, neither as a path nor in {FOLDER}, which "
        f"has them all.{_meant(Path(value).name.removesuffix('.flags'))}"
    )


def _meant(name: str) -> str:
    """What a name of no flagfile may stand for."""
    known = sorted(path.stem for path in FOLDER.glob("*.flags"))
    for method in methods.names():
        if (stem := name.removesuffix(f"_{method}")) != name and stem in known:
            return f" Give {stem}.flags with --method={method}."
    near = difflib.get_close_matches(name, known, n=4)
    return f" Nearest: {', '.join(f'{one}.flags' for one in near)}." if near else ""
