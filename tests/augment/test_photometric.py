import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps
from pillow_images import in_channels, with_pillow

from sop_keras.augment import photometric

# Those that the policies use, both ends of Pillow's two ways to blend, and beyond.
FACTORS = (0.0, 0.1, 0.28, 0.46, 0.5, 0.82, 1.0, 1.18, 1.36, 1.9, 3.0)


def enhanced(name):
    def apply(image, factor):
        return getattr(ImageEnhance, name)(image).enhance(float(factor))

    return apply


def solarized(image, threshold):
    return ImageOps.solarize(image, int(threshold))


def posterized(image, bits):
    # Pillow refuses 0 bits from version 13 on, which were black.
    if bits == 0:
        return Image.new(image.mode, image.size)
    return ImageOps.posterize(image, int(bits))


WITHOUT_STRENGTH = {
    "invert": ImageOps.invert,
    "auto_contrast": ImageOps.autocontrast,
    "equalize": ImageOps.equalize,
}
WITH_STRENGTH = {
    "brightness": (enhanced("Brightness"), FACTORS),
    "contrast": (enhanced("Contrast"), FACTORS),
    "color": (enhanced("Color"), FACTORS),
    "sharpness": (enhanced("Sharpness"), FACTORS),
    "solarize": (solarized, (0, 1, 26, 128, 231, 254, 255)),
    "posterize": (posterized, range(9)),
}
ALL = [*WITHOUT_STRENGTH, *WITH_STRENGTH]


def both_ways(name, images):
    """What the library and Pillow make of every image at every strength."""
    function = getattr(photometric, name)
    if name in WITHOUT_STRENGTH:
        return function(images), with_pillow(WITHOUT_STRENGTH[name], images)
    apply, strengths = WITH_STRENGTH[name]
    # Neighbours in the batch differ in strength.
    images = np.repeat(images, len(strengths), axis=0)
    each = np.resize(np.asarray(strengths), len(images))
    return function(images, each), with_pillow(apply, images, each)


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("name", ALL)
def test_real_images_as_pillow(name, channels, batches):
    for images in batches:
        received, expected = both_ways(name, in_channels(images, channels))
        assert received.dtype == tf.uint8
        np.testing.assert_array_equal(received, expected)


def one_color(shape, color):
    return np.broadcast_to(np.array(color, np.uint8), shape)


def degenerate_images(channels):
    """Shape (n, 16, 16, channels): images without contrast, or with hardly any."""
    shape = (16, 16, channels)
    checkers = np.indices((16, 16)).sum(axis=0)[..., None] % 2 == 0
    corner = np.zeros(shape, bool)
    corner[-1, -1] = True
    ramp = np.broadcast_to(np.arange(256).reshape(16, 16, 1), shape)
    images = [one_color(shape, value) for value in (0, 1, 127, 128, 254, 255)]
    for low, high in ((0, 255), (100, 101), (0, 1), (254, 255)):
        for mask in (checkers, corner, ~corner):
            images.append(np.where(mask, high, low) + np.zeros(shape))
    images += [ramp, 255 - ramp, ramp // 2 + 60]
    if channels == 3:
        # One channel alone has contrast; channels are black and white.
        images += [ramp * [0, 1, 0], ramp * [1, 0, 0] + [0, 255, 9]]
        images.append(one_color(shape, (10, 200, 30)))
    return np.stack(images).astype(np.uint8)


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("name", ALL)
def test_degenerate_images_as_pillow(name, channels):
    received, expected = both_ways(name, degenerate_images(channels))
    np.testing.assert_array_equal(received, expected)


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (5, 2), (3, 3), (1, 300), (7, 9)])
@pytest.mark.parametrize("name", ALL)
def test_small_images_as_pillow(name, size, channels):
    shape = (5, *size, channels)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    received, expected = both_ways(name, images)
    np.testing.assert_array_equal(received, expected)


@pytest.mark.parametrize("name", ["brightness", "contrast", "color", "sharpness"])
def test_every_value_at_every_level_of_the_policies(name):
    # All 256 values of red against green and blue that differ: 11 x 256 x 256 pixels,
    # so that each way to cut off a fraction is met.
    red, green = np.meshgrid(np.arange(256), np.arange(256))
    image = np.stack([red, green, (red * 7 + green * 3) % 256], -1).astype(np.uint8)
    factors = [1.8 * level / 10 + 0.1 for level in range(11)]
    images = np.repeat(image[None], 11, axis=0)
    received = getattr(photometric, name)(images, factors)
    expected = with_pillow(enhanced(name.capitalize()), images, factors)
    np.testing.assert_array_equal(received, expected)


