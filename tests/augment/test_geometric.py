import math

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from pillow_images import in_channels, with_pillow

from sop_keras.augment import geometric


def in_fixed_point(maps):
    return np.stack([geometric.fixed_point(tuple(each)) for each in maps])


def transformed(image, affine):
    return image.transform(image.size, Image.Transform.AFFINE, tuple(affine))


def random_maps(n, height, width):
    """Rotations, scalings and shears about the centre, somewhat off it."""
    rng = np.random.default_rng(0)
    linear = np.eye(2) + rng.uniform(-0.6, 0.6, (n, 2, 2))
    centre = np.array([width, height]) / 2
    shift = centre - linear @ centre + rng.uniform(-8, 8, (n, 2))
    return np.concatenate([linear, shift[..., None]], axis=-1).reshape(n, 6)


@pytest.mark.parametrize("channels", [3, 1])
def test_any_map_as_pillow(channels, batches):
    for images in batches:
        images = in_channels(images, channels)
        images = np.repeat(images, max(1, 40 // len(images)), axis=0)
        maps = random_maps(len(images), *images.shape[1:3])
        received = geometric.warp(images, in_fixed_point(maps))
        assert received.dtype == tf.uint8
        expected = with_pillow(transformed, images, maps)
        # Not vacuous: much is in view, and not where it was.
        assert np.mean(expected > 0) > 0.4
        assert np.mean(expected == images) < 0.5
        np.testing.assert_array_equal(received, expected)


@pytest.mark.parametrize("size", [(33, 33), (40, 64), (64, 41)])
def test_rotations_as_pillow(size):
    degrees = np.arange(-180, 180, 7.3)
    shape = (len(degrees), *size, 3)
    images = np.random.default_rng(0).integers(1, 256, shape, np.uint8)
    maps = in_fixed_point(geometric.rotate(angle, *size) for angle in degrees)
    received = geometric.warp(images, maps)
    expected = with_pillow(
        lambda image, angle: image.rotate(float(angle)), images, degrees
    )
    np.testing.assert_array_equal(received, expected)


@pytest.mark.parametrize(
    ("function", "largest", "affine"),
    [
        (geometric.shear_x, 0.3, lambda s: (1, s, 0, 0, 1, 0)),
        (geometric.shear_y, 0.3, lambda s: (1, 0, 0, s, 1, 0)),
        (geometric.translate_x, 20, lambda s: (1, 0, s, 0, 1, 0)),
        (geometric.translate_y, 20, lambda s: (1, 0, 0, 0, 1, s)),
    ],
)
def test_shears_and_translations_as_pillow(function, largest, affine):
    # Ties among them: 0.12 * 12.5 is 1.5, so the middle of row 12, sheared by 0.12,
    # moves from the middle of a pixel to a border between two.
    strengths = np.linspace(-largest, largest, 41)
    shape = (41, 32, 48, 3)
    images = np.random.default_rng(0).integers(1, 256, shape, np.uint8)
    received = geometric.warp(images, in_fixed_point(map(function, strengths)))
    expected = with_pillow(transformed, images, map(affine, strengths))
    np.testing.assert_array_equal(received, expected)


def numbered(height, width):
    """Shape (1, height, width, 1), pixels 1, 2, 3, ... row by row."""
    numbers = np.arange(1, height * width + 1, dtype=np.uint8)
    return numbers.reshape(1, height, width, 1)


@pytest.mark.parametrize(
    ("affine", "expected"),
    [
        (geometric.IDENTITY, [[1, 2, 3], [4, 5, 6], [7, 8, 9]]),
        # The output pixel (x, y) shows the input pixel (x + 1, y), and so on.
        (geometric.translate_x(1), [[2, 3, 0], [5, 6, 0], [8, 9, 0]]),
        (geometric.translate_x(-2), [[0, 0, 1], [0, 0, 4], [0, 0, 7]]),
        (geometric.translate_y(1), [[4, 5, 6], [7, 8, 9], [0, 0, 0]]),
        (geometric.translate_y(-1), [[0, 0, 0], [1, 2, 3], [4, 5, 6]]),
        # At the centres y = 0.5, 1.5, 2.5, x moves from its middle by 0.35, 1.05 and
        # 1.75 of a pixel: by 0, 1 and 2 pixels.
        (geometric.shear_x(0.7), [[1, 2, 3], [5, 6, 0], [9, 0, 0]]),
        (geometric.shear_y(0.7), [[1, 5, 9], [4, 8, 0], [7, 0, 0]]),
        (geometric.shear_x(-0.7), [[1, 2, 3], [0, 4, 5], [0, 0, 7]]),
        # Counter-clockwise: the right column becomes the first row.
        (geometric.rotate(90, 3, 3), [[3, 6, 9], [2, 5, 8], [1, 4, 7]]),
        (geometric.rotate(-90, 3, 3), [[7, 4, 1], [8, 5, 2], [9, 6, 3]]),
        (geometric.rotate(180, 3, 3), [[9, 8, 7], [6, 5, 4], [3, 2, 1]]),
        (geometric.rotate(0, 3, 3), [[1, 2, 3], [4, 5, 6], [7, 8, 9]]),
    ],
)
def test_by_hand(affine, expected):
    received = geometric.warp(numbered(3, 3), in_fixed_point([affine]))
    np.testing.assert_array_equal(received[0, ..., 0], expected)


def test_a_quarter_turn_of_an_oblong_image_by_hand():
    # 2 x 4 pixels about (2, 1): columns 1 and 2 stay in the frame, as rows.
    maps = in_fixed_point([geometric.rotate(90, 2, 4)])
    received = geometric.warp(numbered(2, 4), maps)
    np.testing.assert_array_equal(received[0, ..., 0], [[0, 3, 7, 0], [0, 2, 6, 0]])


def test_the_map_of_a_rotation():
    # By 30 degrees about (4, 3): the centre stays where it is.
    a, b, c, d, e, f = geometric.rotate(30, 6, 8)
    cosine, sine = math.sqrt(3) / 2, 1 / 2
    np.testing.assert_allclose([a, b, d, e], [cosine, -sine, sine, cosine], atol=1e-12)
    np.testing.assert_allclose(
        [a * 4 + b * 3 + c, d * 4 + e * 3 + f], [4, 3], atol=1e-12
    )


def test_fixed_point_by_hand():
    # Pixel (0, 0) has its centre at (1/2, 1/2): c + a/2 + b/2 is 1 + 1 - 1/8 there.
    fixed = geometric.fixed_point((2.0, -0.25, 1.0, 0.0, 1.0, -3.0))
    assert fixed.dtype == np.int32
    assert (fixed / 65536).tolist() == [2.0, -0.25, 1.875, 0.0, 1.0, -2.5]
    # 0.12 is 7864.32 / 65536, rounded to the nearest: the tie of row 12 falls below.
    assert geometric.fixed_point(geometric.shear_x(0.12))[1] == 7864


@pytest.mark.parametrize(
    "affine",
    [
        geometric.translate_x(5),
        geometric.translate_y(-4),
        geometric.translate_x(-1000),
        geometric.translate_y(30_000),
    ],
)
def test_nothing_wraps_around(affine):
    # Far outside all is black; these are not places in the neighbours' pixels.
    images = np.full((3, 4, 5, 3), 200, np.uint8)
    assert not np.asarray(geometric.warp(images, in_fixed_point([affine] * 3))).any()


def test_maps_in_a_row():
    # Followed backwards, a turn and then a shift are the shift's pixels of the turn.
    images = numbered(5, 7)
    turn, shift = (
        in_fixed_point([affine])
        for affine in (geometric.rotate(20, 5, 7), geometric.translate_x(2))
    )
    in_steps = geometric.warp(geometric.warp(images, turn), shift)
    rows, columns = tf.range(5)[:, None], tf.range(7)
    rows, columns, inside = geometric.follow(shift, rows, columns, 5, 7)
    rows, columns, still_inside = geometric.follow(turn, rows, columns, 5, 7)
    inside = (inside & still_inside).numpy()[0]
    at_once = np.zeros((5, 7), np.uint8)
    at_once[inside] = images[0, rows.numpy()[0][inside], columns.numpy()[0][inside], 0]
    np.testing.assert_array_equal(at_once, in_steps[0, ..., 0])


def test_the_same_in_a_pipeline():
    images = np.random.default_rng(0).integers(0, 256, (7, 12, 9, 3), np.uint8)
    maps = in_fixed_point(random_maps(7, 12, 9))
    # Batches of 3, 3 and 1: the batch size is unknown when the graph is built.
    dataset = tf.data.Dataset.from_tensor_slices((images, maps)).batch(3)
    dataset = dataset.map(geometric.warp)
    assert dataset.element_spec == tf.TensorSpec((None, 12, 9, 3), tf.uint8)
    np.testing.assert_array_equal(
        np.concatenate(list(dataset)), geometric.warp(images, maps)
    )
