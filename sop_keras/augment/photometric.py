"""Operations that change values and move no pixel, equal to Pillow's to the last bit.

All take uint8 images, shape `(batch_size, height, width, channels)` with 1 or 3
channels, and one number an image, shape `(batch_size,)`, where they have a strength.
All give uint8 images of the same shape.

What computes alike is computed together: `change_bits` serves invert, solarize and
posterize, so that a batch in which every image drew another operation costs few steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from sop_keras.augment.images import flatten, on_cpu, per_image

# ITU-R 601-2 luma in 16-bit fixed point, as Pillow converts to grey. Sums of products
# with values need 24 bits at most, so float32 arithmetic on them is exact.
_LUMA = np.array([19595, 38470, 7471], np.float32) / 2**16


_STRICTLY_BELOW = np.triu(np.ones((16, 16), np.float32), k=1)


def invert(images: Any) -> tf.Tensor:
    """The negative: 255 - value."""
    return change_bits(images, [0], [255], [255])


def solarize(images: Any, thresholds: Any) -> tf.Tensor:
    """Values of at least the image's threshold, 0 to 255, are inverted."""
    return change_bits(images, thresholds, [255], [255])


def posterize(images: Any, bits: Any) -> tf.Tensor:
    """Keep the highest `bits` bits of each value, 0 to 8."""
    masks = 256 - tf.bitwise.left_shift(1, 8 - tf.cast(bits, tf.int32))
    return change_bits(images, [0], [0], masks)


def change_bits(images: Any, thresholds: Any, flips: Any, masks: Any) -> tf.Tensor:
    """Flip bits of values of at least a threshold, then keep those of a mask.

    Args:
        images: uint8, shape `(batch_size, height, width, channels)`.
        thresholds: 0 to 255, one an image.
        flips: the bits to flip, likewise: 255 inverts, 0 leaves values as they are.
        masks: the bits to keep, likewise.
    """
    flat = flatten(images)
    flipped = tf.bitwise.bitwise_xor(flat, per_image(flips, tf.uint8))
    flat = tf.where(flat >= per_image(thresholds, tf.uint8), flipped, flat)
    flat = tf.bitwise.bitwise_and(flat, per_image(masks, tf.uint8))
    return tf.reshape(flat, tf.shape(images))


def brightness(images: Any, factors: Any) -> tf.Tensor:
    """Enhancement whose degenerate image is black."""
    values = flatten(tf.cast(images, tf.float32))
    return _blend(0.0, values, images, factors)


@on_cpu
def contrast(images: Any, factors: Any) -> tf.Tensor:
    """Enhancement whose degenerate image is the mean grey level everywhere."""
    values = tf.cast(images, tf.float32)
    return _blend(_mean(_grey(values)), flatten(values), images, factors)


@on_cpu
def color(images: Any, factors: Any) -> tf.Tensor:
    """Enhancement whose degenerate image is the grey one; grey images stay."""
    values = tf.cast(images, tf.float32)
    return _blend(flatten(_grey(values)), flatten(values), images, factors)


def _grey(values: tf.Tensor) -> tf.Tensor:
    """The grey level in each channel, rounded half up: float32 of the same shape."""
    channels = values.shape[-1]
    if channels == 1:
        return values
    pixels = tf.reshape(values, (-1, channels))
    grey = tf.linalg.matmul(pixels, np.stack([_LUMA] * 3, axis=1))
    return tf.reshape(tf.floor(grey + 0.5), tf.shape(values))


