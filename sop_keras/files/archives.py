"""Zip archives that nobody vouches for: how large they are when they are unpacked."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from typing import BinaryIO

from sop_keras.files.untrusted import read_text

MAX_RATIO = 20
"""How many times as large as the file its members may be; floats are hardly packed."""

FREE_BYTES = 2**26
"""How large the members may be, however small the file is: 64 MiB."""


def check_unpacked(
    file: BinaryIO, path: str | os.PathLike[str], limits: Mapping[str, int]
) -> int:
    """Check what the directory of an archive says of its members' sizes.

    A member never unpacks to more than that: `zipfile` ends there.

    Args:
        file: the archive, open.
        path: where it is, for errors.
        limits: the most bytes that members of these names may have.

    Returns:
        How many bytes all members have.

    Raises:
        ValueError: if one of `limits` has more, or all of them have more than
            `FREE_BYTES` and `MAX_RATIO` times the size of the file.
        zipfile.BadZipFile: if it is no archive.
    """
    with zipfile.ZipFile(file) as archive:
        sizes = [(one.filename, one.file_size) for one in archive.infolist()]
    for name, size in sizes:
        if size > limits.get(name, size):
            raise ValueError(
                f"{path}: its {name} has {size:,} bytes when it is unpacked, where at "
                f"most {limits[name]:,} are read. It is no file that was saved here."
            )
    total = sum(size for _, size in sizes)
    packed = file.seek(0, os.SEEK_END)
    file.seek(0)
    if total > FREE_BYTES + MAX_RATIO * packed:
        raise ValueError(
            f"{path} has {packed:,} bytes and {total:,} when it is unpacked, more than "
            f"{MAX_RATIO} times as many. It is not unpacked: weights are not packed "
            "like that. If it is good all the same, pack it anew without compression "
            "(zip -0)."
        )
    return total


def check_address_space(path: str | os.PathLike[str], num_bytes: int) -> None:
    """Check that a limit of the process leaves room for so many bytes.

    TensorFlow ends the process where it gets no memory. What there is of memory itself
    is not looked at: that changes from moment to moment.

    Args:
        path: what needs them, for the error.
        num_bytes: how many.

    Raises:
        MemoryError: if there is a limit (`ulimit -v`) and not so much is left of it.
    """
    try:
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        pages = int(read_text("/proc/self/statm").split()[0])
    except (ImportError, AttributeError, OSError):  # another platform
        return
    left = limit - pages * resource.getpagesize()
    if limit != resource.RLIM_INFINITY and num_bytes > left:
        raise MemoryError(
            f"{path} needs some {num_bytes:,} bytes of address space, and the limit of "
            f"this process (ulimit -v) leaves {max(left, 0):,}. Raise that limit."
        )
