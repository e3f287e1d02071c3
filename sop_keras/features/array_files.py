"""Arrays in files that nobody vouches for: NumPy's `.npy` and `.npz`."""

from __future__ import annotations

import io
import math
import mmap
import os
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from sop_keras.files.archives import check_unpacked
from sop_keras.files.untrusted import NO_LIMIT, open_untrusted

# Of a description of an array, which is a line of text.
_MAX_HEADER_BYTES = 10_000


def map_npy(path: Path) -> np.ndarray:
    """The array in a `.npy` file, read as it is used. Not to be written to.

    Raises:
        OSError: if it is no regular file, or cannot be read.
        ValueError: if it is no such file, holds Python objects, or has more or fewer
            bytes than its array.
    """
    with open_untrusted(path, NO_LIMIT) as file:
        size = os.fstat(file.fileno()).st_size
        dtype, shape, is_fortran, start = _header(file, size, str(path))
        if not math.prod(shape):
            return np.empty(shape, dtype)
        mapped = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    return _shaped(np.frombuffer(mapped, dtype, offset=start), shape, is_fortran)


def read_npz(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Arrays in a `.npz` file, in memory. Not to be written to.

    Args:
        path: the file.
        names: the arrays that are wanted; those that are not there are left out.

    Raises:
        OSError: if it is no regular file, or cannot be read.
        ValueError: if it is no such file, is damaged, unpacks to far more than it has,
            or an array is as for `map_npy`.
    """
    with open_untrusted(path, NO_LIMIT) as file:
        try:
            check_unpacked(file, path, {})
            with zipfile.ZipFile(file) as archive:
                members = archive.namelist()
                return {
                    name: _member(archive, f"{name}.npy", path)
                    for name in names
                    if f"{name}.npy" in members
                }
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            NotImplementedError,
            RuntimeError,  # an encrypted one
        ) as error:
            raise ValueError(
                f"{path} is no file of numpy.savez, or is damaged: {error}"
            ) from error


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> np.ndarray:
    content = archive.read(name)
    dtype, shape, is_fortran, start = _header(
        io.BytesIO(content), len(content), f"{path}: its {name}"
    )
    return _shaped(np.frombuffer(content, dtype, offset=start), shape, is_fortran)


def _shaped(flat: np.ndarray, shape: tuple[int, ...], is_fortran: bool) -> np.ndarray:
    return flat.reshape(shape[::-1]).T if is_fortran else flat.reshape(shape)


def _header(
    file: BinaryIO, size: int, what: str
) -> tuple[np.dtype, tuple[int, ...], bool, int]:
    """Type, shape, whether in Fortran's order, and where the content begins.

    Args:
        file: at its begin, and afterwards at that of the content.
        size: of the file, in bytes.
        what: it is, for errors.

    Raises:
        ValueError: if there is no array of this size.
    """
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    try:
        version = np.lib.format.read_magic(file)
        if version not in read:
            raise ValueError(f"its format has version {version}")
        shape, is_fortran, dtype = read[version](file, _MAX_HEADER_BYTES)
    except (ValueError, TypeError, SyntaxError, EOFError, RecursionError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"{what} is no array that numpy.save wrote: {reason}. Save it anew."
        ) from error
    if dtype.hasobject:
        raise ValueError(
            f"{what} holds Python objects, which are not read: they may run anything. "
            "Convert it, with astype(str) or astype('float32'), and save it anew."
        )
    start = file.tell()
    needed = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or size - start != needed:
        raise ValueError(
            f"{what} has {size - start:,} bytes of numbers, and {needed:,} are said to "
            f"be there: {dtype} of shape {shape}. It was cut off, or is damaged. Save "
            "it anew."
        )
    return dtype, shape, is_fortran, start
