import numpy as np
import pytest
import tensorflow as tf

from sop_keras.augment.named import augmentation
from sop_keras.augment.shift_and_flip import shift_alternate_flip
from sop_keras.data.batches.planned import PlannedBatches
from sop_keras.data.datasets.dataset import Dataset, Examples
from sop_keras.data.images.bad_images import BadImages
from sop_keras.randomness.keyed import random_bits


def draw(bound, seed, stream, *keys):
    """floor(bound * h / 2**32), h the high half of the 64 bits."""
    high = int(random_bits(seed, stream, *keys)) >> 32
    return (bound * high) >> 32


def view(image, identity, epoch, seed, shift):
    """What the function is to give of one image, by slicing a padded copy."""
    height, width, _ = image.shape
    sides = ((shift, shift), (shift, shift), (0, 0))
    padded = np.pad(image, sides, mode="reflect")
    top = draw(2 * shift + 1, seed, "shift_top", epoch, identity)
    left = draw(2 * shift + 1, seed, "shift_left", epoch, identity)
    crop = padded[top : top + height, left : left + width]
    is_flipped = draw(2, seed, "alternate_flip", identity) == 1
    return crop[:, ::-1] if is_flipped ^ (epoch % 2 == 1) else crop


@pytest.mark.parametrize("network", [0, 1])
def test_each_of_two_networks_sees_both_sides_in_turn(network):
    # Bright on the left: shifts by 2 pixels leave it on its side. Networks that learn
    # in turn number their passes 2 * epoch + network.
    images = np.zeros((12, 32, 32, 3), np.uint8)
    images[:, :, :16] = 255
    ids, labels = np.arange(12), np.arange(12) % 2
    train = Examples(ids=ids, images=images, labels=labels)
    own = Dataset("own", ("a", "b"), 12, train, None, (0.5,) * 3, (0.5,) * 3)
    planned = PlannedBatches(train, own, 3, "shift_flip", None, BadImages())
    passes = [2 * epoch + network for epoch in range(4)]
    batches = planned.pipeline(passes, [ids] * 4).as_numpy_iterator()
    is_left = np.array(
        [
            x[:, :, :16].mean((1, 2, 3)) > x[:, :, 16:].mean((1, 2, 3))
            for x, _ in batches
        ]
    )
    np.testing.assert_array_equal(is_left[1:], ~is_left[:-1])
    assert 0 < is_left[0].sum() < 12


def random_images(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize(
    ("shape", "shift"), [((8, 8, 3), 2), ((5, 9, 1), 4), ((6, 4, 2), 0)]
)
@pytest.mark.parametrize("epoch", [0, 1, 6])
def test_views_are_those_of_a_padded_copy(shape, shift, epoch):
    images, ids = random_images((30, *shape)), np.arange(100, 130)
    expected = [view(*pair, epoch, 7, shift) for pair in zip(images, ids, strict=True)]
    found = shift_alternate_flip(images, ids, epoch, 7, shift=shift)
    np.testing.assert_array_equal(found, expected)


def test_by_hand():
    # A row 1 2 3 4 5 shifted by 2 shows 3 2 1 2 3 or 3 4 5 4 3: pixels are mirrored at
    # the first and the last one, which are not repeated; and these mirrored, too.
    images = np.broadcast_to(np.arange(1, 6, dtype=np.uint8), (200, 5, 5))[..., None]
    views = shift_alternate_flip(images, np.arange(200), 0, 0, shift=2)
    rows = {tuple(int(pixel) for pixel in one[0, :, 0]) for one in views.numpy()}
    shown = {(3, 2, 1, 2, 3), (2, 1, 2, 3, 4), (1, 2, 3, 4, 5), (2, 3, 4, 5, 4)}
    shown.add((3, 4, 5, 4, 3))
    assert rows == shown | {row[::-1] for row in shown}


def test_two_epochs_in_a_row_show_both_sides():
    images, ids = random_images((500, 4, 6, 1)), np.arange(500)
    views = [shift_alternate_flip(images, ids, e, 3, shift=0).numpy() for e in range(4)]
    is_flipped = [(one == images[:, :, ::-1]).all((1, 2, 3)) for one in views]
    np.testing.assert_array_equal(is_flipped[1], ~is_flipped[0])
    np.testing.assert_array_equal(is_flipped[2], is_flipped[0])
    np.testing.assert_array_equal(is_flipped[3], is_flipped[1])
    # Binomial with deviation 11.2.
    assert abs(is_flipped[0].sum() - 250) < 45


def test_a_view_is_the_same_in_any_batch_and_in_a_pipeline():
    images, ids = random_images((12, 32, 32, 3)), np.arange(12) * 1000
    whole = shift_alternate_flip(images, ids, 5, 1)
    np.testing.assert_array_equal(
        whole, shift_alternate_flip(images, ids, 5, 1, shift=2)
    )
    order = np.random.default_rng(0).permutation(12)
    np.testing.assert_array_equal(
        shift_alternate_flip(images[order], ids[order], 5, 1), whole.numpy()[order]
    )
    dataset = tf.data.Dataset.from_tensor_slices((images, ids)).batch(5)
    dataset = dataset.map(
        lambda x, i: shift_alternate_flip(x, i, tf.constant(5, tf.int64), 1)
    )
    np.testing.assert_array_equal(np.concatenate(list(dataset)), whole)
    made = augmentation("shift_flip", (0.5, 0.5, 0.5))
    np.testing.assert_array_equal(made(images, ids, 5, 1), whole)


@pytest.mark.parametrize(
    ("images", "options", "text"),
    [
        (np.zeros((2, 8, 8, 3), np.float32), {}, "float32.*Standardise after"),
        (np.zeros((2, 8, 8, 3), np.uint8), {"shift": -1}, "shift=-1"),
        (np.zeros((2, 8, 4, 3), np.uint8), {"shift": 4}, "less than.*shift=4.*8x4"),
    ],
)
def test_what_cannot_be_augmented(images, options, text):
    with pytest.raises(ValueError, match=text):
        shift_alternate_flip(images, np.arange(2), 0, 0, **options)
