import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from sop_keras.augment.cutout import FILL, cutout


def slow_cutout(image, row, column, size, color):
    result = image.copy()
    for i in range(image.shape[0]):
        for j in range(image.shape[1]):
            in_rows = row - size // 2 <= i < row + size // 2
            in_columns = column - size // 2 <= j < column + size // 2
            if in_rows and in_columns:
                result[i, j] = color
    return result


def random_squares(shape, largest):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, shape, np.uint8)
    rows, columns = (rng.integers(0, side, shape[0]) for side in shape[1:3])
    return images, rows, columns, rng.integers(0, largest + 1, shape[0])


@pytest.mark.parametrize(
    ("shape", "fill"),
    [
        ((60, 9, 14, 3), (1, 2, 250)),
        ((60, 14, 9, 1), (77,)),
        ((2, 1, 1, 3), (0, 255, 9)),
    ],
)
def test_against_a_loop(shape, fill):
    # Squares of 0 to 20 pixels: odd ones, none at all, larger than the image.
    images, rows, columns, sizes = random_squares(shape, 20)
    received = cutout(images, rows, columns, sizes, fill)
    assert received.dtype == tf.uint8
    expected = [
        slow_cutout(*each, fill)
        for each in zip(images, rows, columns, sizes, strict=True)
    ]
    np.testing.assert_array_equal(received, expected)


def test_by_hand():
    # Two pixels before the centre and one after it, as far as there are any.
    images = np.zeros((3, 5, 6, 1), np.uint8)
    received = cutout(images, [2, 0, 4], [3, 5, 0], 4, (9,))[..., 0]
    covered = [np.argwhere(image == 9) for image in np.asarray(received)]
    frames = [(*places.min(axis=0), *places.max(axis=0)) for places in covered]
    assert frames == [(0, 1, 3, 4), (0, 3, 1, 5), (2, 0, 4, 1)]
    assert [len(places) for places in covered] == [16, 6, 6]


def test_one_size_for_all():
    images, rows, columns, _ = random_squares((10, 8, 8, 3), 0)
    np.testing.assert_array_equal(
        cutout(images, rows, columns, 4), cutout(images, rows, columns, [4] * 10)
    )


def test_the_color_is_the_mean_of_cifar10():
    mean = (0.4914, 0.4822, 0.4465)
    # 125.3, 123.0 and 113.9. The published constant is off the mean by up to one.
    np.testing.assert_allclose(FILL, 255 * np.array(mean), atol=1)
    assert FILL == (125, 122, 113)
    images = np.zeros((1, 2, 2, 3), np.uint8)
    received = cutout(images, [1], [1], 2)
    np.testing.assert_array_equal(received, [[[FILL] * 2] * 2])


@pytest.mark.parametrize(
    "color", [FILL, (0, 0, 0), (255, 255, 255), (3, 200, 90), (200, 1, 1)]
)
def test_grey_images_get_the_grey_level(color):
    grey = Image.new("RGB", (1, 1), color).convert("L").getpixel((0, 0))
    received = cutout(np.zeros((1, 2, 2, 1), np.uint8), [1], [1], 2, color)
    np.testing.assert_array_equal(received, np.full((1, 2, 2, 1), grey))


def test_the_same_in_a_pipeline():
    images, *squares = random_squares((7, 6, 9, 3), 8)
    # Batches of 3, 3 and 1: the batch size is unknown when the graph is built.
    dataset = tf.data.Dataset.from_tensor_slices((images, *squares)).batch(3)
    dataset = dataset.map(cutout)
    assert dataset.element_spec == tf.TensorSpec((None, 6, 9, 3), tf.uint8)
    np.testing.assert_array_equal(
        np.concatenate(list(dataset)), cutout(images, *squares)
    )


@pytest.mark.parametrize(
    ("channels", "fill", "text"),
    [
        (3, (1, 2), r"3 numbers from 0 to 255.*\(1, 2\)"),
        (3, (1,), r"3 numbers from 0 to 255.*\(1,\)"),
        (3, (1, 2, 256), "256"),
        (3, (-1, 2, 3), "-1"),
        (1, (1, 2), r"\(1, 2\)"),
        (1, (300,), "300"),
    ],
)
def test_colors_that_do_not_fit(channels, fill, text):
    images = np.zeros((1, 4, 4, channels), np.uint8)
    with pytest.raises(ValueError, match=text):
        cutout(images, [0], [0], 2, fill)


def test_images_of_another_type():
    with pytest.raises(ValueError, match="float32"):
        cutout(np.zeros((1, 4, 4, 3), np.float32), [0], [0], 2)
