"""`--flagfile=NAME.flags`: found in launch/flags/ from any directory, nested or not."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "flags"
DEFAULT = "digits.flags"


def resolve(
    argv: list[str], default: str | None = DEFAULT
) -> tuple[list[str], str | None]:
    """Put the flags of the flagfiles in front; the default's where none is given.

    A value that is the path of a file stays; any other is looked up in launch/flags/,
    with or without its ending.

    Args:
        argv: the command line, program name first.
        default: the flagfile where none is given, nor a data set that is not the
            digits; None for none. Defaults to the digits'.

    Returns:
        The command line for absl, free of flagfiles, their flags first, so that all
        other flags win; and the name of the last flagfile, without its ending, None
        where there is none.

    Raises:
        ValueError: for a name that is no file in either place, or a flagfile that
            includes itself.
    """
    files, others, position = [], [], 1
    while position < len(argv):
        argument = argv[position]
        position += 1
        if argument in ("--flagfile", "-flagfile"):
            if position == len(argv):
                raise ValueError("--flagfile needs a name.")
            argument = f"--flagfile={argv[position]}"
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
    # In front, so that every other flag comes after them and wins.
    return [*argv[:1], *lines, *others], files[-1].stem if files else None


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
    for line in path.read_text(encoding="utf-8").splitlines():
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
        if path.is_file():
            return path
    known = ", ".join(path.name for path in sorted(FOLDER.glob("*.flags")))
    raise ValueError(
        f"There is no flagfile {value!r}, neither as a path nor in {FOLDER}. "
        f"Known: {known}"
    )
