import numpy as np
import pytest
import tensorflow as tf

from sop_keras.augment.standardize import standardize

CIFAR10 = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


def all_pixel_values():
    """Every value in every channel, shape (16, 4, 4, 3)."""
    return np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(16, 4, 4, 3)


def test_against_double_precision():
    mean, std = CIFAR10
    expected = (all_pixel_values().astype(np.float64) / 255 - mean) / std
    received = standardize(all_pixel_values(), mean, std)
    assert received.dtype == tf.float32
    np.testing.assert_allclose(received, expected, rtol=0, atol=1e-6)


def test_by_hand():
    # 51 / 255 = 0.2: (0.2 - 0.5) / 0.25 = -1.2; 255: (1 - 0.5) / 0.25 = 2.
    received = standardize(np.array([[51], [255]], np.uint8), (0.5,), (0.25,))
    np.testing.assert_allclose(received, [[-1.2], [2.0]], rtol=1e-6)


def test_the_same_in_a_pipeline():
    dataset = tf.data.Dataset.from_tensor_slices(all_pixel_values()).batch(5)
    dataset = dataset.map(lambda x: standardize(x, *CIFAR10))
    assert dataset.element_spec == tf.TensorSpec((None, 4, 4, 3), tf.float32)
    np.testing.assert_array_equal(
        np.concatenate(list(dataset)), standardize(all_pixel_values(), *CIFAR10)
    )


@pytest.mark.parametrize(
    ("images", "mean", "std", "text"),
    [
        (np.zeros((2, 3), np.float32), *CIFAR10, "uint8.*Received: float32"),
        (np.zeros((2, 1), np.uint8), *CIFAR10, "for 1 channels"),
        (np.zeros((2, 3), np.uint8), CIFAR10[0], (0.2,), r"std=\(0.2,\)"),
        (np.zeros((2, 1), np.uint8), (0.5,), (0.0,), r"std=\(0.0,\)"),
    ],
)
def test_statistics_that_do_not_fit(images, mean, std, text):
    with pytest.raises(ValueError, match=text):
        standardize(images, mean, std)
