"""Files that were read once: their contents' digests, until these change."""

from __future__ import annotations

import hashlib
import logging
import zlib
from pathlib import Path

import numpy as np

from sop_keras.files.atomic import replacing
from sop_keras.files.untrusted import open_untrusted

logger = logging.getLogger(__name__)

# A file: what names its path; its size, time of change in nanoseconds, number in the
# file system and time of the last change to all of these; and what names its content.
# The last two tell files of equal sizes and times that changed places.
_ENTRY = np.dtype([("key", "S16"), ("stats", "<i8", 4), ("digest", "S16")])
_MARK, _EARLIER_MARK = b"sop_keras files 2\n", b"sop_keras files 1\n"
_CHECK_BYTES = 4

# Of some 67 million files.
_MAX_BYTES = 2**32


class KnownFiles:
    """Which file had which content, by path and what the file system says of it.

    In memory and on disk it is an array of 64 bytes a file, sorted by the digests of
    the paths; on disk, after a mark and before a checksum. What is damaged is left out
    with a warning, and what an earlier version wrote: then files are read again, which
    is all that this saves. They are, too, where they or this were copied.

    Args:
        path: where it is kept.

    Raises:
        OSError: if it cannot be read for a reason of the disk, is no regular file, or
            has more than 4 GiB.
    """

    def __init__(self, path: Path):
        self._path = path
        self._entries = _read(path)
        # By itself: a search would copy it out of the entries each time.
        self._keys = np.ascontiguousarray(self._entries["key"])
        self._added: list[np.ndarray] = []

    @staticmethod
    def key(path: bytes) -> bytes:
        """16 bytes that stand for a path."""
        return hashlib.blake2b(path, digest_size=16, person=b"path").digest()

    def find(
        self, keys: np.ndarray, stats: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """What is known of some files.

        Args:
            keys: of their paths, `S16`, shape `(n,)`.
            stats: sizes, times of change in nanoseconds, numbers (`st_ino`) and times
                of the last change to these (`st_ctime_ns`), int64, shape `(n, 4)`.

        Returns:
            Digests of their contents when they were read, `S16` of shape `(n,)`, empty
            where a file is not known; and whether all of `stats` is that of then, bool.
        """
        entries = self._entries
        if not len(entries):
            return np.zeros(len(keys), "S16"), np.zeros(len(keys), bool)
        places = np.searchsorted(self._keys, keys)
        found = entries[np.minimum(places, len(entries) - 1)]
        is_known = found["key"] == keys
        is_same = is_known & (found["stats"] == stats).all(axis=1)
        return np.where(is_known, found["digest"], b"").astype("S16"), is_same

    def add(self, keys: np.ndarray, stats: np.ndarray, digests: np.ndarray) -> None:
        """Remember files, from the next `keep` on. Arguments are as of `find`."""
        if len(keys):
            entries = np.empty(len(keys), _ENTRY)
            entries["key"], entries["digest"] = keys, digests
            entries["stats"] = stats
            self._added.append(entries)

    def keep(self) -> None:
        """Write what was added, if anything was.

        Raises:
            OutputError: where it cannot be written. What was there is as it was.
        """
        if not self._added:
            return
        # The last of equal keys is the newest: found first from the end.
        entries = np.concatenate([self._entries, *self._added])[::-1]
        _, first = np.unique(entries["key"], return_index=True)
        self._entries, self._added = entries[first], []
        self._keys = np.ascontiguousarray(self._entries["key"])
        content = self._entries.tobytes()
        with replacing(self._path) as partial, partial.open("wb") as file:
            file.write(_MARK)
            file.write(content)
            file.write(zlib.crc32(content).to_bytes(_CHECK_BYTES, "little"))


def _read(path: Path) -> np.ndarray:
    try:
        with open_untrusted(path, _MAX_BYTES) as file:
            content = file.read()
    except FileNotFoundError:
        return np.empty(0, _ENTRY)
    if content.startswith(_EARLIER_MARK):
        logger.info("%s is of an earlier version: files are read again.", path)
        return np.empty(0, _ENTRY)
    entries, check = content[len(_MARK) : -_CHECK_BYTES], content[-_CHECK_BYTES:]
    if (
        not content.startswith(_MARK)
        or len(entries) % _ENTRY.itemsize
        or int.from_bytes(check, "little") != zlib.crc32(entries)
    ):
        logger.warning("%s is damaged: files are read again to know them.", path)
        return np.empty(0, _ENTRY)
    return np.frombuffer(entries, _ENTRY)
