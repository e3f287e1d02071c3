"""AutoAugment's CIFAR-10 policy, then Cutout: what the authors' code trains with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, SupportsIndex

import tensorflow as tf

from sop_keras.augment.cutout import FILL
from sop_keras.augment.images import check_colors, check_ids, check_images, size_for
from sop_keras.augment.operations import OPERATIONS
from sop_keras.augment.policy import augment, draw

POLICY = (
    (("Invert", 0.1, 7), ("Contrast", 0.2, 6)),
    (("Rotate", 0.7, 2), ("TranslateX", 0.3, 9)),
    (("Sharpness", 0.8, 1), ("Sharpness", 0.9, 3)),
    (("ShearY", 0.5, 8), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.5, 8), ("Equalize", 0.9, 2)),
    (("ShearY", 0.2, 7), ("Posterize", 0.3, 7)),
    (("Color", 0.4, 3), ("Brightness", 0.6, 7)),
    (("Sharpness", 0.3, 9), ("Brightness", 0.7, 9)),
    (("Equalize", 0.6, 5), ("Equalize", 0.5, 1)),
    (("Contrast", 0.6, 7), ("Sharpness", 0.6, 5)),
    (("Color", 0.7, 7), ("TranslateX", 0.5, 8)),
    (("Equalize", 0.3, 7), ("AutoContrast", 0.4, 8)),
    (("TranslateY", 0.4, 3), ("Sharpness", 0.2, 6)),
    (("Brightness", 0.9, 6), ("Color", 0.2, 8)),
    (("Solarize", 0.5, 2), ("Invert", 0.0, 3)),
    (("Equalize", 0.2, 0), ("AutoContrast", 0.6, 0)),
    (("Equalize", 0.2, 8), ("Equalize", 0.6, 4)),
    (("Color", 0.9, 9), ("Equalize", 0.6, 6)),
    (("AutoContrast", 0.8, 4), ("Solarize", 0.2, 8)),
    (("Brightness", 0.1, 3), ("Color", 0.7, 0)),
    (("Solarize", 0.4, 5), ("AutoContrast", 0.9, 3)),
    (("TranslateY", 0.9, 9), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.9, 2), ("Solarize", 0.8, 3)),
    (("Equalize", 0.8, 8), ("Invert", 0.1, 3)),
    (("TranslateY", 0.7, 9), ("AutoContrast", 0.9, 1)),
)
"""25 pairs of (operation, probability, level): Table 7 of Cubuk et al."""


def autoaugment(
    images: Any,
    ids: Any,
    epoch: Any,
    seed: SupportsIndex,
    *,
    padding: int | None = None,
    flip: bool = True,
    cutout_size: int | None = None,
    fill: Sequence[int] = FILL,
) -> tf.Tensor:
    """One of 25 pairs of operations, then crop, flip and Cutout.

    Cubuk et al., "AutoAugment: Learning Augmentation Policies from Data" (CVPR 2019),
    the policy found for CIFAR-10. An image's draws depend on (seed, epoch, id) alone,
    so its view is the same whatever batch, order, worker or restart it is met in.

    Args:
        images: uint8, shape `(batch_size, height, width, channels)` with 1 or 3
            channels; height, width and channels must be known when the graph is built.
        ids: integers, shape `(batch_size,)`, none negative.
        epoch: integer, a scalar, not negative.
        seed: a Python integer in `[0, 2**64)`.
        padding: how far the crop may shift, in pixels. Defaults to `None`: an eighth of
            the shorter side, 4 at 32 pixels, as published.
        flip: whether half the views are mirrored. Defaults to `True`.
        cutout_size: the side of the last step's square, in pixels, an odd one rounded
            down to an even one; 0 for none. Defaults to `None`: half of the shorter
            side, 16 at 32 pixels, as published.
        fill: the colour of Cutout, 0 to 255. Defaults to CIFAR-10's mean, which is
            (almost) 0 once it is standardised.

    Returns:
        uint8 tensor of the shape of `images`.

    Raises:
        ValueError: if `images` are of another type or shape, there is not one id for
            each, or an argument is out of its range.
    """
    images = check_images(images)
    check_colors(images)
    ids = check_ids(ids, images)
    padding = size_for("padding", padding, images, share=8)
    cutout_size = size_for("cutout_size", cutout_size, images, share=2)
    height, width = images.shape[1:3]
    *slots, view = draw(
        *(seed, "autoaugment", epoch, ids),
        num_choices=len(POLICY),
        num_levels=1,  # the policy says which
        padding=padding,
        height=height,
        width=width,
    )
    # (operation, tenths of its probability, level) of each operation of each pair
    table = [
        [(OPERATIONS.index(name), round(10 * p), level) for name, p, level in pair]
        for pair in POLICY
    ]
    chosen = tf.gather(tf.constant(table), slots[0].choice)
    first, second = (
        slot.drawn(*tf.unstack(chosen[:, place], axis=1))
        for place, slot in enumerate(slots)
    )
    return augment(
        images,
        first,
        second,
        view,
        padding=padding,
        flip=flip,
        cutout_size=cutout_size,
        fill=fill,
    )
