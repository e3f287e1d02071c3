"""How images are shown to a frozen network, where nobody says it."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sop_keras.data.images.encoded_images import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    EncodedImages,
)
from sop_keras.features.network import FeatureNetwork, feature_network
from sop_keras.features.store import RECORD
from sop_keras.features.store_record import DamagedRecordError, read_record
from sop_keras.training.run_folder import read_scale

logger = logging.getLogger(__name__)

LARGEST = 224
"""What networks were trained at; larger ones cost time and tell little more."""

_TIMES = 4  # small images are enlarged so much: CIFAR's 32 pixels to 128
_LEAST = 32
_CROPPED = 8 / 7  # of the side that is cut out: 256 to 224
_SAMPLE = 9
_OF_RUN = "backbone.keras"

Numbers = float | Sequence[float]
"""One for all channels, or one a channel."""


def network_for(
    images: np.ndarray | EncodedImages,
    backbone: str | os.PathLike[str],
    pretrained: str | os.PathLike[str],
    image_size: int | None = None,
    store: Path | None = None,
    mean: Numbers | None = None,
    std: Numbers | None = None,
) -> FeatureNetwork:
    """The frozen network at a size that suits the images.

    A network in a file does not say how its images are standardised. Beside the
    `backbone.keras` of a run is what it was trained with; of another, ImageNet's mean
    and standard deviation are taken, with a warning.

    Args:
        images: as of `default_sizes`.
        backbone: as of `feature_network`.
        pretrained: likewise.
        image_size: the side, in pixels. Defaults to `None`: a network in a file has its
            own, the others that of the stored features, or what `default_sizes` says.
        store: the folder of stored features: images that come later do not change at
            what size all are seen. Defaults to `None`: there is none.
        mean: as of `feature_network`. Defaults to `None`: as above; of a network by
            name, ImageNet's.
        std: likewise; both are given or neither.

    Raises:
        RunFolderError: if the run beside the file is damaged.
        ValueError: for `mean` without `std`, and as `feature_network` does.
    """
    resize = None
    if image_size is not None or not os.fspath(backbone).endswith(".keras"):
        known = stored_sizes(store) if store is not None and not image_size else None
        image_size, resize = known or default_sizes(images, image_size)
    mean, std = _scale(backbone, mean, std)
    return feature_network(
        backbone, image_size, pretrained=pretrained, mean=mean, std=std, resize=resize
    )


def _scale(
    backbone: str | os.PathLike[str], mean: Numbers | None, std: Numbers | None
) -> tuple[Numbers, Numbers]:
    """Mean and standard deviation that a network's images are standardised with."""
    if (mean is None) != (std is None):
        raise ValueError("`mean` and `std` go together: give both, or neither.")
    if mean is not None and std is not None:
        return mean, std
    path = Path(backbone)
    if path.suffix == ".keras":
        if path.name == _OF_RUN and (scale := read_scale(path.parent)) is not None:
            return scale
        logger.warning(
            "%s does not say how its images are standardised. ImageNet's mean and "
            "deviation are taken; if it was trained with others, features tell little: "
            "give those, --mean and --std (`mean`, `std`), or 0 and 1 if it takes "
            "pixels in [0, 1].",
            path,
        )
    return IMAGENET_MEAN, IMAGENET_STD


def stored_sizes(store: Path) -> tuple[int, int] | None:
    """`image_size` and `resize` of stored features; None where nothing says them.

    Raises:
        FeatureStoreError: if the folder has another program's files.
    """
    try:
        record = read_record(store / RECORD)
    except DamagedRecordError:  # all is made anew
        return None
    if record is None:
        return None
    sizes = record.network.get("image_size"), record.network.get("resize")
    match sizes:
        case (int(side), int(shorter)) if 1 <= side <= shorter:
            return side, shorter
    return None


def default_sizes(
    images: np.ndarray | EncodedImages, image_size: int | None = None
) -> tuple[int, int]:
    """The side of the images that a network sees, and the shorter side before the crop.

    Small images are enlarged four times, at most to 224 pixels, and nothing is cut off.

    Args:
        images: uint8 `(n, height, width, channels)`, or images in files, of which nine
            are looked at.
        image_size: the side, in pixels. Defaults to `None`: as above.

    Returns:
        `image_size` and `resize`, in pixels.
    """
    shorter = _shorter_side(images)
    is_small = _TIMES * shorter <= LARGEST
    if image_size is None:
        image_size = max(_LEAST, min(LARGEST, _TIMES * shorter))
    return image_size, image_size if is_small else round(_CROPPED * image_size)


def _shorter_side(images: np.ndarray | EncodedImages) -> int:
    if isinstance(images, np.ndarray):
        return min(images.shape[1:3])
    from sop_keras.data.images.decoding import UnreadableImageError, decode

    sides = []
    for place in np.linspace(0, len(images) - 1, min(len(images), _SAMPLE)):
        try:
            sides.append(min(decode(images.read(int(place)), LARGEST).size))
        except (OSError, UnreadableImageError):
            continue  # it is listed once it is its turn
    return int(np.median(sides)) if sides else LARGEST
