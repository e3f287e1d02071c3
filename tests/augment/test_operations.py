import numpy as np
import pillow_policy
import pytest
import tensorflow as tf
from pillow_images import in_channels, with_pillow

from sop_keras.augment.operations import OPERATIONS, apply_operation

LEVELS, SIGNS = range(11), (1, -1)


def test_the_names_in_their_order():
    # The policy of UDA's published code lists them in this order.
    assert list(OPERATIONS) == [
        *("Invert", "Cutout", "Sharpness", "AutoContrast", "Posterize"),
        *("ShearX", "TranslateX", "TranslateY", "ShearY", "Rotate"),
        *("Equalize", "Contrast", "Color", "Solarize", "Brightness"),
    ]


def at_every_level(images):
    """Each image at 11 levels in 2 directions, Cutout's centres at random.

    Returns the arguments of `apply_operation`: images, levels, signs, centres.
    """
    n, height, width, _ = images.shape
    rng = np.random.default_rng(0)
    levels, signs = np.meshgrid(LEVELS, SIGNS, indexing="ij")
    centres = rng.integers(0, (height, width), (22 * n, 2))
    levels, signs = (np.tile(values.ravel(), n) for values in (levels, signs))
    return np.repeat(images, 22, axis=0), levels, signs, centres


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_level_as_pillow(name, channels, batches):
    def pillow(image, level, sign, centre):
        return pillow_policy.apply(image, name, int(level), sign, centre.tolist())

    for images in batches:
        images, levels, signs, centres = at_every_level(in_channels(images, channels))
        received = apply_operation(images, name, levels, signs, centres)
        assert received.dtype == tf.uint8
        expected = with_pillow(pillow, images, levels, signs, centres)
        np.testing.assert_array_equal(received, expected)


def numbered():
    """Shape (1, 20, 20, 1): pixel (row, column) is 12 row + column + 1."""
    return (12 * np.arange(20)[:, None] + np.arange(20) + 1).astype(np.uint8)[
        None, ..., None
    ]


