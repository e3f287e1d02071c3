import numpy as np
import pytest

from sop_keras.backbones.whitening import whitening_filters


def smooth_images(shape=(40, 9, 7, 3), seed=0):
    """Images whose neighbouring pixels and channels have much in common."""
    rng = np.random.default_rng(seed)
    images = rng.normal(size=shape)
    images += np.roll(images, 1, axis=1) + 0.5 * np.roll(images, 1, axis=2)
    return images + 2 * images.mean(axis=3, keepdims=True)


def patches_of(images):
    """All 2x2 patches, one by one, as (row, column, channel) laid flat: float64."""
    _, height, width, _ = images.shape
    return np.array(
        [
            image[row : row + 2, column : column + 2].ravel()
            for image in images.astype(np.float64)
            for row in range(height - 1)
            for column in range(width - 1)
        ]
    )


def test_outputs_of_the_training_patches_are_white():
    images = smooth_images()
    patches = patches_of(images)
    assert len(patches) == 40 * 8 * 6
    kernel = whitening_filters(images, epsilon=1e-12)
    assert kernel.shape == (2, 2, 3, 24)
    outputs = patches @ kernel.reshape(12, 24)
    moments = outputs.T @ outputs / len(patches)
    # Of z and -z: the identity, and its negative beside.
    identity = np.eye(12)
    expected = np.block([[identity, -identity], [-identity, identity]])
    np.testing.assert_allclose(moments, expected, atol=1e-6)


def test_the_definition_with_epsilon():
    images = smooth_images(seed=1).astype(np.float32)
    patches = patches_of(images)
    moments = np.zeros((12, 12))
    for patch in patches:
        moments += np.outer(patch, patch) / len(patches)
    filters = whitening_filters(images, epsilon=0.3).reshape(12, 24)
    np.testing.assert_array_equal(filters[:, 12:], -filters[:, :12])
    norms = np.linalg.norm(filters[:, :12], axis=0)
    directions = filters[:, :12] / norms
    # M e = l e and |e / sqrt(l + 0.3)| for each; falling l; largest number positive.
    eigenvalues = np.linalg.eigvalsh(moments)[::-1]
    np.testing.assert_allclose(
        moments @ directions, directions * eigenvalues, rtol=1e-6
    )
    np.testing.assert_allclose(norms, (eigenvalues + 0.3) ** -0.5, rtol=1e-9)
    assert (filters[:, :12].max(axis=0) == np.abs(filters[:, :12]).max(axis=0)).all()


def test_by_hand():
    # One image, one patch, one channel: x = (3, 0, 4, 0), whose second moments have
    # the eigenvalue 25 in the direction (0.6, 0, 0.8, 0), and 0 in all others.
    kernel = whitening_filters(np.array([3.0, 0, 4, 0]).reshape(1, 2, 2, 1), 11.0)
    np.testing.assert_allclose(kernel[..., 0, 0].ravel(), [0.1, 0, 0.8 / 6, 0])
    np.testing.assert_allclose(kernel[..., 0, 4].ravel(), [-0.1, 0, -0.8 / 6, 0])
    norms = np.linalg.norm(kernel.reshape(4, 8), axis=0)
    np.testing.assert_allclose(norms[1:4], 11**-0.5)


def test_many_images_are_taken_in_parts():
    images = smooth_images((1201, 4, 4, 1))
    patches = patches_of(images)
    outputs = patches @ whitening_filters(images, 1e-12).reshape(4, 8)[:, :4]
    np.testing.assert_allclose(outputs.T @ outputs / len(patches), np.eye(4), atol=1e-8)


def test_images_of_one_colour_are_no_error():
    kernel = whitening_filters(np.zeros((3, 4, 4, 2)))
    assert np.isfinite(kernel).all()
    np.testing.assert_allclose(
        np.linalg.norm(kernel.reshape(8, 16), axis=0), 5e-4**-0.5
    )


@pytest.mark.parametrize(
    ("images", "text"),
    [
        (np.zeros((4, 8, 8)), r"\(n, height, width, channels\).*shape \(4, 8, 8\)"),
        (np.zeros((0, 8, 8, 3)), r"one image or more.*\(0, 8, 8, 3\)"),
        (np.zeros((1, 1, 8, 3)), r"2x2 pixels or more.*\(1, 1, 8, 3\)"),
        (np.zeros((1, 8, 8, 3), np.uint8), "standardised.*Received: uint8"),
        (np.full((1, 8, 8, 3), np.nan), "must be finite"),
    ],
)
def test_refuses_images(images, text):
    with pytest.raises(ValueError, match=text):
        whitening_filters(images)


def test_refuses_epsilon():
    with pytest.raises(ValueError, match=r"`epsilon` must be positive.*epsilon=0"):
        whitening_filters(np.zeros((1, 4, 4, 1)), 0)
