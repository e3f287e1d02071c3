"""Images in files, decoded when a batch asks for them."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class EncodedImages(ABC):
    """The encoded images of some examples; to the library, an array that loads late.

    Its `shape` is that of the views it gives: a batch is a crop of `image_size`
    pixels, cut out of each image after its shorter side was made `resize` pixels long
    (A.4 of the paper).

    Args:
        resize: the length of the shorter side, in pixels, before the crop is cut out.
        image_size: the side of the crop, in pixels, at most `resize`.

    Raises:
        ValueError: if a size is out of range.
    """

    def __init__(self, resize: int, image_size: int):
        if not 1 <= image_size <= resize:
            raise ValueError(
                "`image_size` is the side of the crop that is cut out of an image "
                "whose shorter side was made `resize` pixels long: it must be from 1 "
                f"to `resize`. Received: image_size={image_size}, resize={resize}."
            )
        self.resize = resize
        self.image_size = image_size

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
            OSError: if it cannot be read.
        """

    @abstractmethod
    def name(self, position: int) -> str:
        """Where the image at `position` is, for people; printable."""


class ImageFiles(EncodedImages):
    """One file an image.

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

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, positions: np.ndarray) -> ImageFiles:
        return ImageFiles(
            self.folder, self.names[positions], self.resize, self.image_size
        )

    def read(self, position: int) -> bytes:
        """The content of the file."""
        with open(self._path(position), "rb") as file:
            return file.read()

    def name(self, position: int) -> str:
        """The path, with a backslash escape for each byte that is not text."""
        return self._path(position).decode(errors="backslashreplace")

    def _path(self, position: int) -> bytes:
        return os.path.join(os.fsencode(self.folder), self.names[position])
