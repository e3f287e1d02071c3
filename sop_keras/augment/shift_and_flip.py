"""A weak augmentation for trainings of a few epochs: shifted, mirrored in turn."""

from __future__ import annotations

from typing import Any, SupportsIndex

import tensorflow as tf

from sop_keras.augment import crop
from sop_keras.augment.images import check_ids, check_images, size_for
from sop_keras.randomness.keyed_tensors import random_integers_tensor


def shift_alternate_flip(
    images: Any,
    ids: Any,
    epoch: Any,
    seed: SupportsIndex,
    *,
    shift: int | None = None,
) -> tf.Tensor:
    """Each image shifted by up to `shift` pixels, and mirrored in every other epoch.

    Half of the images are mirrored in even epochs, the other half in odd ones: which
    half depends on (seed, id) alone. Any two epochs in a row so show both sides of
    every image, where a coin tossed in each epoch shows one side twice, half the time.
    The shifts of rows and columns are drawn by (seed, epoch, id), as of
    `pad_crop_flip`, whose borders are black; here they are the image mirrored at its
    first and last pixels, which are not repeated.

    K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU" (2024, arXiv
    2404.00498), which proposes that flip, and shifts by 2 pixels at 32.

    Args:
        images: uint8, shape `(batch_size, height, width, channels)`; height, width and
            channels must be known when the graph is built.
        ids: integers, shape `(batch_size,)`, none negative.
        epoch: integer, a scalar, not negative.
        seed: a Python integer in `[0, 2**64)`.
        shift: how many pixels at most, less than the shorter side. Defaults to `None`:
            a sixteenth of that, 2 at 32 pixels.

    Returns:
        uint8 tensor of the shape of `images`.

    Raises:
        ValueError: if `images` are of another type or shape, there is not one id for
            each, or `shift` is out of range.
    """
    images = check_images(images)
    ids = check_ids(ids, images)
    shift = size_for("shift", shift, images, share=16)
    height, width = images.shape[1:3]
    if shift >= min(height, width):
        raise ValueError(
            "`shift` must be less than the images' shorter side: there is no more to "
            f"mirror at a border. Received: shift={shift}, images of {height}x{width} "
            "pixels."
        )
    is_odd = tf.cast(tf.cast(epoch, tf.int64) % 2, tf.int32)
    flipped = random_integers_tensor(2, seed, "alternate_flip", ids) != is_odd
    num_offsets = 2 * shift + 1
    top = random_integers_tensor(num_offsets, seed, "shift_top", epoch, ids)
    left = random_integers_tensor(num_offsets, seed, "shift_left", epoch, ids)
    rows, columns = crop.rows_and_columns(
        top - shift, left - shift, flipped, height, width
    )
    rows, columns = _mirrored(rows, height), _mirrored(columns, width)
    return crop.look_up(images, crop.places(rows, columns, height, width))


def _mirrored(places: tf.Tensor, size: int) -> tf.Tensor:
    """-1 as 1, -2 as 2, and `size` as `size - 2`, and so on."""
    places = tf.abs(places)
    return tf.minimum(places, 2 * (size - 1) - places)
