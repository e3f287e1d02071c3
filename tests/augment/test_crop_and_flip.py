import numpy as np
import pytest
import tensorflow as tf

from sop_keras.augment.crop_and_flip import pad_crop_flip
from sop_keras.randomness.keyed import random_bits


def draw(bound, seed, stream, epoch, example_id):
    """floor(bound * h / 2**32), h the high half of the 64 bits."""
    high = int(random_bits(seed, stream, epoch, example_id)) >> 32
    return bound * high // 2**32


def slow_view(image, example_id, epoch, seed, padding, flip):
    """One image, pixel by pixel: black outside, then the crop, then the mirror."""
    height, width, _ = image.shape
    top = draw(2 * padding + 1, seed, "weak_top", epoch, example_id) - padding
    left = draw(2 * padding + 1, seed, "weak_left", epoch, example_id) - padding
    view = np.zeros_like(image)
    for row in range(height):
        for column in range(width):
            if 0 <= row + top < height and 0 <= column + left < width:
                view[row, column] = image[row + top, column + left]
    if flip and draw(2, seed, "weak_flip", epoch, example_id):
        view = np.fliplr(view)
    return view


def random_images(shape):
    # No zeros: only the border is black.
    return np.random.default_rng(1).integers(1, 256, shape, np.uint8)


@pytest.mark.parametrize("shape", [(20, 9, 7, 3), (20, 6, 6, 1), (1, 5, 8, 4)])
@pytest.mark.parametrize(
    "options", [{"padding": 4}, {"padding": 2, "flip": False}, {"padding": 0}]
)
def test_against_a_loop(shape, options):
    images = random_images(shape)
    ids = np.random.default_rng(2).integers(0, 10**12, len(images))
    padding, flip = options["padding"], options.get("flip", True)
    for epoch, seed in ((0, 0), (119, 2**63 + 5)):
        expected = [
            slow_view(x, i, epoch, seed, padding, flip)
            for x, i in zip(images, ids, strict=True)
        ]
        views = pad_crop_flip(images, ids, epoch, seed, **options)
        assert views.dtype == tf.uint8
        np.testing.assert_array_equal(views, expected)


def test_the_same_view_in_any_batch_and_order():
    images, ids = random_images((30, 8, 8, 3)), np.arange(100, 130)
    whole = pad_crop_flip(images, ids, 3, 11).numpy()
    shuffled = np.random.default_rng(3).permutation(30)
    for places in (shuffled, shuffled[:7], [4]):
        part = pad_crop_flip(images[places], ids[places], 3, 11)
        np.testing.assert_array_equal(part, whole[places])


def test_the_same_in_a_pipeline():
    images, ids = random_images((12, 8, 8, 3)), np.arange(12)
    eager = pad_crop_flip(images, ids, 5, 11)
    # Batches of 5, 5 and 2: the batch size is unknown when the graph is built.
    dataset = (
        tf.data.Dataset.from_tensor_slices((images, ids))
        .batch(5)
        .map(
            lambda x, i: pad_crop_flip(x, i, tf.constant(5, tf.int64), 11),
            num_parallel_calls=2,
        )
    )
    assert dataset.element_spec == tf.TensorSpec((None, 8, 8, 3), tf.uint8)
    np.testing.assert_array_equal(np.concatenate(list(dataset)), eager)


def positions_of_the_bright_pixel(images, epoch, padding=4, **options):
    ids = np.arange(len(images))
    views = pad_crop_flip(images, ids, epoch, 1, padding=padding, **options).numpy()
    return views.reshape(len(views), -1).argmax(axis=1)


def test_all_shifts_are_equally_frequent():
    # A pixel at the centre of 9x9 pixels, which shifts of -4 to 4 carry to each of the
    # 81 places. Pearson's chi-square with 80 degrees of freedom: mean 80, variance 160.
    images = np.zeros((32_400, 9, 9, 1), np.uint8)
    images[:, 4, 4] = 255
    first = positions_of_the_bright_pixel(images, 0)
    counts = np.bincount(first, minlength=81)
    assert len(counts) == 81
    chi_square = np.sum((counts - 400) ** 2) / 400
    assert abs(chi_square - 80) < 4 * np.sqrt(160)
    # Two epochs agree by chance alone: 1 in 81, binomial with deviation below 20.
    second = positions_of_the_bright_pixel(images, 1)
    assert abs(np.sum(first == second) - 400) < 4 * np.sqrt(400)


