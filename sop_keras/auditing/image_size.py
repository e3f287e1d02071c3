"""At what size images are shown to a frozen network, where nobody says it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from sop_keras.data.images.encoded_images import EncodedImages
from sop_keras.features.network import FeatureNetwork, feature_network
from sop_keras.features.store import RECORD
from sop_keras.features.store_record import DamagedRecordError, read_record

LARGEST = 224
"""What networks were trained at; larger ones cost time and tell little more."""

_TIMES = 4  # small images are enlarged so much: CIFAR's 32 pixels to 128
_LEAST = 32
_CROPPED = 8 / 7  # of the side that is cut out: 256 to 224
_SAMPLE = 9


def network_for(
    images: np.ndarray | EncodedImages,
    backbone: str | os.PathLike[str],
    pretrained: str | os.PathLike[str],
    image_size: int | None = None,
    store: Path | None = None,
) -> FeatureNetwork:
    """The frozen network at a size that suits the images.

    Args:
        images: as of `default_sizes`.
        backbone: as of `feature_network`.
        pretrained: likewise.
        image_size: the side, in pixels. Defaults to `None`: a network in a file has its
            own, the others that of the stored features, or what `default_sizes` says.
        store: the folder of stored features: images that come later do not change at
            what size all are seen. Defaults to `None`: there is none.
    """
    resize = None
    if image_size is not None or not os.fspath(backbone).endswith(".keras"):
        known = stored_sizes(store) if store is not None and not image_size else None
        image_size, resize = known or default_sizes(images, image_size)
    return feature_network(backbone, image_size, pretrained=pretrained, resize=resize)


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
