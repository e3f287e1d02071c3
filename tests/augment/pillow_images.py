"""Between batches of arrays and Pillow's images, and the draws of a view."""

import numpy as np
from PIL import Image

from sop_keras.randomness.keyed import random_bits


def to_pillow(image):
    """An array `(height, width, channels)` as an image of mode RGB or L."""
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def to_array(image):
    """An image of mode RGB or L as an array `(height, width, channels)`."""
    array = np.asarray(image)
    return array.reshape(*array.shape[:2], -1)


def with_pillow(function, images, *arguments):
    """A function of one Pillow image and its arguments, on every image of a batch."""
    return np.stack(
        [
            to_array(function(to_pillow(image), *rest))
            for image, *rest in zip(images, *arguments, strict=True)
        ]
    )


def in_grey(images):
    return with_pillow(lambda image: image.convert("L"), images)


def in_channels(images, channels):
    return in_grey(images) if channels == 1 else images


def keyed_integer(seed, policy, epoch, example_id):
    """`integer(k, bound)` of one view: floor(bound * h / 2**32), h the high half."""
    bits = random_bits(seed, policy, epoch, example_id, np.arange(17))
    high = [int(b) >> 32 for b in bits]
    return lambda k, bound: bound * high[k] // 2**32
