"""Filters that whiten the patches of images: a first layer without training."""

from __future__ import annotations

from typing import Any

import numpy as np

from sop_keras.validation import check_positive

PATCH_SIZE = 2
"""The side of a patch, in pixels."""

EPSILON = 5e-4
"""What is added to every eigenvalue, of standardised images."""

_IMAGES_AT_ONCE = 500


def whitening_filters(images: Any, epsilon: float = EPSILON) -> np.ndarray:
    """Convolution kernels that make the patches of images white, with both signs.

    A patch x of 2x2 pixels has D = 4 channels numbers. With the second moments
    `E[x x^T] = sum_i l_i e_i e_i^T` over all patches of all images, filter i is

        e_i / sqrt(l_i + epsilon),

    so that the D outputs z have `E[z z^T] = diag(l_i / (l_i + epsilon))`: the identity,
    but for directions in which patches hardly vary. Filter D + i is its negative, since
    what follows is an activation that lets one sign pass. Moments are about 0, as a
    convolution subtracts no mean; of standardised images that is the covariance.

    The first layer of D. Page, "How to Train Your ResNet" (2018, part 8), on patches of
    2x2 pixels as in K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU" (2024,
    arXiv 2404.00498).

    Args:
        images: standardised, floating, shape `(n, height, width, channels)`, n at least
            1, height and width at least 2.
        epsilon: positive. Defaults to `5e-4`, the source's.

    Returns:
        float64 array, shape `(2, 2, channels, 8 * channels)`, as `keras.layers.Conv2D`
        takes it: filters of falling eigenvalues, then their negatives. The largest
        number of each of the first half is positive, so that equal images give equal
        filters wherever eigenvectors are computed.

    Raises:
        ValueError: for images of another type or shape, or that are not finite, and for
            an epsilon that is not positive.

    Example:
    ```python
    kernel = whitening_filters((x_train[:5000] / 255 - mean) / std)
    ```
    """
    images = _checked(images)
    epsilon = check_positive("epsilon", epsilon)
    moments = _second_moments(images)
    if not np.isfinite(moments).all():
        raise ValueError(
            "`images` must be finite. Received: NaN or infinite values among them, or "
            "values too large to be squared."
        )
    eigenvalues, eigenvectors = np.linalg.eigh(moments)  # rising; one a column
    eigenvalues = np.maximum(eigenvalues[::-1], 0.0)
    filters = eigenvectors[:, ::-1] / np.sqrt(eigenvalues + epsilon)
    largest = np.take_along_axis(filters, np.abs(filters).argmax(0)[None], axis=0)
    filters = filters * np.sign(largest)
    both = np.concatenate([filters, -filters], axis=1)
    return both.reshape(PATCH_SIZE, PATCH_SIZE, images.shape[-1], -1)


def _checked(images: Any) -> np.ndarray:
    images = np.asarray(images)
    if images.ndim != 4 or not len(images) or min(images.shape[1:3]) < PATCH_SIZE:
        raise ValueError(
            "`images` must have the shape (n, height, width, channels), one image or "
            f"more, of {PATCH_SIZE}x{PATCH_SIZE} pixels or more. Received: shape "
            f"{images.shape}."
        )
    if not np.issubdtype(images.dtype, np.floating):
        raise ValueError(
            "`images` must be standardised, as the network is fed them: floating "
            f"numbers, (pixels / 255 - mean) / std. Received: {images.dtype}."
        )
    return images


def _second_moments(images: np.ndarray) -> np.ndarray:
    """E[x x^T] over all patches x, each as (row, column, channel): float64 (D, D)."""
    height, width, channels = images.shape[1:]
    rows, columns = height - PATCH_SIZE + 1, width - PATCH_SIZE + 1
    size = PATCH_SIZE * PATCH_SIZE * channels
    total = np.zeros((size, size))
    for start in range(0, len(images), _IMAGES_AT_ONCE):
        part = images[start : start + _IMAGES_AT_ONCE].astype(np.float64)
        pixels = [
            part[:, top : top + rows, left : left + columns]
            for top in range(PATCH_SIZE)
            for left in range(PATCH_SIZE)
        ]
        patches = np.concatenate(pixels, axis=-1).reshape(-1, size)
        total += patches.T @ patches
    return total / (len(images) * rows * columns)