def test_half_of_the_views_are_flipped():
    images = np.zeros((10_000, 1, 2, 1), np.uint8)
    images[:, 0, 0] = 255
    # The pixel on the left goes to the right: binomial with deviation 50.
    num_flipped = positions_of_the_bright_pixel(images, 0, padding=0).sum()
    assert abs(num_flipped - 5_000) < 4 * 50
    assert not positions_of_the_bright_pixel(images, 0, padding=0, flip=False).any()


def test_shift_and_flip_are_independent():
    # Rows tell the shift, columns the flip: 9 x 2 cells, 17 degrees of freedom.
    images = np.zeros((18_000, 9, 60, 1), np.uint8)
    images[:, 4, 0] = 255
    images[:, 4, 59] = 254
    views = pad_crop_flip(images, np.arange(18_000), 0, 1, padding=4).numpy()[..., 0]
    rows = views.max(axis=2).argmax(axis=1)
    # Whichever end is still in the crop says which way the image looks.
    left_half, right_half = views[:, :, :30].max((1, 2)), views[:, :, 30:].max((1, 2))
    flipped = (left_half == 254) | (right_half == 255)
    counts = np.bincount(2 * rows + flipped, minlength=18)
    chi_square = np.sum((counts - 1_000) ** 2) / 1_000
    assert abs(chi_square - 17) < 4 * np.sqrt(34)


@pytest.mark.parametrize(
    ("images", "options", "text"),
    [
        (np.zeros((2, 8, 8, 3), np.float32), {}, "float32.*Standardise after"),
        (np.zeros((8, 8, 3), np.uint8), {}, r"\(8, 8, 3\)"),
        (np.zeros((2, 8, 8, 3), np.uint8), {"padding": -1}, "padding=-1"),
    ],
)
def test_what_cannot_be_augmented(images, options, text):
    with pytest.raises(ValueError, match=text):
        pad_crop_flip(images, np.arange(2), 0, 0, **options)


def test_the_shift_is_up_to_an_eighth_of_the_shorter_side():
    images, ids = random_images((50, 24, 40, 3)), np.arange(50)
    expected = pad_crop_flip(images, ids, 0, 1, padding=3)
    np.testing.assert_array_equal(pad_crop_flip(images, ids, 0, 1), expected)


def test_there_must_be_one_id_for_each_image():
    images = random_images((4, 8, 8, 3))
    for ids in ([1], [1, 2, 3], [1, 2, 3, 4, 5], [[1], [2], [3], [4]]):
        with pytest.raises(ValueError, match=r"shape \(4,\), one for each image"):
            pad_crop_flip(images, ids, 0, 0)
    with pytest.raises(ValueError, match=r"integers.*float32"):
        pad_crop_flip(images, np.arange(4, dtype=np.float32), 0, 0)
    unknown = tf.function(
        lambda x, i: pad_crop_flip(x, i, 0, 0),
        input_signature=(
            tf.TensorSpec((None, 8, 8, 3), tf.uint8),
            tf.TensorSpec((None,), tf.int32),
        ),
    )
    np.testing.assert_array_equal(
        unknown(images, [1, 2, 3, 4]), pad_crop_flip(images, [1, 2, 3, 4], 0, 0)
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="one id for each image"):
        unknown(images, [1, 2, 3])


def test_sizes_must_be_known_to_the_graph():
    dataset = tf.data.Dataset.from_generator(
        lambda: iter([]), output_signature=tf.TensorSpec((2, None, 8, 3), tf.uint8)
    )
    with pytest.raises(ValueError, match=r"\(2, None, 8, 3\)"):
        dataset.map(lambda x: pad_crop_flip(x, [0, 1], 0, 0))


@pytest.mark.parametrize("channels", [1, 3])
def test_without_padding_images_stay_or_are_mirrored(channels):
    x = np.random.default_rng(0).integers(0, 256, (60, 5, 7, channels), np.uint8)
    views = pad_crop_flip(x, np.arange(60), 1, 2, padding=0).numpy()
    stays = (views == x).all((1, 2, 3))
    is_mirrored = (views == x[:, :, ::-1]).all((1, 2, 3))
    np.testing.assert_array_equal(stays, ~is_mirrored)
    assert 15 < is_mirrored.sum() < 45
