import random
from collections import Counter

import numpy as np
import pillow_policy
import pytest
import tensorflow as tf
from pillow_images import in_channels, keyed_integer, to_array, to_pillow

from sop_keras.augment.autoaugment import POLICY, autoaugment
from sop_keras.augment.crop_and_flip import pad_crop_flip
from sop_keras.augment.operations import OPERATIONS
from sop_keras.augment.standardize import standardize
from sop_keras.augment.uda import uda
from sop_keras.randomness.keyed import random_integers

POLICIES = {
    "uda": (uda, pillow_policy.uda_draws),
    "autoaugment": (autoaugment, pillow_policy.autoaugment_draws),
}

# Table 7 of Cubuk et al., "AutoAugment: Learning Augmentation Policies from Data"
# (CVPR 2019): sub-policies 0 to 24, (operation, probability, magnitude) twice.
TABLE_7 = """
    Invert 0.1 7 Contrast 0.2 6
    Rotate 0.7 2 TranslateX 0.3 9
    Sharpness 0.8 1 Sharpness 0.9 3
    ShearY 0.5 8 TranslateY 0.7 9
    AutoContrast 0.5 8 Equalize 0.9 2
    ShearY 0.2 7 Posterize 0.3 7
    Color 0.4 3 Brightness 0.6 7
    Sharpness 0.3 9 Brightness 0.7 9
    Equalize 0.6 5 Equalize 0.5 1
    Contrast 0.6 7 Sharpness 0.6 5
    Color 0.7 7 TranslateX 0.5 8
    Equalize 0.3 7 AutoContrast 0.4 8
    TranslateY 0.4 3 Sharpness 0.2 6
    Brightness 0.9 6 Color 0.2 8
    Solarize 0.5 2 Invert 0.0 3
    Equalize 0.2 0 AutoContrast 0.6 0
    Equalize 0.2 8 Equalize 0.6 4
    Color 0.9 9 Equalize 0.6 6
    AutoContrast 0.8 4 Solarize 0.2 8
    Brightness 0.1 3 Color 0.7 0
    Solarize 0.4 5 AutoContrast 0.9 3
    TranslateY 0.9 9 TranslateY 0.7 9
    AutoContrast 0.9 2 Solarize 0.8 3
    Equalize 0.8 8 Invert 0.1 3
    TranslateY 0.7 9 AutoContrast 0.9 1
"""


def test_the_table_of_autoaugment():
    received = [
        " ".join(str(entry) for operation in pair for entry in operation)
        for pair in POLICY
    ]
    assert received == [line.strip() for line in TABLE_7.strip().splitlines()]


def with_pillow(policy, images, ids, epoch, seed, padding, flip, cutout_size, fill):
    """Whole views, uint8, and the draws that they were made by."""
    views, all_draws = [], []
    for image, example_id in zip(images, ids, strict=True):
        height, width, _ = image.shape
        integer = keyed_integer(seed, policy, epoch, int(example_id))
        draws = POLICIES[policy][1](integer, height, width, padding)
        draws = draws._replace(flipped=draws.flipped and flip)
        view = pillow_policy.view(to_pillow(image), draws, padding, fill)
        view = np.array(to_array(view))
        pillow_policy.cut_out(view, draws.centre, cutout_size, fill)
        views.append(view)
        all_draws.append(draws)
    return np.stack(views), all_draws


