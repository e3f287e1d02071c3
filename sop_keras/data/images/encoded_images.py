"""Images in files, decoded when a batch asks for them."""

from __future__ import annotations

import logging
import os
import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TypeVar

import numpy as np

from sop_keras.files.shown_text import shown
from sop_keras.files.untrusted import open_untrusted

logger = logging.getLogger(__name__)

MAX_IMAGE_BYTES = 2**28
"""The largest encoded image that is read where no other limit is set: 256 MiB."""

RAISE_IMAGE_BYTES = "--max_image_bytes (max_image_bytes of DataFiles)"
"""What raises that limit, for errors."""

EXACT, FAST = DECODINGS = ("exact", "fast")
"""How images may be decoded."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


_Images = TypeVar("_Images", bound="EncodedImages")


class EncodedImages(ABC):
    """The encoded images of some examples; to the library, an array that loads late.

    Its `shape` is that of the views it gives: a batch is a crop of `image_size`
    pixels, cut out of each image after its shorter side was made `resize` pixels long
    (A.4 of the paper).

    Args:
        resize: the length of the shorter side, in pixels, before the crop is cut out.
        image_size: the side of the crop, in pixels, at most `resize`.

    Attributes:
        max_bytes: the largest encoded image that is read, in bytes; larger ones cannot
            be read. `MAX_IMAGE_BYTES`, 256 MiB, until it is set.
        decoding: `"exact"`, until it is set, or `"fast"` (`decoding.decode_crops`).

    Parts that are taken of the images keep both.

    Raises:
        ValueError: if a size is out of range.
    """

    max_bytes = MAX_IMAGE_BYTES
    decoding = EXACT

    def __init__(self, resize: int, image_size: int):
        if not 1 <= image_size <= resize:
            raise ValueError(
                "`image_size` is the side of the crop that is cut out of an image "
                "whose shorter side was made `resize` pixels long: it must be from 1 "
                f"to `resize`. Received: image_size={image_size}, resize={resize}."
            )
        self.resize = resize
        self.image_size = image_size

    def read_as(self: _Images, whole: EncodedImages) -> _Images:
        """Itself, with `max_bytes` and `decoding` of the images it is a part of."""
        self.max_bytes, self.decoding = whole.max_bytes, whole.decoding
        return self

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """`(n, image_size, image_size, 3)`."""
        return len(self), self.image_size, self.image_size, 3

    @abstractmethod
    def __len__(self) -> int:
        """The number of images."""

    @abstractmethod
    def __getitem__(self, positions: np.ndarray) -> EncodedImages:
        """The images at `positions` (indices or a mask)."""

    @abstractmethod
    def read(self, position: int) -> bytes:
        """The encoded image at `position`.

        Raises:
            OSError: if it cannot be read, or has more than `max_bytes` bytes.
        """

    @abstractmethod
    def name(self, position: int) -> str:
        """Where the image at `position` is, for people; printable."""


class ImageFiles(EncodedImages):
    """One file an image.

    Only regular files are read; links to such ones are followed. Of each, size and time
    of change are remembered when it is first read, 8 bytes an image. The first one that
    is read again with others is named in a warning: its pixels may be others, too.

    Args:
        folder: the folder that the names start from.
        names: paths relative to it, with `/` between folders: an array of bytes
            (`np.bytes_`), shape `(n,)`, since a file's name need not be valid text.
        resize: as for `EncodedImages`. Defaults to `256`.
        image_size: as for `EncodedImages`. Defaults to `224`.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        names: np.ndarray,
        resize: int = 256,
        image_size: int = 224,
    ):
        super().__init__(resize, image_size)
        self.folder = Path(folder)
        self.names = np.asarray(names, dtype=np.bytes_)
        # Of each file, 0 until it is read. Pages of zeros take no memory before that.
        self._stamps = np.zeros(len(self.names), np.uint64)
        self._changes = _Changes()

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, positions: np.ndarray) -> ImageFiles:
        part = ImageFiles(
            self.folder, self.names[positions], self.resize, self.image_size
        )
        part._stamps = self._stamps[positions]
        part._changes = self._changes
        return part.read_as(self)

    def read(self, position: int) -> bytes:
        """The content of the file."""
        path = self._path(position)
        with open_untrusted(path, self.max_bytes, RAISE_IMAGE_BYTES) as file:
            stamp = _stamp(os.fstat(file.fileno()))
            content = file.read()
        before = self._stamps[position]
        self._stamps[position] = stamp
        if before and before != stamp:
            self._changes.tell(self.name(position))
        return content

    def name(self, position: int) -> str:
        """The path, as `shown` has it."""
        return shown(self._path(position))

    def paths(self) -> np.ndarray:
        """One text a file, however its path is written: bytes, shape `(n,)`."""
        folder = os.fsencode(os.path.abspath(self.folder))
        paths = [os.path.join(folder, name) for name in self.names.tolist()]
        return np.array(
            # As for a million paths, only where it changes something.
            [
                os.path.normpath(one) if b"./" in one or b"//" in one else one
                for one in paths
            ],
            np.bytes_,
        )

    def _path(self, position: int) -> bytes:
        return os.path.join(os.fsencode(self.folder), self.names[position])


class _Changes:
    """Says once, for all parts of the same images, that a file was changed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_told = False

    def tell(self, name: str) -> None:
        with self._lock:
            is_told, self._is_told = self._is_told, True
        if not is_told:
            logger.warning(
                "%s was changed since it was first read: what is trained or measured "
                "on is not what it was. Others may have been, too; this is said once.",
                name,
            )

    def __reduce__(self) -> tuple[type[_Changes], tuple[()]]:
        return _Changes, ()  # a lock cannot be copied to another process


def _stamp(status: os.stat_result) -> int:
    """Size and time of change in one number that is not 0."""
    return (status.st_mtime_ns * 1_000_003 + status.st_size) % (2**64 - 1) + 1
