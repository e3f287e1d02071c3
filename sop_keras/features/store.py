"""A folder of features, a row for each content of an image."""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from sop_keras.features.contents import DIGEST
from sop_keras.features.known_files import KnownFiles
from sop_keras.features.store_record import (
    SEGMENT_ROWS,
    DamagedRecordError,
    FeatureStoreError,
    StoreRecord,
    Sums,
    differences,
    read_record,
)
from sop_keras.files.atomic import check_room, explained
from sop_keras.files.growing import GrowingFile
from sop_keras.files.untrusted import NO_LIMIT, open_untrusted
from sop_keras.training.run_lock import RunLock

logger = logging.getLogger(__name__)

RECORD, FEATURES = "features.json", "features.f32"
DIGESTS, FILES = "features.digests", "features.files"
"""The files of a store."""

COMMIT_SECONDS = 5.0
"""How much work a kill costs at most, in seconds, and one batch."""

_FLOAT = np.dtype("<f4")
_PIECE_BYTES = 2**20


class FeatureStore:
    """Keeps the features of images, a row for each content.

    A row is named by a digest of its image's content, so that a renamed or moved image
    keeps its row, and a changed one gets a new one. Rows are added and never removed:
    that of an image that is gone costs its bytes on disk, and is there when the image
    comes back. docs/features.md says what the files are.

    Rows are added by one process at a time, which has the folder locked as a run has
    its own. A process that is killed loses what it made in the last `COMMIT_SECONDS`:
    the next one goes on from the record, and what was written beyond it is dropped.

    Args:
        folder: where the files are; made when features are made.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder)

    @contextlib.contextmanager
    def opened(
        self, network: Mapping[str, Any], num_features: int
    ) -> Iterator[StoredRows]:
        """The rows of a network's features, to find and to add; locked meanwhile.

        Where the store has features of another network, or is damaged as a whole, it is
        begun anew and a warning says why. A segment whose checksum does not fit any
        more is left out: its images have no row then.

        Args:
            network: `FeatureNetwork.record()`.
            num_features: D, of an image.

        Raises:
            RunLockedError: if another process has it open.
            FeatureStoreError: if the folder has another program's files of these names,
                or a later version's.
            OutputError: if it cannot be written to.
        """
        with RunLock(self.folder) as lock:
            record = self._usable_record(network, num_features)
            rows = StoredRows(self.folder, record, lock.check)
            try:
                yield rows
            finally:
                rows.close()

    def _usable_record(
        self, network: Mapping[str, Any], num_features: int
    ) -> StoreRecord:
        """The record of what is there; of nothing, if that cannot be gone on with."""
        path = self.folder / RECORD
        reason = ""
        try:
            record = read_record(path)
            if record is not None:
                if different := differences(record.network, network):
                    reason = f"the network is another one: {different}"
                elif record.num_features != num_features:
                    raise DamagedRecordError(
                        "its record has another number of features"
                    )
                else:
                    self._check_sizes(record)
                    return record
            elif os.path.lexists(self.folder / FEATURES):
                raise FeatureStoreError(
                    f"{self.folder} has a {FEATURES} and no {RECORD} that says what it "
                    "is: nothing there is touched. Choose another folder, or remove "
                    "that file."
                )
        except DamagedRecordError as error:
            reason = f"it is damaged: {error}"
        if reason:
            logger.warning("The features in %s are made anew; %s.", self.folder, reason)
        record = StoreRecord(dict(network), num_features, 0, [])
        record.write(path)
        return record

    def _check_sizes(self, record: StoreRecord) -> None:
        row_bytes = record.num_features * _FLOAT.itemsize
        for name, size in ((FEATURES, row_bytes), (DIGESTS, DIGEST.itemsize)):
            if not record.num_rows:
                return  # the files are made anew
            needed = record.num_rows * size
            try:
                with open_untrusted(self.folder / name, NO_LIMIT) as file:
                    found = os.fstat(file.fileno()).st_size
            except FileNotFoundError:
                raise DamagedRecordError(f"{name} is missing") from None
            if found < needed:
                raise DamagedRecordError(
                    f"{name} has {found:,} bytes, and its record tells of {needed:,}"
                )


class StoredRows:
    """The rows of a store that is open; made by `FeatureStore.opened`.

    Args:
        folder: the store's.
        record: what is in its files.
        check_lock: called before anything is written for good.

    Attributes:
        known_files: which files had which content.
    """

    def __init__(
        self, folder: Path, record: StoreRecord, check_lock: Callable[[], None]
    ):
        self._folder = folder
        self._record = record
        self._check_lock = check_lock
        self._row_bytes = record.num_features * _FLOAT.itemsize
        self.known_files = KnownFiles(folder / FILES)
        self._digests = self._read_digests()
        self._is_changed = False
        self._lose_damaged()
        self._index: tuple[np.ndarray, np.ndarray] | None = None
        self._added: list[np.ndarray] = []
        self._committed = time.monotonic()
        with contextlib.ExitStack() as stack:
            files = []
            for name, size in ((FEATURES, self._row_bytes), (DIGESTS, DIGEST.itemsize)):
                file = GrowingFile(folder / name, record.num_rows * size)
                stack.callback(file.close)
                files.append(file)
            self._features_file, self._digests_file = files
            self._close_files = stack.pop_all()

    @property
    def num_rows(self) -> int:
        """How many rows there are, those that were lost among them."""
        return self._record.num_rows

    @property
    def num_good(self) -> int:
        """How many rows there are, without those that were lost."""
        return int(self._good_rows().sum())

    def find(self, digests: np.ndarray) -> np.ndarray:
        """The rows of some contents.

        Args:
            digests: `DIGEST`, shape `(n,)`.

        Returns:
            int64, shape `(n,)`; -1 where there is none.
        """
        if self._index is None:
            self._digests = np.concatenate([self._digests, *self._added])
            self._added = []
            (good,) = np.nonzero(self._good_rows())
            order = good[np.argsort(self._digests[good], kind="stable")]
            self._index = order, self._digests[order]
        order, known = self._index
        if not len(order):
            return np.full(len(digests), -1, np.int64)
        places = np.minimum(np.searchsorted(known, digests), len(order) - 1)
        return np.where(known[places] == digests, order[places], -1).astype(np.int64)

    def check_room(self, num_images: int) -> None:
        """Check that the disk has room for the rows of so many images.

        Raises:
            OutputError: if it has not.
        """
        path = self._folder / FEATURES
        with explained(path):
            check_room(path, num_images * (self._row_bytes + DIGEST.itemsize))

    def append(self, features: np.ndarray, digests: np.ndarray) -> None:
        """Add rows. They last from the next `commit` on, every few seconds one.

        Args:
            features: float32, shape `(n, num_features)`.
            digests: `DIGEST`, shape `(n,)`, of contents that have no row yet.

        Raises:
            OutputError: if they cannot be written; nothing more can be added then.
            RunLockedError: if another process took the store over.
        """
        if self._record.segments and self._record.segments[-1].is_lost:
            self._fill_last_segment()
        self._add(np.ascontiguousarray(features, _FLOAT), digests)
        self._index = None
        if time.monotonic() - self._committed >= COMMIT_SECONDS:
            self.commit()

    def _add(self, floats: np.ndarray, digests: np.ndarray) -> None:
        self._is_changed = True
        self._features_file.append(floats.data)
        self._digests_file.append(digests.tobytes())
        self._add_sums(floats, digests)
        self._added.append(digests.copy())

    def _fill_last_segment(self) -> None:
        """With rows of nothing, so that the next row is not in a lost segment."""
        missing = -self.num_rows % SEGMENT_ROWS
        floats = np.zeros((missing, self._record.num_features), _FLOAT)
        self._add(floats, np.zeros(missing, DIGEST))

    def commit(self) -> None:
        """Have all rows on disk, and only then a record that tells of them.

        Raises:
            OutputError: if they cannot be written.
            RunLockedError: if another process took the store over.
        """
        if self._is_changed:
            self._features_file.flush()
            self._digests_file.flush()
            self._check_lock()
            self._record.write(self._folder / RECORD)
            self._is_changed = False
        self._committed = time.monotonic()

    def features(self) -> np.ndarray:
        """All rows, float32 of shape `(num_rows, num_features)`, mapped from the file.

        Not to be written to. They stay as they are while rows are added, and when the
        store is begun anew.
        """
        shape = self.num_rows, self._record.num_features
        if not self.num_rows:
            return np.empty(shape, _FLOAT)
        with open_untrusted(self._folder / FEATURES, NO_LIMIT) as file:
            num_bytes = self.num_rows * self._row_bytes
            mapped = mmap.mmap(file.fileno(), num_bytes, access=mmap.ACCESS_READ)
        return np.frombuffer(mapped, _FLOAT).reshape(shape)

    def close(self) -> None:
        """Close the files. Rows that were not committed are lost."""
        self._close_files.close()

    def _add_sums(self, floats: np.ndarray, digests: np.ndarray) -> None:
        done, segments = 0, self._record.segments
        while done < len(floats):
            place = self.num_rows % SEGMENT_ROWS
            if not place:
                segments.append(Sums())
            part = slice(done, done + min(SEGMENT_ROWS - place, len(floats) - done))
            sums = segments[-1]
            sums.features = zlib.crc32(floats[part].data, sums.features)
            sums.digests = zlib.crc32(digests[part].tobytes(), sums.digests)
            self._record.num_rows += part.stop - done
            done = part.stop

    def _good_rows(self) -> np.ndarray:
        is_good = [not segment.is_lost for segment in self._record.segments]
        return np.repeat(np.array(is_good, bool), SEGMENT_ROWS)[: self.num_rows]

    def _read_digests(self) -> np.ndarray:
        if not self.num_rows:
            return np.empty(0, DIGEST)
        with open_untrusted(self._folder / DIGESTS, NO_LIMIT) as file:
            content = file.read(self.num_rows * DIGEST.itemsize)
        return np.frombuffer(content, DIGEST)

    def _lose_damaged(self) -> None:
        """Mark the segments that are not what was written; all are read once."""
        segments = self._record.segments
        numbers = [i for i, one in enumerate(segments) if not one.is_lost]
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            are_whole = list(pool.map(self._is_whole, numbers))
        for number, is_whole in zip(numbers, are_whole, strict=True):
            if is_whole:
                continue
            segments[number].is_lost = self._is_changed = True
            logger.warning(
                "Rows %d to %d of %s are damaged: those of them that are needed are "
                "made anew.",
                number * SEGMENT_ROWS,
                min((number + 1) * SEGMENT_ROWS, self.num_rows) - 1,
                self._folder / FEATURES,
            )

    def _is_whole(self, number: int) -> bool:
        start = number * SEGMENT_ROWS
        end = min(start + SEGMENT_ROWS, self.num_rows)
        left, features = (end - start) * self._row_bytes, 0
        with open_untrusted(self._folder / FEATURES, NO_LIMIT) as file:
            file.seek(start * self._row_bytes)
            while left and (piece := file.read(min(left, _PIECE_BYTES))):
                features = zlib.crc32(piece, features)
                left -= len(piece)
        digests = zlib.crc32(self._digests[start:end].tobytes())
        sums = self._record.segments[number]
        return not left and (features, digests) == (sums.features, sums.digests)