def test_contrast_of_a_large_image():
    # 1300 x 1300 x 3 x 255 is 1.3e9, and twice that is beyond int32. White stays white:
    # its mean is 255, too.
    white = np.full((1, 1300, 1300, 3), 255, np.uint8)
    assert np.all(photometric.contrast(white, [0.1]) == 255)


def test_contrast_stretched_from_any_range():
    # Where (v - darkest) 255 / (brightest - darkest) is whole, Pillow's float64 is now
    # and then a little less, and cuts off to one less: from 2 to 51, say.
    pairs = np.sort(np.random.default_rng(0).integers(0, 256, (400, 2)))
    pairs = np.concatenate([pairs, [[2, 51], [0, 255], [7, 7], [254, 255]]])
    images = np.linspace(pairs[:, 0], pairs[:, 1], 256, axis=1).astype(np.uint8)
    images = images.reshape(-1, 16, 16, 1)
    expected = with_pillow(ImageOps.autocontrast, images)
    np.testing.assert_array_equal(photometric.auto_contrast(images), expected)


def test_changing_bits_by_hand():
    images = np.array([0b00001111, 0b11110000], np.uint8).reshape(2, 1, 1, 1)
    images = np.repeat(images, 2, axis=2)
    # From 16 on, flip the lowest two bits; then keep all but the highest.
    received = photometric.change_bits(images, [16, 16], [3, 3], [127, 127])
    assert np.asarray(received)[:, 0, 0, 0].tolist() == [0b00001111, 0b01110011]
    # Another threshold, other bits and another mask for each image.
    received = photometric.change_bits(images, [0, 255], [255, 255], [128, 255])
    assert np.asarray(received)[:, 0, 0, 0].tolist() == [128, 0b11110000]


def test_by_hand():
    row = np.array([10, 20, 40, 250], np.uint8).reshape(1, 1, 4, 1)

    def values(name, *arguments):
        result = getattr(photometric, name)(row, *([a] for a in arguments))
        return np.asarray(result).ravel().tolist()

    assert values("invert") == [245, 235, 215, 5]
    assert values("solarize", 40) == [10, 20, 215, 5]
    # Two bits: multiples of 64.
    assert values("posterize", 2) == [0, 0, 0, 192]
    # 1.5 v, at most 255.
    assert values("brightness", 1.5) == [15, 30, 60, 255]
    # The mean is 80: 80 + 0.5 (v - 80).
    assert values("contrast", 0.5) == [45, 50, 60, 165]
    # 255 (v - 10) / 240: 0, 10.625, 31.875 and 255, cut off.
    assert values("auto_contrast") == [0, 10, 31, 255]
    # Three pixels below the brightest value are fewer than 255 steps: unchanged.
    assert values("equalize") == [10, 20, 40, 250]


def test_the_mean_of_contrast_is_rounded_half_up():
    # The mean of 3 and 4 is 3.5, so at factor 0 everything is 4.
    images = np.array([3, 4], np.uint8).reshape(1, 1, 2, 1)
    np.testing.assert_array_equal(photometric.contrast(images, [0.0]), images * 0 + 4)


def test_sharpness_by_hand():
    # Smoothing spreads 130 as 10 to each neighbour and 50 in place; the outermost
    # pixels stay. At factor 2: 2 v - smoothed, so -10 is cut to 0 and 210 is left.
    images = np.zeros((1, 5, 5, 1), np.uint8)
    images[0, 2, 2] = 130
    smoothed = np.zeros((5, 5))
    smoothed[1:4, 1:4] = 10
    smoothed[2, 2] = 50
    received = photometric.sharpness(np.repeat(images, 2, axis=0), [0.0, 2.0])
    np.testing.assert_array_equal(received[0, ..., 0], smoothed)
    expected = np.zeros((5, 5))
    expected[2, 2] = 210
    np.testing.assert_array_equal(received[1, ..., 0], expected)


@pytest.mark.parametrize("name", ALL)
def test_the_same_in_a_pipeline(name):
    images = np.random.default_rng(0).integers(0, 256, (7, 6, 9, 3), np.uint8)
    function = getattr(photometric, name)
    arguments = []
    if name in WITH_STRENGTH:
        arguments = [np.resize(np.asarray(WITH_STRENGTH[name][1]), 7)]
    # Batches of 3, 3 and 1: the batch size is unknown when the graph is built.
    dataset = tf.data.Dataset.from_tensor_slices((images, *arguments)).batch(3)
    dataset = dataset.map(function)
    assert dataset.element_spec == tf.TensorSpec((None, 6, 9, 3), tf.uint8)
    np.testing.assert_array_equal(
        np.concatenate(list(dataset)), function(images, *arguments)
    )
