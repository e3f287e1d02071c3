"""Training images for networks that must see some before they are made."""

from __future__ import annotations

import numpy as np

from sop_keras.data.batches.pipelines import evaluation_batches
from sop_keras.data.datasets.split import keyed_subset
from sop_keras.data.images.bad_images import BadImages
from sop_keras.training.experiment_data import ExperimentData

# As many as 5,000 CIFAR images have; more of smaller ones, fewer of larger ones.
_PIXELS = 5_000 * 32 * 32


def first_images(data: ExperimentData, seed: int) -> np.ndarray:
    """Some training images as they are evaluated on: no labels, no augmentation.

    The same examples for the same seed, whatever the order of the data; those that
    cannot be read are left out, and reported where they are trained on.

    Args:
        data: the data.
        seed: an integer in `[0, 2**64)`, which the choice is drawn from.

    Returns:
        Standardised, float32 of shape `(n, height, width, channels)`: n is 5,000 of
        32x32 pixels, or as many as there are, and fewer of larger images, down to one.
    """
    train = data.train
    height, width, _ = train.image_shape
    count = min(max(_PIXELS // (height * width), 1), len(train))
    chosen = train.take(np.isin(train.ids, keyed_subset(train.ids, count, seed)))
    batches = evaluation_batches(
        chosen, data.dataset, split="train", bad_images=BadImages(max_fraction=1.0)
    )
    images = [images.numpy() for images, _ in batches]
    if not any(len(some) for some in images):
        raise ValueError(
            f"None of the {count} images that the network is to see before it is "
            "trained can be read. Mend or replace them."
        )
    return np.concatenate(images)
