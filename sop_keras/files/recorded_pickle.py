"""Pickles that nobody vouches for: their calls are written down, and none is made.

Unpickling runs what the file names. Here each name that a file may use stands for a
record of the call, every other one is refused, and who reads the file builds arrays
from the records that have the one form they expect.
"""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NoReturn


class RefusedPickleError(ValueError):
    """The pickle asks for what it does not need."""


class Call:
    """A call that a pickle asks for, with the state it gives to the result."""

    args: tuple[Any, ...] = ()
    state: object = None

    def __init__(self, *args: Any):
        self.args = args

    def __setstate__(self, state: object) -> None:
        self.state = state


def recorded(
    file: BinaryIO,
    size: int,
    stand_ins: Mapping[tuple[str, str], object],
    refused: Callable[[str], str],
    persistent: Callable[[Any], object],
    max_operations: int,
) -> Any:
    """What a pickle holds, its calls replaced by records of them.

    Args:
        file: open at the pickle's first byte, and after it left at its end.
        size: of the whole file, in bytes: what a pickle in it may ask for at most.
        stand_ins: by module and name, all that the pickle may use; `Call` or a class
            derived from it for what it calls.
        refused: the error for any other name, as text.
        persistent: what a reference to data outside of the pickle stands for; it may
            raise `RefusedPickleError`.
        max_operations: the most operations of the pickle.

    Raises:
        RefusedPickleError: for a name that is no stand-in.
        ValueError: for a pickle that is damaged or made to exhaust memory.
    """
    start = file.tell()
    try:
        _check_operations(file, size, max_operations)
        file.seek(start)
        return _RecordingUnpickler(file, stand_ins, refused, persistent).load()
    except RefusedPickleError:
        raise
    # Spoilt bytes make the unpickler raise nearly anything.
    except Exception as error:
        raise ValueError(
            f"The pickle is damaged ({type(error).__name__}: {error})."
        ) from error


def _check_operations(file: BinaryIO, size: int, max_operations: int) -> None:
    for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        # A tuple nested a million times ends the process when it is hashed.
        if number == max_operations:
            raise ValueError(f"more than {max_operations} operations")
        # The unpickler makes its table of memos as long as the largest index, of up to
        # four bytes: 64 GB.
        if opcode.name not in ("PUT", "LONG_BINPUT"):
            continue
        if isinstance(argument, int) and argument > size:
            raise ValueError(f"memo {argument} in {size} bytes")


class _RecordingUnpickler(pickle.Unpickler):
    def __init__(
        self,
        file: BinaryIO,
        stand_ins: Mapping[tuple[str, str], object],
        refused: Callable[[str], str],
        persistent: Callable[[Any], object],
    ):
        super().__init__(file)
        self._stand_ins = stand_ins
        self._refused = refused
        self._persistent = persistent

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._stand_ins:
            raise RefusedPickleError(self._refused(f"{module}.{name}"[:80]))
        return self._stand_ins[module, name]

    def persistent_load(self, pid: Any) -> object:
        return self._persistent(pid)


def no_references(reason: str) -> Callable[[Any], NoReturn]:
    """Refuses all references to data outside of a pickle, with this reason."""

    def refuse(pid: Any) -> NoReturn:
        raise RefusedPickleError(reason)

    return refuse
