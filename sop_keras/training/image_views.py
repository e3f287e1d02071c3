"""Several views of an image, which a network is asked about at test time.

As in Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024 ("multi-crop
evaluation"), and its code: the mean of logits, in which the image as it is and its
mirror image have half of the weight.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

TEST_VIEWS = ("none", "flip", "flip_translate")

_WEIGHTS = {
    "none": (1.0,),
    "flip": (0.5, 0.5),
    "flip_translate": (0.25, 0.25, 0.125, 0.125, 0.125, 0.125),
}


def check_image_views(image_shape: Sequence[int], test_views: str) -> None:
    """Check that there are such views of what is evaluated.

    Args:
        image_shape: of an example.
        test_views: one of `TEST_VIEWS`.

    Raises:
        ValueError: if it is no image `(height, width, channels)`; for shifted ones, if
            it has a single pixel along a side.
    """
    if test_views == "none":
        return
    if len(image_shape) != 3:
        raise ValueError(
            f"--test_views={test_views} is for images, of shape (height, width, "
            f"channels). Received: examples of shape {tuple(image_shape)}. Use "
            "--test_views=none."
        )
    if test_views == "flip_translate" and min(image_shape[:2]) < 2:
        raise ValueError(
            "--test_views=flip_translate shifts images by a pixel, and needs two along "
            f"each side. Received: images of shape {tuple(image_shape)}. Use "
            "--test_views=flip."
        )


def image_views(images: np.ndarray, test_views: str) -> Iterator[np.ndarray]:
    """The views of a batch, one after another, the images themselves first.

    Of `"flip"`, these are followed by their mirror images; of `"flip_translate"`, both
    then by both, shifted by a pixel down and right, and then up and left. What a shift
    uncovers is filled by reflection: with the row, or column, beside the edge's.

    Args:
        images: `(n, height, width, channels)`.
        test_views: one of `TEST_VIEWS`.

    Raises:
        ValueError: as of `check_image_views`.
    """
    check_image_views(images.shape[1:], test_views)
    yield images
    if test_views == "none":
        return
    yield images[:, :, ::-1]
    if test_views == "flip":
        return
    height, width = images.shape[1:3]
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), "reflect")
    for shifted in (padded[:, :height, :width], padded[:, 2:, 2:]):
        yield shifted
        yield shifted[:, :, ::-1]


def mean_of_views(outputs: Sequence[np.ndarray], test_views: str) -> np.ndarray:
    """What all views say together, shape `(n, K)`.

    Of `"flip"`, each of the two counts 1/2; of `"flip_translate"`, the first two count
    1/4 each and the shifted ones 1/8.

    Args:
        outputs: of each view, logits or logarithms of probabilities, `(n, K)`.
        test_views: one of `TEST_VIEWS`.
    """
    pairs = zip(_WEIGHTS[test_views], outputs, strict=True)
    return np.sum([weight * one for weight, one in pairs], axis=0)