def _mean(grey: tf.Tensor) -> tf.Tensor:
    """Means of whole numbers, rounded half up: float32 `(batch_size, 1)`."""
    height, width, channels = grey.shape[1:]
    # Sums of rows are exact in float32, those of images need not be.
    sums = tf.reduce_sum(tf.reshape(grey, (-1, height, width * channels)), axis=2)
    sums = tf.reduce_sum(tf.cast(sums, tf.int64), axis=1, keepdims=True)
    count = height * width * channels
    return tf.cast((2 * sums + count) // (2 * count), tf.float32)


def sharpness(images: Any, factors: Any) -> tf.Tensor:
    """Enhancement whose degenerate image is smoothed by (1 1 1; 1 5 1; 1 1 1) / 13.

    The outermost pixels, which lack neighbours, stay as they are.
    """
    height, width, channels = images.shape[1:]
    if min(height, width) < 3:
        return tf.convert_to_tensor(images)
    # All rows of all images on top of each other: that a pixel of an image's border has
    # neighbours of another image or row does not matter, as it stays.
    rows = tf.cast(tf.reshape(images, (-1, width * channels)), tf.float32)
    three_rows = tf.reshape(tf.add_n([rows[:-2], rows[1:-1], rows[2:]]), (-1,))
    inside = slice(channels, -channels)
    total = tf.add_n(
        [
            three_rows[: -2 * channels],
            three_rows[inside],
            three_rows[2 * channels :],
            4.0 * tf.reshape(rows[1:-1], (-1,))[inside],
        ]
    )
    # total / 13 is never closer to a half than 1/26: float32 rounds it correctly.
    border = (width + 1) * channels
    smoothed = tf.pad(tf.round(total * np.float32(1 / 13)), ((border, border),))
    smoothed = smoothed[: tf.size(rows)]  # of no image, there is no border either
    values = flatten(tf.reshape(rows, tf.shape(images)))
    changed = _blend(tf.reshape(smoothed, tf.shape(values)), values, images, factors)
    is_inside = np.zeros((height, width, channels), np.uint8)
    is_inside[1:-1, 1:-1] = 255
    mask = is_inside.reshape(-1)
    changed = tf.bitwise.bitwise_or(
        tf.bitwise.bitwise_and(flatten(changed), mask),
        tf.bitwise.bitwise_and(flatten(images), 255 - mask),
    )
    return tf.reshape(changed, tf.shape(images))


def _blend(degenerate: Any, values: Any, images: Any, factors: Any) -> tf.Tensor:
    """`degenerate + factor * (value - degenerate)`, clipped to 0..255 and cut off.

    In float32, as Pillow does. Degenerate images and values are flat.
    """
    values = degenerate + per_image(factors, tf.float32) * (values - degenerate)
    # The cast cuts the fraction off; negative values have been clipped before.
    values = tf.cast(tf.clip_by_value(values, 0.0, 255.0), tf.uint8)
    return tf.reshape(values, tf.shape(images))


@on_cpu
def auto_contrast(images: Any) -> tf.Tensor:
    """Stretch each channel linearly, its darkest value to 0, its brightest to 255."""
    height, width, channels = images.shape[1:]
    rows = (-1, height, width * channels)
    values = tf.cast(tf.reshape(images, rows), tf.float64)
    darkest, brightest = (
        # Whole rows first: an axis of three channels is slow to reduce over.
        reduce(tf.reshape(reduce(values, axis=1), (-1, width, channels)), axis=1)
        for reduce in (tf.reduce_min, tf.reduce_max)
    )
    # As Pillow computes it, product and sum rounded each to float64: the cast cuts off,
    # so that another order of rounding would change values by one.
    has_two = brightest > darkest  # a channel of one value stays as it is
    scale = 255.0 / tf.maximum(brightest - darkest, 1.0)
    scale = tf.where(has_two, scale, tf.ones_like(scale))
    offset = tf.where(has_two, -darkest * scale, tf.zeros_like(scale))
    scale, offset = (
        tf.tile(tf.expand_dims(number, 1), (1, 1, width)) for number in (scale, offset)
    )
    return tf.reshape(tf.cast(values * scale + offset, tf.uint8), tf.shape(images))


@on_cpu
def equalize(images: Any) -> tf.Tensor:
    """Spread each channel's values so that all are about equally frequent.

    As Pillow does: the table's step leaves out the brightest value's pixels, and a
    channel of one value, or of too few pixels for a step, stays as it is.
    """
    height, width, channels = images.shape[1:]
    num_images = tf.shape(images)[0]
    # Tables lie end to end, one a channel, 256 entries each.
    of_channels = np.tile(256 * np.arange(channels, dtype=np.int32), height * width)
    of_images = 256 * channels * tf.expand_dims(tf.range(num_images), 1)
    places = tf.cast(flatten(images), tf.int32) + of_channels + of_images
    places = tf.reshape(places, (-1,))
    histograms = tf.raw_ops.Bincount(
        arr=places, size=256 * channels * num_images, weights=tf.zeros((0,), tf.int32)
    )
    tables = _even_tables(tf.reshape(histograms, (-1, 256)), height * width)
    values = tf.gather_nd(tf.reshape(tables, (-1,)), tf.expand_dims(places, -1))
    return tf.reshape(values, tf.shape(images))


def _even_tables(histograms: Any, num_pixels: int) -> tf.Tensor:
    """What becomes of each value: uint8 `(num_channels, 256)`.

    Entries of values that do not occur may be anything.

    Args:
        histograms: how often each value occurs, int32 of this shape.
        num_pixels: the sum of a histogram.
    """
    levels = tf.range(256)
    last = tf.reduce_max(tf.where(histograms > 0, levels, 0), axis=1, keepdims=True)
    # Whole numbers below 2**24: the floor of the float32 quotient is exact.
    at_last = tf.gather(histograms, last, axis=1, batch_dims=1)
    step = tf.cast((num_pixels - at_last) // 255, tf.float32)
    below = _cumulated(tf.cast(histograms, tf.float32))
    even = tf.floor((below + tf.floor(step / 2)) / tf.maximum(step, 1.0))
    even = tf.cast(tf.minimum(even, 255.0), tf.uint8)
    return tf.where(step > 0, even, tf.cast(levels, tf.uint8))


def _cumulated(histograms: tf.Tensor) -> tf.Tensor:
    """How often smaller values occur, `(num_channels, 256)`.

    By products with triangles of ones, within 16 blocks of 16 values and then over the
    blocks: whole numbers, and exact as such. tf.cumsum takes ten times as long.
    """
    blocks = tf.reshape(histograms, (-1, 16, 16))
    within = tf.linalg.matmul(tf.reshape(histograms, (-1, 16)), _STRICTLY_BELOW)
    before = tf.linalg.matmul(tf.reduce_sum(blocks, axis=2), _STRICTLY_BELOW)
    below = tf.reshape(within, (-1, 16, 16)) + tf.expand_dims(before, 2)
    return tf.reshape(below, (-1, 256))
