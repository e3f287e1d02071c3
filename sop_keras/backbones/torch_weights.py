"""Weights in the file format that PyTorch wrote before version 1.6, without PyTorch.

Such a file is a row of pickles: a magic number, a version, how wide integers are, a
dict of tensors that name the storages they lie in, and the storages' names; then comes
each storage, its length and its numbers. Nothing that a pickle names is run.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from sop_keras.files.recorded_pickle import Call, RefusedPickleError, recorded
from sop_keras.files.untrusted import open_untrusted

MAX_BYTES = 2**30
"""The largest file that is read: 1 GiB."""

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001

# The published file of EfficientNet-Lite0 has 12,400.
_MAX_OPERATIONS = 1_000_000

_LENGTH = np.dtype("<i8")


class _Dict(dict):
    """An OrderedDict, without the notes that modules add to it."""

    def __setstate__(self, state: object) -> None:
        pass


class _Tensor(Call):
    pass


class _Storage:
    """A reference to numbers that come after the pickles."""

    def __init__(self, dtype: np.dtype, key: str, size: int):
        self.dtype = dtype
        self.key = key
        self.size = size


# Instances, not classes: a pickle can neither call nor change them.
_STORAGES = {
    ("torch", "FloatStorage"): np.dtype("<f4"),
    ("torch", "LongStorage"): np.dtype("<i8"),
}
_STAND_INS: dict[tuple[str, str], object] = {
    ("collections", "OrderedDict"): _Dict,
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
    **_STORAGES,
}


def read_torch_weights(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The tensors of a file, by name: float32 or int64 arrays of their shapes.

    Args:
        path: the file, that `torch.save` wrote of a module's `state_dict` before
            version 1.6 (or with `_use_new_zipfile_serialization=False`).

    Raises:
        OSError: if it cannot be read, or has more than `MAX_BYTES` bytes.
        ValueError: if it is of another format or damaged, has tensors of other types,
            or asks for anything but tensors.
    """
    with open_untrusted(path, MAX_BYTES) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        try:
            return _tensors(file, size)
        except ValueError as error:
            raise ValueError(
                f"{os.fspath(path)!r} is no file of weights that PyTorch wrote before "
                f"version 1.6, or is damaged: {error}"
            ) from error


def _tensors(file: BinaryIO, size: int) -> dict[str, np.ndarray]:
    def load(persistent: Callable[[Any], object] = _no_storage) -> Any:
        return recorded(file, size, _STAND_INS, _refused, persistent, _MAX_OPERATIONS)

    if load() != _MAGIC:
        raise ValueError("it does not begin like one.")
    version = load()
    if version != _VERSION:
        raise ValueError(f"its version is {version!r}, not {_VERSION}.")
    system = load()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError("its numbers are not in little-endian order.")
    known: dict[str, _Storage] = {}

    def storage(pid: Any) -> _Storage:
        found = _storage(pid)
        first = known.setdefault(found.key, found)
        if (first.dtype, first.size) != (found.dtype, found.size):
            raise RefusedPickleError("two storages have one name.")
        return first

    tensors = load(storage)
    if not isinstance(tensors, dict) or not all(type(key) is str for key in tensors):
        raise ValueError("it holds no dict of tensors by name.")
    contents = _contents(file, size, load(), known)
    return {name: _array(name, one, contents) for name, one in tensors.items()}


def _contents(
    file: BinaryIO, size: int, keys: Any, known: dict[str, _Storage]
) -> dict[str, np.ndarray]:
    """The storages, which follow in the order of these keys."""
    if not isinstance(keys, list) or len(keys) != len(known) or {*keys} != {*known}:
        raise ValueError("its storages are not those of its tensors.")
    contents = {}
    for key in keys:
        one = known[key]
        length = file.read(_LENGTH.itemsize)
        num_bytes = one.size * one.dtype.itemsize
        if length != np.array(one.size, _LENGTH).tobytes():
            raise ValueError(f"a storage is not of {one.size} numbers as announced.")
        if num_bytes > size - file.tell():
            raise ValueError("it is cut short.")
        contents[key] = np.frombuffer(file.read(num_bytes), one.dtype)
    return contents


def _array(name: str, node: object, contents: dict[str, np.ndarray]) -> np.ndarray:
    """The tensor that a record describes: the part of a storage that it views."""
    match node:
        case _Tensor(
            args=(_Storage() as one, int(start), tuple(shape), tuple(strides), *_)
        ) if len(shape) == len(strides):
            content = contents[one.key]
            if _is_inside(start, shape, strides, len(content)):
                view = np.lib.stride_tricks.as_strided(
                    content[start:],
                    shape,
                    [stride * content.itemsize for stride in strides],
                    writeable=False,
                )
                return np.ascontiguousarray(view).reshape(shape)
    raise ValueError(f"{name!r} is no tensor in the form that PyTorch writes.")


def _is_inside(start: int, shape: Any, strides: Any, size: int) -> bool:
    """Whether all that a view reads, once each, is in a storage of this size."""
    if not all(type(one) is int and one >= 0 for one in (start, *shape, *strides)):
        return False
    if math.prod(shape) > size:  # what is read several times could have no end
        return False
    last = sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    return 0 in shape or start + last < size


def _storage(pid: Any) -> _Storage:
    match pid:
        case ("storage", np.dtype() as dtype, str(key), "cpu", int(count), None) if (
            count >= 0
        ):
            return _Storage(dtype, key, count)
    raise RefusedPickleError(
        "a tensor does not lie in a storage of float32 or int64 numbers."
    )


def _no_storage(pid: Any) -> object:
    raise RefusedPickleError("it refers to data where there are none.")


def _refused(name: str) -> str:
    return f"it asks for {name!r}, which tensors do not need; nothing of it was run."
