"""`--flagfile=NAME.flags`: found in launch/flags/ from any directory."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "flags"
DEFAULT = "digits.flags"


def resolve(argv: list[str]) -> tuple[list[str], str]:
    """Put the flagfiles, as paths, in front; the default where none is given.

    A value that is the path of a file stays; any other is looked up in launch/flags/,
    with or without its ending.

    Args:
        argv: the command line, program name first.

    Returns:
        The command line for absl, flagfiles first, so that all other flags win; and the
        name of the last flagfile, without its ending.

    Raises:
        ValueError: for a name that is no file in either place.
    """
    files, others, name, position = [], argv[:1], None, 1
    while position < len(argv):
        argument = argv[position]
        position += 1
        if argument in ("--flagfile", "-flagfile"):
            if position == len(argv):
                raise ValueError("--flagfile needs a name.")
            argument = f"--flagfile={argv[position]}"
            position += 1
        option, separator, value = argument.partition("=")
        if separator and option.lstrip("-") == "flagfile" and option.startswith("-"):
            path = _find(value)
            files.append(f"--flagfile={path}")
            name = path.stem
        else:
            others.append(argument)
    if name is None:
        path = FOLDER / DEFAULT
        files.append(f"--flagfile={path}")
        name = path.stem
    # In front, so that every other flag comes after them and wins.
    return [*others[:1], *files, *others[1:]], name


def _find(value: str) -> Path:
    for path in (Path(value), FOLDER / value, FOLDER / f"{value}.flags"):
        if path.is_file():
            return path
    known = ", ".join(path.name for path in sorted(FOLDER.glob("*.flags")))
    raise ValueError(
        f"There is no flagfile {value!r}, neither as a path nor in {FOLDER}. "
        f"Known: {known}"
    )
