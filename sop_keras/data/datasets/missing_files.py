"""Image files that a data set lists and its folder does not have."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping

import numpy as np

from sop_keras.data.datasets.dataset import Examples
from sop_keras.data.images.encoded_images import ImageFiles

logger = logging.getLogger(__name__)

_NUM_SHOWN = 10


def missing_files(images: ImageFiles) -> np.ndarray:
    """The positions of the files that are not there, ascending.

    Each folder is listed once: a million files take seconds, even where asking for
    one takes a millisecond.
    """
    folders: dict[bytes, list[int]] = {}
    for position, name in enumerate(images.names):
        folders.setdefault(os.path.dirname(name), []).append(position)
    missing = []
    for folder, positions in folders.items():
        try:
            present = set(os.listdir(os.path.join(os.fsencode(images.folder), folder)))
        except OSError:
            present = set()
        missing += [
            position
            for position in positions
            if os.path.basename(images.names[position]) not in present
        ]
    return np.array(sorted(missing), np.int64)


def check_image_files(
    name: str, splits: Mapping[str, Examples], max_missing_fraction: float
) -> None:
    """Check that the image files of a data set are there.

    Args:
        name: of the data set, for the error.
        splits: its splits; images that are not in files of their own are not looked at.
        max_missing_fraction: the share, in [0, 1], of each split that may be missing;
            such a split is logged, and its missing files are left out later.

    Raises:
        FileNotFoundError: if more are missing, in any split.
    """
    reports = []
    for split, examples in splits.items():
        if not isinstance(examples.images, ImageFiles):
            continue
        images = examples.images
        positions = missing_files(images)
        if not len(positions):
            continue
        shown = "\n".join(f"  {images.name(p)}" for p in positions[:_NUM_SHOWN])
        if len(positions) > _NUM_SHOWN:
            shown += f"\n  and {len(positions) - _NUM_SHOWN} more"
        report = (
            f"{len(positions)} of the {len(images)} images of the {split} examples are "
            f"missing:\n{shown}"
        )
        if len(positions) > max_missing_fraction * len(images):
            reports.append(report)
        else:
            logger.warning("%s\nThey are left out.", report)
    if reports:
        raise FileNotFoundError(
            f"{name}: " + "\n".join(reports) + "\nDownload or unpack them again, "
            "check the folder, or allow a share of them to be missing "
            f"(max_bad_fraction, now {max_missing_fraction:g})."
        )