def fill_for(channels):
    return (125, 122, 113) if channels == 3 else (119,)


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("policy", POLICIES)
def test_views_of_cifar_as_pillow(policy, channels, cifar_images):
    images, fill = in_channels(cifar_images, channels), fill_for(channels)
    ids = 250 * np.arange(200)
    seen = Counter()
    for epoch, seed in ((0, 0), (1, 0), (2, 7), (299, 2**63 + 5)):
        received = POLICIES[policy][0](images, ids, epoch, seed, fill=fill)
        assert received.dtype == tf.uint8
        expected, draws = with_pillow(
            policy, images, ids, epoch, seed, 4, True, 16, fill
        )
        np.testing.assert_array_equal(received, expected)
        for each in draws:
            seen.update(operation.name for operation in each.operations)
            seen["two"] += len(each.operations) == 2
            seen["none"] += not each.operations
    # Nothing was left out: AutoAugment's policy has neither Cutout nor ShearX.
    absent = {"Cutout", "ShearX"} if policy == "autoaugment" else set()
    assert seen.keys() == {*OPERATIONS, "two", "none"} - absent
    assert min(seen.values()) >= 3


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("policy", POLICIES)
def test_views_of_photographs_as_pillow(policy, channels, photographs):
    fill = fill_for(channels)
    for photograph in photographs:
        # Twenty views of each, in sizes that grow with it.
        images = in_channels(np.repeat(photograph[None], 20, axis=0), channels)
        side, ids = min(images.shape[1:3]), np.arange(20)
        options = {"padding": side // 8, "flip": True, "cutout_size": side // 2}
        received = POLICIES[policy][0](images, ids, 3, 1, **options, fill=fill)
        expected, _ = with_pillow(policy, images, ids, 3, 1, *options.values(), fill)
        np.testing.assert_array_equal(received, expected)


@pytest.mark.parametrize(
    "options",
    [
        {"padding": 0, "flip": False, "cutout_size": 0},
        {"padding": 11, "flip": True, "cutout_size": 5},
        {"padding": 2, "flip": False, "cutout_size": 60},
    ],
)
@pytest.mark.parametrize("policy", POLICIES)
def test_other_options_as_pillow(policy, options):
    images = np.random.default_rng(0).integers(0, 256, (150, 10, 13, 3), np.uint8)
    ids, fill = np.arange(150), (9, 200, 31)
    received = POLICIES[policy][0](images, ids, 0, 3, **options, fill=fill)
    expected, _ = with_pillow(policy, images, ids, 0, 3, *options.values(), fill)
    np.testing.assert_array_equal(received, expected)


@pytest.mark.parametrize("policy", POLICIES)
def test_what_a_network_is_fed_as_published(policy, cifar_images):
    # Published pipelines cut zeros out of normalised images. Here the mean color is cut
    # out before, in whole numbers: within half a grey level of 0 once normalised.
    mean = np.array([0.4914, 0.4822, 0.4465], np.float32)
    std = np.array([0.2023, 0.1994, 0.2010], np.float32)
    ids, fill = np.arange(200), (125, 123, 114)
    views = POLICIES[policy][0](cifar_images, ids, 4, 0, fill=fill)
    received = standardize(views, mean.tolist(), std.tolist()).numpy()
    for image, example_id, view in zip(cifar_images, ids, received, strict=True):
        integer = keyed_integer(0, policy, 4, int(example_id))
        draws = POLICIES[policy][1](integer, 32, 32, 4)
        expected = pillow_policy.training_example(
            to_pillow(image), draws, mean, std, padding=4, cutout_size=16, fill=fill
        )
        assert expected.dtype == np.float32
        square = np.zeros((32, 32), bool)
        pillow_policy.cut_out(square, draws.centre, 16, True)
        assert not expected[square].any()
        assert np.abs(view[square]).max() <= 0.5 / 255 / std.min()
        np.testing.assert_allclose(view[~square], expected[~square], atol=1e-5)


def test_the_weak_view_as_pillow(cifar_images):
    # Its draws have streams of their own, at the places that the others number.
    streams = {12: "weak_top", 13: "weak_left", 14: "weak_flip"}
    received = pad_crop_flip(cifar_images, np.arange(200), 3, 9)
    for example_id, image in enumerate(cifar_images):
        draws = pillow_policy.weak_draws(
            lambda k, bound, i=example_id: int(
                random_integers(bound, 9, streams[k], 3, i)
            ),
            *(32, 32, 4),
        )
        view = pillow_policy.view(to_pillow(image), draws, 4, ())
        np.testing.assert_array_equal(received[example_id], view)


def noise(n, height=12, width=10):
    return np.random.default_rng(0).integers(0, 256, (n, height, width, 3), np.uint8)


@pytest.mark.parametrize("policy", POLICIES)
def test_the_same_view_in_any_batch_and_order(policy):
    augment = POLICIES[policy][0]
    images, ids = noise(120), np.arange(1000, 1120)
    whole = augment(images, ids, 3, 11).numpy()
    shuffled = np.random.default_rng(3).permutation(120)
    for places in (shuffled, shuffled[:37], [5]):
        part = augment(images[places], ids[places], 3, 11)
        np.testing.assert_array_equal(part, whole[places])


@pytest.mark.parametrize("policy", POLICIES)
def test_an_empty_batch_stays_empty(policy):
    received = POLICIES[policy][0](noise(0), np.zeros(0, np.int64), 0, 0)
    assert received.shape == (0, 12, 10, 3)


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("policy", POLICIES)
def test_the_same_in_a_pipeline(policy, channels):
    augment = POLICIES[policy][0]
    images, ids = noise(70)[..., :channels], np.arange(70)
    eager = augment(images, ids, 5, 11)
    # Batches of 32, 32 and 6: the batch size is unknown when the graph is built.
    dataset = (
        tf.data.Dataset.from_tensor_slices((images, ids))
        .batch(32)
        .map(
            lambda x, i: augment(x, i, tf.constant(5, tf.int64), 11),
            num_parallel_calls=2,
        )
    )
    assert dataset.element_spec == tf.TensorSpec((None, 12, 10, channels), tf.uint8)
    np.testing.assert_array_equal(np.concatenate(list(dataset)), eager)


@pytest.mark.parametrize("policy", POLICIES)
def test_epochs_seeds_and_ids_give_different_views(policy):
    augment = POLICIES[policy][0]
    images = np.repeat(noise(1, 32, 32), 200, axis=0)
    ids = np.arange(200)
    views = [
        augment(images, ids, 0, 0),
        augment(images, ids, 1, 0),
        augment(images, ids, 0, 1),
        augment(images, 200 + ids, 0, 0),
    ]
    # Noise shows every difference, and 81 crops, flips and 1024 squares make equal
    # views by chance rare.
    views = np.concatenate(views).reshape(800, -1)
    assert len(np.unique(views, axis=0)) >= 799


def test_the_two_policies_are_drawn_independently():
    # Both end with the same steps: of 2,000 views of which 81 crops are possible, 25
    # share one by chance (binomial, deviation 5).
    ids = np.arange(2000)
    crops = [
        9 * random_integers(9, 0, policy, 0, ids, 12)
        + random_integers(9, 0, policy, 0, ids, 13)
        for policy in POLICIES
    ]
    assert abs(np.sum(crops[0] == crops[1]) - 2000 / 81) < 4 * 5


# The statistics below are of the draws. That the library's views are made by these
# draws is what the comparisons with Pillow above show.
NUM_VIEWS = 90_000


def drawn(policy, bound, k):
    return random_integers(bound, 17, policy, 4, np.arange(NUM_VIEWS), k)


def assert_uniform(values, num_values):
    """Pearson's chi-square: mean n - 1 and variance 2 (n - 1) for n equal cells."""
    counts = np.bincount(values, minlength=num_values)
    assert len(counts) == num_values
    expected = len(values) / num_values
    chi_square = np.sum((counts - expected) ** 2) / expected
    freedom = num_values - 1
    assert abs(chi_square - freedom) < 4 * np.sqrt(2 * freedom), chi_square


def test_each_of_the_fifteen_operations_is_equally_frequent():
    first, second = drawn("uda", 15, 0), drawn("uda", 15, 6)
    applied = [drawn("uda", 10, k) < 5 for k in (1, 7)]
    # All pairs of operations, and with each the levels and whether it is applied.
    assert_uniform(15 * first + second, 225)
    assert_uniform(9 * first + drawn("uda", 9, 2), 135)
    assert_uniform(9 * second + drawn("uda", 9, 8), 135)
    assert_uniform(2 * first + applied[0], 30)
    assert_uniform(2 * second + applied[1], 30)
    assert_uniform(2 * applied[0] + applied[1], 4)
    # Signs and levels, flips and operations.
    assert_uniform(2 * drawn("uda", 9, 2) + drawn("uda", 2, 3), 18)
    assert_uniform(2 * first + drawn("uda", 2, 14), 30)
    # Each operation twice with probability 1/2 * 1/15.
    assert_uniform(np.concatenate([first[applied[0]], second[applied[1]]]), 15)


def test_each_of_the_25_pairs_is_equally_frequent():
    pair = drawn("autoaugment", 25, 0)
    assert_uniform(pair, 25)
    # With each the tenths that both probabilities are measured by.
    assert_uniform(10 * pair + drawn("autoaugment", 10, 1), 250)
    assert_uniform(10 * pair + drawn("autoaugment", 10, 7), 250)


def test_the_share_of_views_without_any_operation():
    # Both operations are left out with probability 1/4: at these options such views are
    # the images themselves. Of the others, those stay that change nothing: enhanced by
    # a factor of 1 (4 of 15 operations, 1 of 9 levels), or stretched by AutoContrast (1
    # of 15) although every channel has black and white.
    images = np.repeat(noise(1, 24, 24), 4000, axis=0)
    images[:, 0, 0], images[:, 1, 1] = 0, 255
    views = uda(images, np.arange(4000), 0, 0, padding=0, flip=False, cutout_size=0)
    unchanged = (views.numpy() == images).all(axis=(1, 2, 3)).mean()
    # An operation that stays: 1/2 + 1/2 (4/135 + 1/15) = 0.548; two of them 0.300. Two
    # that undo each other (Invert twice, shifts off the frame do not): 1/4 * 1/225.
    expected = (1 / 2 + 1 / 2 * (4 / 135 + 1 / 15)) ** 2 + 1 / 4 / 225
    # Binomial, deviation 0.0072.
    assert abs(unchanged - expected) < 4 * 0.0072


def test_draws_from_python_are_draws_of_the_same_kind():
    # What the benchmark times: floor(bound * uniform) for floor(bound * h / 2**32).
    uniform = random.Random(0).random
    draws = [
        pillow_policy.uda_draws(lambda k, bound: int(bound * uniform()), 32, 32, 4)
        for _ in range(3000)
    ]
    operations = [operation for each in draws for operation in each.operations]
    # Two slots at probability 1/2: 3,000, deviation 39; a fifteenth of them each.
    assert abs(len(operations) - 3000) < 4 * 39
    counts = Counter(operation.name for operation in operations)
    assert counts.keys() == set(OPERATIONS)
    assert max(abs(count - 200) for count in counts.values()) < 4.5 * 14
    assert {operation.level for operation in operations} == set(range(1, 10))
    assert {operation.sign for operation in operations} == {1, -1}
    assert {each.top for each in draws} == {each.left for each in draws} == {*range(9)}


@pytest.mark.parametrize(
    ("images", "options", "text"),
    [
        (np.zeros((2, 8, 8, 3), np.float32), {}, "float32.*Standardise after"),
        (np.zeros((8, 8, 3), np.uint8), {}, r"\(8, 8, 3\)"),
        (np.zeros((2, 8, 8, 4), np.uint8), {}, r"1 or 3 channels.*8, 4\)"),
        (np.zeros((2, 8, 8, 3), np.uint8), {"padding": -1}, "padding=-1"),
        (np.zeros((2, 8, 8, 3), np.uint8), {"cutout_size": -2}, "cutout_size=-2"),
        (np.zeros((2, 8, 8, 3), np.uint8), {"fill": (1, 2)}, r"`fill`.*\(1, 2\)"),
        (np.zeros((2, 8, 8, 3), np.uint8), {"fill": (0, 0, 256)}, "`fill`.*256"),
    ],
)
@pytest.mark.parametrize("policy", POLICIES)
def test_what_cannot_be_augmented(policy, images, options, text):
    with pytest.raises(ValueError, match=text):
        POLICIES[policy][0](images, np.arange(2), 0, 0, **options)


@pytest.mark.parametrize("policy", POLICIES)
def test_sizes_must_be_known_to_the_graph(policy):
    dataset = tf.data.Dataset.from_generator(
        lambda: iter([]), output_signature=tf.TensorSpec((2, None, 8, 3), tf.uint8)
    )
    with pytest.raises(ValueError, match=r"\(2, None, 8, 3\)"):
        dataset.map(lambda x: POLICIES[policy][0](x, [0, 1], 0, 0))
