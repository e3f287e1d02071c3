"""`audit.py DATA`: the flags that a folder or a file stands for."""

from __future__ import annotations

import re
from pathlib import Path

import flagfiles
from command import CommandLine

_TABLES = (".csv", ".parquet")
_FEATURES = (".npy", ".npz")

# The flags that say what is audited, of which there is to be one.
_SAY_WHAT = ("dataset", "manifest", "features")

_EXPECTED = (
    "DATA is a folder that has a folder for each class, a table of paths and labels "
    "(.csv, .parquet), or features (.npy, .npz; .parquet with --labels=FILE)."
)


def flags_for(data: str, has_labels: bool = False) -> dict[str, str]:
    """What to audit, as flags say it, by their names.

    Args:
        data: the path of a folder of class folders, of a table or of features.
        has_labels: whether the labels are in a file of their own, so that a Parquet
            file is one of features. Defaults to `False`.

    Raises:
        FileNotFoundError: if there is nothing of that name.
        ValueError: if it is none of these.
    """
    path, kind = Path(data), Path(data).suffix.lower()
    if path.is_dir():
        return {"dataset": "image_folder", "data_dir": data}
    if not path.exists():
        raise FileNotFoundError(f"There is no {data}. {_EXPECTED}")
    if kind in _FEATURES or (kind == ".parquet" and has_labels):
        return {"features": data}
    if kind in _TABLES:
        return {"dataset": "manifest", "manifest": data}
    raise ValueError(f"{data} is nothing that can be audited. {_EXPECTED}")


def name_of(data: str) -> str:
    """What the results are called after a folder, also `"."`, or a file: its name."""
    path = Path(data).resolve()
    return re.sub(r"\W", "_", path.name if path.is_dir() else path.stem)


def set_flags(line: CommandLine) -> None:
    """Set the flags that the argument of a command line stands for.

    Args:
        line: of launch/audit.py, with one argument that is no flag.

    Raises:
        FileNotFoundError: as `flags_for`.
        ValueError: as `flags_for`; or if a flag on the command line says it, too.
    """
    (data,) = line.arguments
    found = flags_for(data, has_labels=line.flags.labels is not None)
    # Those of a flagfile are for others to win over.
    if twice := flagfiles.given(line.words, dict.fromkeys([*found, *_SAY_WHAT])):
        same = " ".join(f"--{name}={value}" for name, value in found.items())
        raise ValueError(
            f"{data} is short for {same}. Leave it out, or "
            f"{', '.join(f'--{name}' for name in twice)}."
        )
    for name, value in found.items():
        setattr(line.flags, name, value)
