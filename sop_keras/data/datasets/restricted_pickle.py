"""Numpy arrays out of a pickle that nobody vouches for.

Unpickling runs what the file names. Here it runs nothing: the calls that a pickled
array needs are written down, every other one is refused, and an array is built from the
record if that has the one form that numpy itself writes.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping

import numpy as np

from sop_keras.files.recorded_pickle import Call, no_references, recorded

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
        content = recorded(
            io.BytesIO(data),
            len(data),
            _STAND_INS,
            _refused,
            no_references(
                "The pickle refers to data outside of it, as torch tensors do. Only "
                "plain numpy arrays are read: call `.numpy()` on the tensors and save "
                "again."
            ),
            _MAX_OPERATIONS,
        )
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


class _Reconstruct(Call):
    pass


class _DType(Call):
    pass


class _Encode(Call):
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


def _refused(name: str) -> str:
    return (
        f"The pickle asks for {name!r}. Only plain numpy arrays are read, which need "
        "no such name; nothing of it was run."
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
