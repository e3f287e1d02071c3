"""Folders that are written into, inside one that may come from somebody else."""

from __future__ import annotations

import os
from pathlib import Path

from sop_keras.files.atomic import OutputError, explained


class LinkedFolderError(OutputError):
    """A folder to write into that is a link to another place."""


def make_folder(folder: Path, inside: Path) -> None:
    """Make a folder, and those above it, if they are not there.

    Args:
        folder: `inside`, or a folder below it.
        inside: a folder that the user named. It may be a link; what is below it may
            not.

    Raises:
        LinkedFolderError: if one below `inside` is a link.
        OutputError: if it cannot be made.
    """
    check_not_linked(folder, inside)
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)


def check_not_linked(folder: Path, inside: Path) -> None:
    """Check that what is written into a folder stays inside another.

    Args:
        folder: `inside`, or a path below it; it need not be there.
        inside: as for `make_folder`.

    Raises:
        LinkedFolderError: if a folder below `inside` is a link.
    """
    place = inside
    for name in folder.relative_to(inside).parts:
        place = place / name
        if place.is_symlink():
            raise LinkedFolderError(
                f"{place} is a link to {os.readlink(place)!r}, and nothing is written "
                f"through links below {inside}. Remove it, or put a folder there."
            )
