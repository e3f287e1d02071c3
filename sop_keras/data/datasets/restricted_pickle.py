"""Numpy arrays out of a pickle that nobody vouches for.

Unpickling runs what the file names. Here it runs nothing: the calls that a pickled
array needs are written down, every other one is refused, and an array is built from the
record if that has the one form that numpy itself writes.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import numpy as np

_INTEGER_CODES = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")


# The published files have a few hundred.
_MAX_OPERATIONS = 10_000


class PickledArrays(Mapping[str, np.ndarray]):
    """A pickled dict of integer arrays with one axis; nothing of it is run.

    Such is what `torch.save` puts into `data.pkl` for a dict of numpy arrays. The
    names that the pickle may use are `_reconstruct` of `numpy.core.multiarray` (or
    `numpy._core.multiarray`), `numpy.ndarray`, `numpy.dtype` and `_codecs.encode`; not
    even these are called. An array is built when it is asked for, so memory is bounded
    by the size of the pickle times the number of arrays asked for.

        labels = PickledArrays(pickle.dumps({"a": np.arange(3)}, protocol=2))
        labels["a"]  # array([0, 1, 2])

    Args:
        data: the pickle.

    Raises:
        ValueError: if the pickle uses another name (the text says which), holds
            tensors, is cut short, or is not one of a dict with texts as keys. Asking
            for an entry raises it if that is not an array of integers with one axis,
            as numpy pickles it up to pickle protocol 4.
    """

    def __init__(self, data: bytes):
        try:
            _check_size(data)
            content = _RecordingUnpickler(io.BytesIO(data)).load()
        except _RefusedError:
            raise
        # Spoilt bytes make the unpickler raise nearly anything.
        except Exception as error:
            raise ValueError(
                f"The pickle is damaged ({type(error).__name__}: {error})."
            ) from error
        if type(content) is not dict or not all(type(key) is str for key in content):
            is_array = isinstance(content, _Reconstruct)
            received = "array" if is_array else type(content).__name__
            raise ValueError(
                "The pickle must be one of a dict of numpy arrays with texts as keys. "
                f"Received: one of type {received}."
            )
        self._content: dict[str, object] = content

    def __getitem__(self, key: str) -> np.ndarray:
        try:
            return _array(self._content[key])
        except ValueError as error:
            raise ValueError(f"Entry `{key}` of the pickle: {error}") from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)


class _RefusedError(ValueError):
    """The pickle asks for what plain numpy arrays do not need."""


class _Call:
    """A call that the pickle asks for, with the state it gives to the result."""

    args: tuple[Any, ...] = ()
    state: object = None

    def __init__(self, *args: Any):
        self.args = args

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Reconstruct(_Call):
    pass


class _DType(_Call):
    pass


class _Encode(_Call):
    pass


# A bare object: neither callable nor with attributes that a pickle could set.
_NDARRAY = object()

_STAND_INS: dict[tuple[str, str], object] = {
    ("numpy.core.multiarray", "_reconstruct"): _Reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _Reconstruct,
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _Encode,
}


def _check_size(data: bytes) -> None:
    for number, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        # A tuple nested a million times ends the process when it is hashed.
        if number == _MAX_OPERATIONS:
            raise ValueError(f"more than {_MAX_OPERATIONS} operations")
        # The unpickler makes its table of memos as long as the largest index, of up to
        # four bytes: 64 GB.
        if opcode.name not in ("PUT", "LONG_BINPUT"):
            continue
        if isinstance(argument, int) and argument > len(data):
            raise ValueError(f"memo {argument} in {len(data)} bytes")


class _RecordingUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STAND_INS:
            raise _RefusedError(
                f"The pickle asks for {f'{module}.{name}'[:80]!r}. Only plain numpy "
                "arrays are read, which need no such name; nothing of it was run."
            )
        return _STAND_INS[module, name]

    def persistent_load(self, pid: Any) -> NoReturn:
        raise _RefusedError(
            "The pickle refers to data outside of it, as torch tensors do. Only plain "
            "numpy arrays are read: call `.numpy()` on the tensors and save again."
        )


def _array(node: object) -> np.ndarray:
    """The array that a record describes, if it has the form that numpy writes."""
    match node:
        # Version 1 of an array's state: shape, type, whether in Fortran's order, and
        # the content.
        case _Reconstruct(
            args=(_, (0,), _),
            state=(1, (int(size),), _DType() as dtype, False, content),
        ):
            array = np.frombuffer(dtype=_dtype(dtype), buffer=_bytes(content))
            if len(array) != size:
                raise ValueError(f"It must hold {size} integers, not {len(array)}.")
            return array
    raise ValueError(
        "It must be a numpy array with one axis, pickled by protocol 4 or before."
    )


def _dtype(node: _DType) -> np.dtype:
    match node:
        # Version 3 of a type's state: byte order, no fields, sizes as they come.
        case _DType(
            args=(str(code), *_),
            state=(3, "<" | ">" | "|" as order, None, None, None, -1, -1, 0),
        ) if code in _INTEGER_CODES:
            return np.dtype(order + code)
    raise ValueError(f"It must have one of the types {', '.join(_INTEGER_CODES)}.")


def _bytes(node: object) -> bytes:
    match node:
        case bytes():
            return node
        # Before protocol 3 bytes are a text whose characters are 0 to 255.
        case _Encode(args=(str(text), "latin1")):
            return text.encode("latin1")
    raise ValueError("Its content must be bytes.")
