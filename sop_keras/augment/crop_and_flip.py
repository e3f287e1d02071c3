"""The weak augmentation: pad, crop at random, flip at random."""

from __future__ import annotations

from typing import Any, SupportsIndex

import tensorflow as tf

from sop_keras.augment import crop
from sop_keras.augment.images import check_ids, check_images, size_for
from sop_keras.randomness.keyed_tensors import random_integers_tensor


def pad_crop_flip(
    images: Any,
    ids: Any,
    epoch: Any,
    seed: SupportsIndex,
    *,
    padding: int | None = None,
    flip: bool = True,
) -> tf.Tensor:
    """Each image shifted by up to `padding` pixels and, half the time, mirrored.

    Black borders of `padding` pixels are added, a crop of the original size is cut
    out at random, and it is flipped left to right with probability 1/2: He et al.,
    "Deep Residual Learning for Image Recognition" (CVPR 2016), Section 4.2. An image's
    draws depend on (seed, epoch, id) alone, so its view is the same whatever batch,
    order, worker or restart it is met in.

    Args:
        images: uint8, shape `(batch_size, height, width, channels)`; height, width and
            channels must be known when the graph is built.
        ids: integers, shape `(batch_size,)`, none negative.
        epoch: integer, a scalar, not negative.
        seed: a Python integer in `[0, 2**64)`.
        padding: how many black pixels on each side. Defaults to `None`: an eighth of
            the images' shorter side, 4 at 32 pixels, as published.
        flip: whether to flip at all; False for digits and text. Defaults to `True`.

    Returns:
        uint8 tensor of the shape of `images`.

    Raises:
        ValueError: if `images` are of another type or shape, there is not one id for
            each, or `padding` is negative.
    """
    images = check_images(images)
    ids = check_ids(ids, images)
    padding = size_for("padding", padding, images, share=8)
    flipped = random_integers_tensor(2, seed, "weak_flip", epoch, ids) * int(flip)
    if padding == 0:
        # Whole images are copied, in a quarter of the time of looking up every pixel.
        both_sides = tf.concat([images, _mirrored(images)], axis=0)
        num_images = tf.shape(images)[0]
        return tf.gather(both_sides, tf.range(num_images) + num_images * flipped)
    height, width = images.shape[1:3]
    num_offsets = 2 * padding + 1
    top = random_integers_tensor(num_offsets, seed, "weak_top", epoch, ids)
    left = random_integers_tensor(num_offsets, seed, "weak_left", epoch, ids)
    rows, columns = crop.rows_and_columns(
        top - padding, left - padding, flipped == 1, height, width
    )
    pixels = crop.places(rows, columns, height, width)
    black = crop.black_place(tf.shape(images)[0], height, width)
    return crop.look_up(images, tf.minimum(pixels, black))


def _mirrored(images: tf.Tensor) -> tf.Tensor:
    """The images with their columns in reverse order."""
    if images.shape[3] != 3:
        return tf.reverse(images, [2])
    # TensorFlow mirrors one image of three channels three times as fast as a batch of
    # them: here that is all rows of all images.
    rows = tf.reshape(images, (-1, *images.shape[2:]))
    return tf.reshape(tf.reverse(rows, [1]), tf.shape(images))
