"""Images that cannot be read: counted, listed, and not too many of them."""

from __future__ import annotations

import copy
import csv
import errno
import logging
import threading
from pathlib import Path
from typing import NoReturn, TextIO

from sop_keras.files.atomic import appending
from sop_keras.files.formulas import without_formulas
from sop_keras.files.shown_text import shown
from sop_keras.files.untrusted import opened_text
from sop_keras.validation import check_fraction

logger = logging.getLogger(__name__)

# Of the machine, or of a file server: too many open files, or one that is away.
_PASSING = (errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.ETIMEDOUT)

_HEADER = ("split", "id", "image", "reason")


class TooManyBadImagesError(ValueError):
    """More images cannot be read than may be left out."""


class BadImages:
    """Keeps a list of the images that had to be left out, and sets a limit to it.

    The list is a CSV file with a line for each, appended to as they are met: split
    (`train`, `test`, ...), id, image (where it is) and reason; what a spreadsheet would
    run as a formula gets an apostrophe in front. An image has one line, however often
    it is met, in this process or an earlier one. Counted, once each, are those that
    this process met: what was mended since does not count. Threads may report at the
    same time.

    Args:
        path: the file; made when the first one is reported. Defaults to `None`: no
            file, and not one bad image is left out.
        max_fraction: how many of a split's images may be bad, in [0, 1]. Defaults to
            `0.0`.

    Attributes:
        error: what ended the reading, a TooManyBadImagesError, an OSError of the file
            or a MemoryError, or None.
    """

    def __init__(self, path: Path | None = None, max_fraction: float = 0.0):
        check_fraction(
            "max_bad_fraction",
            max_fraction,
            meaning="the share of the images that may be left out",
        )
        self.error: TooManyBadImagesError | OSError | MemoryError | None = None
        self._path = path
        self._max_fraction = max_fraction
        self._lock = threading.Lock()
        self._met: dict[str, set[int]] = {}
        self._listed: set[tuple[str, str]] = set()
        if path is not None and path.exists():
            with opened_text(path, errors="backslashreplace") as file:
                self._listed = _listed(path, file)

    def counts(self) -> dict[str, int]:
        """How many images of each split this process found bad."""
        return {split: len(met) for split, met in self._met.items()}

    def lists(self, split: str, identity: int) -> bool:
        """Whether the list has an image, of this process or an earlier one."""
        return (split, str(identity)) in self._listed

    def report(
        self, split: str, identity: int, image: str, reason: str, num_images: int
    ) -> None:
        """Take note of an image that is left out.

        Args:
            split: the examples that it is one of, such as `"train"`.
            identity: its id.
            image: where it is.
            reason: why it cannot be used.
            num_images: how many images the split has.

        Raises:
            TooManyBadImagesError: if these are too many.
        """
        image, reason = shown(image), shown(reason)
        with self._lock:
            if self.error is not None:
                # A copy: raised here, the error would let go of the one that it was
                # raised for elsewhere, whose frames have an iterator. That waits for
                # this thread before it goes.
                raise copy.copy(self.error)
            met = self._met.setdefault(split, set())
            if identity in met:
                return
            met.add(identity)
            try:
                self._list((split, str(identity), image, reason))
            except OSError as error:
                self.error = error  # such as a full disk
                raise
            if len(met) > self._max_fraction * num_images:
                self.refuse(
                    f"{len(met)} of the {num_images} images of the {split} examples "
                    f"cannot be used, the last one being {image}: {reason}. At most "
                    f"{100 * self._max_fraction:g}% may be left out "
                    f"(max_bad_fraction={self._max_fraction:g})."
                    + (f" All of them: {self._path}." if self._path else "")
                    + " Mend or replace them, or raise that limit."
                )
        logger.warning("Left out: %s: %s", image, reason)

    def leave_out(
        self, split: str, identity: int, image: str, error: Exception, num_images: int
    ) -> None:
        """Take note of an image for what reading or decoding it raised.

        Args:
            split: as for `report`.
            identity: as for `report`.
            image: as for `report`.
            error: a MemoryError, an OSError or an UnreadableImageError.
            num_images: as for `report`.

        Raises:
            MemoryError: if that is what it is, or an OSError of the same.
            OSError: if it is one that passes, such as a file server that is away: the
                image is not bad.
            TooManyBadImagesError: as `report`.
        """
        if getattr(error, "errno", None) == errno.ENOMEM:
            error = MemoryError(str(error))
        if isinstance(error, MemoryError):
            self.end_for_memory(image, error)
        if getattr(error, "errno", None) in _PASSING:
            self.error = OSError(
                f"{shown(image)} could not be read now: {error}. No image was left out "
                "for it; the same command goes on."
            )
            raise self.error from error
        reason = getattr(error, "strerror", None) or str(error)
        self.report(split, identity, image, reason, num_images)

    def refuse(self, text: str) -> NoReturn:
        """Raise a TooManyBadImagesError, and remember it: TensorFlow would wrap it."""
        self.error = TooManyBadImagesError(text)
        raise self.error

    def end_for_memory(self, image: str, error: MemoryError) -> NoReturn:
        """Raise a MemoryError about an image, and remember it.

        The image is not bad: with more memory it can be used.
        """
        detail = f": {error}" if str(error) else ""
        self.error = MemoryError(
            f"There is not enough memory for {image}{detail}. Free some, or give the "
            "process more; no image was left out for it."
        )
        raise self.error from error

    def _list(self, row: tuple[str, str, str, str]) -> None:
        if self._path is None or row[:2] in self._listed:
            return
        self._listed.add(row[:2])
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with appending(self._path) as file:
            writer = csv.writer(file, lineterminator="\n")
            if file.tell() == 0:
                writer.writerow(_HEADER)
            writer.writerow([without_formulas(text) for text in row])


def _listed(path: Path, file: TextIO) -> set[tuple[str, str]]:
    """Split and id of each image in a list."""
    try:
        # A line may have been cut off by a full disk.
        return {(row[0], row[1]) for row in csv.reader(file) if row[1:]}
    except csv.Error as error:
        raise ValueError(
            f"{path} is no list of images: {error}. Remove it; it is written anew."
        ) from None
