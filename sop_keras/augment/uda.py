"""UDA's RandAugment, then Cutout: the strong view of the paper's text (A.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, SupportsIndex

import tensorflow as tf

from sop_keras.augment.cutout import FILL
from sop_keras.augment.images import check_colors, check_ids, check_images, size_for
from sop_keras.augment.operations import OPERATIONS
from sop_keras.augment.policy import augment, draw

NUM_LEVELS = 9
"""Levels are drawn from 1 to 9."""


def uda(
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
    """Two of fifteen operations, each applied half the time, then crop, flip, Cutout.

    Both operations and their levels, 1 to 9, are drawn uniformly: Xie et al.,
    "Unsupervised Data Augmentation for Consistency Training" (NeurIPS 2020), as
    published for CIFAR-10. An image's draws depend on (seed, epoch, id) alone, so its
    view is the same whatever batch, order, worker or restart it is met in.

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
        *(seed, "uda", epoch, ids),
        num_choices=len(OPERATIONS),
        num_levels=NUM_LEVELS,
        padding=padding,
        height=height,
        width=width,
    )
    first, second = (
        slot.drawn(operations=slot.choice, tenths=5, levels=1 + slot.level)
        for slot in slots
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
