"""A disk that a process, or the machine, stops at after so many of its operations."""

import os
import random
from pathlib import Path


class Stopped(BaseException):
    """The end of the process: nothing of it may go on."""


class UnreliableDisk:
    """Stands in for `os.pwrite`, `os.fsync` and `Path.unlink`.

    Args:
        monkeypatch: pytest's.
        seed: of what is lost.
        loses: whether the machine stops: of what was written to a file since it was
            flushed, any part is lost. Otherwise the process does, and all of it stays.
    """

    def __init__(self, monkeypatch, seed, loses):
        self._random = random.Random(seed)
        self._loses = loses
        self._left = None
        self._flushed = {}  # by file: its content when it was flushed
        self._waiting = {}  # by file: what was written since, and where
        self._pwrite, self._unlink = os.pwrite, Path.unlink
        monkeypatch.setattr(os, "pwrite", self._write)
        monkeypatch.setattr(os, "fsync", self._flush)
        monkeypatch.setattr(
            Path, "unlink", lambda path, missing_ok=False: self._remove(path)
        )

    def stop_after(self, count):
        """Stop within the operation of that number from now."""
        self._left = count

    def _is_over(self):
        if self._left is None:
            return False
        self._left -= 1
        return self._left < 0

    def _write(self, descriptor, data, place):
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        data = bytes(data)
        if is_over := self._is_over():
            data = data[: self._random.randrange(len(data) + 1)]
            # The head of a file is shorter than what disks write in one piece.
            if place == 0 and not path.rpartition(".")[2].startswith("undo"):
                data = b""
        self._flushed.setdefault(path, Path(path).read_bytes())
        self._waiting.setdefault(path, []).append((place, data))
        count = self._pwrite(descriptor, data, place) if data else 0
        if is_over:
            self._stop()
        return count

    def _flush(self, descriptor):
        if self._is_over():
            self._stop()
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if path.is_file():
            self._flushed[str(path)] = path.read_bytes()
            self._waiting[str(path)] = []

    def _remove(self, path):
        if self._is_over():
            self._stop()
        if path.exists():
            self._unlink(path)
        for known in (self._flushed, self._waiting):
            known.pop(str(path), None)

    def _stop(self):
        self._left = None
        if self._loses:
            for path, writes in self._waiting.items():
                self._lose(Path(path), writes)
        self._flushed, self._waiting = {}, {}
        raise Stopped

    def _lose(self, path, writes):
        if not path.exists():
            return
        size = path.stat().st_size
        content = bytearray(self._flushed[str(path)].ljust(size, b"\0"))
        for place, data in writes:
            if self._random.random() < 0.5:
                content[place : place + len(data)] = data
        path.write_bytes(content[:size])