@pytest.mark.parametrize(
    ("name", "level", "sign", "expected"),
    [
        # Moved by the level in pixels; column 0 shows column 7, row 13 is outside.
        ("TranslateX", 7, 1, lambda x: np.pad(x[:, 7:], ((0, 0), (0, 7)))),
        ("TranslateX", 10, -1, lambda x: np.pad(x[:, :-10], ((0, 0), (10, 0)))),
        ("TranslateY", 1, 1, lambda x: np.pad(x[1:], ((0, 1), (0, 0)))),
        ("TranslateY", 9, -1, lambda x: np.pad(x[:-9], ((9, 0), (0, 0)))),
        # Nothing moves at level 0.
        ("ShearX", 0, 1, lambda x: x),
        ("ShearY", 0, -1, lambda x: x),
        ("Rotate", 0, 1, lambda x: x),
        # 256 - 25.6 level: from 256, 204.8 and 0 on.
        ("Solarize", 0, 1, lambda x: x),
        ("Solarize", 2, 1, lambda x: np.where(x >= 205, 255 - x, x)),
        ("Solarize", 10, 1, lambda x: 255 - x),
        # 4 bits to level 2, 3 to level 4, 2 to level 7, 1 to level 9, then none.
        ("Posterize", 2, 1, lambda x: x // 16 * 16),
        ("Posterize", 3, 1, lambda x: x // 32 * 32),
        ("Posterize", 5, 1, lambda x: x // 64 * 64),
        ("Posterize", 9, 1, lambda x: x // 128 * 128),
        ("Posterize", 10, 1, lambda x: 0 * x),
        # A factor of 1.8 * 5 / 10 + 0.1 = 1 changes nothing; 0.1 and 1.9 do.
        *((n, 5, 1, lambda x: x) for n in ("Brightness", "Contrast", "Sharpness")),
        ("Brightness", 0, 1, lambda x: x // 10),
        ("Brightness", 10, 1, lambda x: np.minimum(19 * x // 10, 255)),
        # Grey images have no color to change.
        ("Color", 0, 1, lambda x: x),
        # Equalize, AutoContrast and Invert have no strength.
        ("Invert", 0, -1, lambda x: 255 - x),
        # A square of 2 level pixels about row 3, column 18, in the grey level of the
        # mean color (0.299 * 125 + 0.587 * 122 + 0.114 * 113 = 121.9).
        ("Cutout", 0, 1, lambda x: x),
        ("Cutout", 3, 1, lambda x: painted(x, slice(0, 6), slice(15, 20))),
        ("Cutout", 10, 1, lambda x: painted(x, slice(0, 13), slice(8, 20))),
    ],
)
def test_magnitudes_by_hand(name, level, sign, expected):
    images = numbered()
    received = apply_operation(images, name, [level], [sign], np.array([[3, 18]]))
    by_hand = expected(images[0, ..., 0].astype(int))
    np.testing.assert_array_equal(received[0, ..., 0], by_hand)


def painted(image, rows, columns):
    image[rows, columns] = 122
    return image


def test_rotation_and_shear_by_hand():
    # A bright line of 101 x 101 black pixels. At level 10 it turns by 30 degrees
    # counter-clockwise: 40 pixels right of the centre, it rises by 40 tan 30 = 23.
    images = np.zeros((1, 101, 101, 1), np.uint8)
    images[:, 48:53] = 200
    turned = apply_operation(images, "Rotate", [10])[0, :, 90, 0]
    assert abs(np.flatnonzero(turned).mean() - (50 - 23.1)) < 1
    # Sheared by 0.3 of the row's column: the pixel at x = 90.5 comes from 27 below.
    sheared = apply_operation(images, "ShearY", [10])[0, :, 90, 0]
    assert abs(np.flatnonzero(sheared).mean() - (50 - 27)) < 1
    sheared = apply_operation(images, "ShearY", [10], [-1])[0, :, 90, 0]
    assert abs(np.flatnonzero(sheared).mean() - (50 + 27)) < 1
    columns = np.swapaxes(images, 1, 2)
    sheared = apply_operation(columns, "ShearX", [5])[0, 90, :, 0]
    assert abs(np.flatnonzero(sheared).mean() - (50 - 13.6)) < 1


@pytest.mark.parametrize("name", OPERATIONS)
def test_one_level_for_all(name):
    images = np.random.default_rng(0).integers(0, 256, (3, 12, 9, 3), np.uint8)
    centres = np.array([[2, 3], [11, 8], [0, 0]])
    np.testing.assert_array_equal(
        apply_operation(images, name, 4, centres=centres),
        apply_operation(images, name, [4] * 3, [1] * 3, centres),
    )


def test_cutout_is_in_the_middle_by_default():
    # Level 2: two pixels before and after row 4, column 3 of 8 x 7 pixels.
    images = np.zeros((1, 8, 7, 1), np.uint8)
    received = apply_operation(images, "Cutout", 2, fill=(1,))[0, ..., 0]
    expected = np.zeros((8, 7))
    expected[2:6, 1:5] = 1
    np.testing.assert_array_equal(received, expected)


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_same_in_a_pipeline(name):
    images = np.random.default_rng(0).integers(0, 256, (2, 12, 9, 3), np.uint8)
    arguments = at_every_level(images)
    # Batches of 20, 20 and 4: the batch size is unknown when the graph is built.
    dataset = tf.data.Dataset.from_tensor_slices(arguments).batch(20)
    dataset = dataset.map(
        lambda images, levels, signs, centres: apply_operation(
            images, name, levels, signs, centres
        )
    )
    assert dataset.element_spec == tf.TensorSpec((None, 12, 9, 3), tf.uint8)
    images, *rest = arguments
    np.testing.assert_array_equal(
        np.concatenate(list(dataset)), apply_operation(images, name, *rest)
    )


@pytest.mark.parametrize(
    ("shape", "dtype", "name", "text"),
    [
        ((2, 8, 8, 3), np.float32, "Invert", "float32.*Standardise after"),
        ((8, 8, 3), np.uint8, "Rotate", r"\(8, 8, 3\)"),
        ((2, 8, 8, 3), np.uint8, "Shear", "Invert.*Received: .*'Shear'"),
    ],
)
def test_what_cannot_be_done(shape, dtype, name, text):
    with pytest.raises(ValueError, match=text):
        apply_operation(np.zeros(shape, dtype), name, 5)
