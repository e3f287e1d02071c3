"""What names an image: a digest of its content, wherever it lies."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sop_keras.data.datasets.dataset import Examples
from sop_keras.data.images.bad_images import BadImages
from sop_keras.data.images.encoded_images import EncodedImages, ImageFiles
from sop_keras.features.known_files import KnownFiles

logger = logging.getLogger(__name__)

DIGEST = np.dtype("S16")
"""Of a digest: 16 bytes."""

# Images that are looked at together, by all threads.
_BLOCK = 4096

# Files whose sizes a thread looks up at a time: one is too little to hand over.
_PART = 256

# A file may be changed again within what its file system takes for one moment: of
# those younger than so many nanoseconds, the time of change proves nothing.
_YOUNG = 2_000_000_000


@dataclass(frozen=True)
class Contents:
    """The contents of some images.

    Args:
        digests: `DIGEST`, shape `(n,)`; zeros where an image cannot be read.
        can_read: bool, shape `(n,)`.
        was_other: bool, shape `(n,)`: whether the file at this place was known with
            another content.
    """

    digests: np.ndarray
    can_read: np.ndarray
    was_other: np.ndarray


def digest_of_file(content: bytes) -> bytes:
    """Of an encoded image."""
    return hashlib.blake2b(content, digest_size=16, person=b"image file").digest()


def digest_of_pixels(image: np.ndarray) -> bytes:
    """Of an array of pixels, uint8 of shape `(height, width, channels)`."""
    digest = hashlib.blake2b(digest_size=16, person=b"pixels")
    digest.update(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.digest()


def contents_of(
    examples: Examples, known: KnownFiles, bad_images: BadImages, split: str
) -> Contents:
    """The digests of all images.

    Pixels are digested each time. Files that are known, and of which the file system
    says what it said then, are not read. Other encoded images, such as records, have no
    times: they are read each time.

    Args:
        examples: of which images.
        known: the files that were read before; those that are read now are added.
        bad_images: what images that cannot be read are reported to.
        split: what to call the examples in such reports.

    Raises:
        TooManyBadImagesError: if more cannot be read than `bad_images` takes.
        MemoryError: if there is too little memory for one.
    """
    images, num_images = examples.images, len(examples)
    contents = Contents(
        np.zeros(num_images, DIGEST),
        np.ones(num_images, bool),
        np.zeros(num_images, bool),
    )
    if not isinstance(images, EncodedImages):
        for position in range(num_images):
            contents.digests[position] = digest_of_pixels(images[position])
        return contents
    num_read = 0
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for start in range(0, num_images, _BLOCK):
            block = np.arange(start, min(start + _BLOCK, num_images))
            num_read += _read_block(
                block, examples, known, bad_images, split, contents, pool
            )
    logger.info("Read %d of %d images to know their contents.", num_read, num_images)
    return contents


_Stats = tuple[int, int, int, int]

_NOT_THERE: _Stats = (-1, -1, -1, -1)


@dataclass(frozen=True)
class _Look:
    """What was seen of a file: its digest, and what to know it again by."""

    digest: bytes = b""
    stats: _Stats = _NOT_THERE
    error: OSError | None = None

    @property
    def is_lasting(self) -> bool:
        """Whether `stats` tells that the file is the same."""
        return self.stats[0] >= 0


def _read_block(
    block: np.ndarray,
    examples: Examples,
    known: KnownFiles,
    bad_images: BadImages,
    split: str,
    contents: Contents,
    pool: ThreadPoolExecutor,
) -> int:
    """Fill in what some images hold; how many of them had to be read."""
    images = examples.images
    assert isinstance(images, EncodedImages)
    to_read, keys = block, None
    if isinstance(images, ImageFiles):
        paths = list(_paths(images, block))
        keys = np.array([known.key(path) for path in paths], DIGEST)
        parts = [paths[i : i + _PART] for i in range(0, len(paths), _PART)]
        stats = np.concatenate(list(pool.map(_all_stats, parts)))
        before, is_same = known.find(keys, stats)
        contents.digests[block[is_same]] = before[is_same]
        to_read = block[~is_same]
    looks = list(pool.map(lambda one: _look(images, int(one)), to_read))
    for position, look in zip(to_read.tolist(), looks, strict=True):
        contents.digests[position] = look.digest
        if look.error is not None:
            contents.can_read[position] = False
            _report(look.error, position, examples, bad_images, split)
    if keys is not None:
        now = contents.digests[block]
        is_known = before != b""
        contents.was_other[block] = is_known & (before != now) & (now != b"")
        lasting = [i for i, look in enumerate(looks) if look.is_lasting]
        known.add(
            keys[~is_same][lasting],
            np.array([looks[i].stats for i in lasting], np.int64).reshape(-1, 4),
            now[~is_same][lasting],
        )
    return len(to_read)


def _report(
    error: OSError,
    position: int,
    examples: Examples,
    bad_images: BadImages,
    split: str,
) -> None:
    """Report an image that cannot be read."""
    images = examples.images
    assert isinstance(images, EncodedImages)
    identity, name = int(examples.ids[position]), images.name(position)
    bad_images.leave_out(split, identity, name, error, len(images))


def _paths(images: ImageFiles, block: np.ndarray) -> Iterator[bytes]:
    folder = os.fsencode(Path(images.folder).absolute())
    for name in images.names[block].tolist():
        yield os.path.join(folder, name)


def _stats(path: bytes) -> _Stats:
    """What `KnownFiles` knows a file by; of what is not there, -1."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # a NUL character; both are said by the reader
        return _NOT_THERE
    number = status.st_ino % 2**63
    return status.st_size, status.st_mtime_ns, number, status.st_ctime_ns


def _all_stats(paths: list[bytes]) -> np.ndarray:
    return np.array([_stats(path) for path in paths], np.int64)


def _look(images: EncodedImages, position: int) -> _Look:
    path = b""
    if isinstance(images, ImageFiles):
        (path,) = _paths(images, np.array([position]))
    now, before = time.time_ns(), _stats(path)
    try:
        content = images.read(position)
    except OSError as error:
        return _Look(error=error)
    digest = digest_of_file(content)
    is_lasting = before == _stats(path) and before[1] < now - _YOUNG
    return _Look(digest, before) if is_lasting else _Look(digest)
