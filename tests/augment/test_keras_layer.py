import re
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

from sop_keras.augment.keras_layer import (
    KerasAugmentation,
    keras_cv_randaugment,
    keras_randaugment,
)
from sop_keras.augment.two_views import TwoViews
from sop_keras.randomness.keyed import random_bits

IMAGES = np.random.default_rng(1).integers(1, 256, (24, 12, 12, 3), np.uint8)
IDS = np.arange(100, 124)


def seeds_of(layer):
    """The states of a layer's generators: its only variables."""
    assert layer.weights == []
    return layer.variables


def views_by_hand(layer, ids, epoch, seed):
    """The layer on one image after the other, its generators set by hand for each."""
    views = []
    for image, example_id in zip(IMAGES, ids, strict=True):
        for number, state in enumerate(seeds_of(layer)):
            bits = random_bits(seed, "keras_layer", epoch, example_id, number)
            state.assign([int(bits) >> 33, 0])
        view = keras.ops.convert_to_numpy(layer(image.astype("float32")))
        views.append(np.clip(np.rint(view), 0, 255))
    return np.array(views)


def in_batches(augmentation, size, epoch=3, seed=7, order=slice(None), parallel=None):
    """All views, as `tf.data` gives them: the batches of a size, in an order."""
    dataset = tf.data.Dataset.from_tensor_slices((IMAGES[order], IDS[order]))
    views = dataset.batch(size).map(
        lambda images, ids: augmentation(images, ids, epoch, seed), parallel
    )
    assert views.element_spec == tf.TensorSpec((None, 12, 12, 3), tf.uint8)
    return np.concatenate(list(views.as_numpy_iterator()))


class BuiltLater(keras.layers.Layer):
    """Makes the picture brighter, by a generator that it makes when it is built."""

    def build(self, input_shape):
        self.generator = keras.random.SeedGenerator(1)

    def call(self, images):
        return images + keras.random.uniform((), 0, 60, seed=self.generator)


def built(layer):
    """The layer after its first call, for a reference."""
    layer(IMAGES[0].astype("float32"))
    return layer


LAYERS = {
    "BuiltLater": BuiltLater,
    "Pipeline of BuiltLater": lambda: keras.layers.Pipeline(
        [keras.layers.RandomFlip(), BuiltLater()]
    ),
    "RandomFlip": lambda: keras.layers.RandomFlip(seed=1),
    "RandomTranslation": lambda: keras.layers.RandomTranslation(0.3, 0.3),
    "RandomContrast": lambda: keras.layers.RandomContrast(0.7),
    "Pipeline": lambda: keras.layers.Pipeline(
        [keras.layers.RandomFlip(), keras.layers.RandomBrightness(0.5)]
    ),
    "RandAugment": lambda: keras.layers.RandAugment(),
}
every_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)


@every_layer
def test_against_the_layer_with_its_seeds_set_by_hand(make):
    views = KerasAugmentation(make())(IMAGES, IDS, 3, 7)
    assert views.dtype == tf.uint8
    difference = np.abs(views - views_by_hand(built(make()), IDS, 3, 7))
    # Eagerly and in a function, TensorFlow rounds float32 here and there otherwise.
    assert difference.max() <= 1
    assert np.mean(difference > 0) < 0.001


@every_layer
def test_the_same_view_in_any_batch_order_and_parallel_call(make):
    views = in_batches(KerasAugmentation(make()), 24)
    shuffled = np.random.default_rng(2).permutation(24)
    augmentation = KerasAugmentation(make())
    for size, order in ((24, slice(None)), (5, slice(None)), (1, shuffled)):
        again = in_batches(augmentation, size, order=order, parallel=8)
        np.testing.assert_array_equal(again, views[order])
    np.testing.assert_array_equal(augmentation(IMAGES, IDS, 3, 7)[:2], views[:2])


def test_seed_epoch_and_id_each_give_another_view():
    augmentation = KerasAugmentation(keras.layers.RandomTranslation(0.5, 0.5))
    views = augmentation(IMAGES, IDS, 3, 7).numpy()
    for ids, epoch, seed in ((IDS, 4, 7), (IDS, 3, 8), (IDS + 1, 3, 7)):
        others = augmentation(IMAGES, ids, epoch, seed).numpy()
        assert (others != views).any((1, 2, 3)).all()


def test_the_layer_itself_is_left_alone():
    layer = keras.layers.RandAugment(seed=5)
    states = [state.numpy() for state in seeds_of(layer)]
    assert len(states) > 5
    augmentation = KerasAugmentation(layer)
    views = in_batches(augmentation, 5)
    for before, state in zip(states, seeds_of(layer), strict=True):
        np.testing.assert_array_equal(state, before)
    layer(IMAGES)
    np.testing.assert_array_equal(in_batches(augmentation, 5), views)


def test_every_image_draws_for_itself():
    # Called on a batch, the layer draws one pair of operations for all of it.
    same = np.repeat(IMAGES[:1], 64, axis=0)
    views = keras_randaugment()(same, np.arange(64), 0, 0).numpy()
    assert len(np.unique(views.reshape(64, -1), axis=0)) > 32


def test_half_of_the_views_are_flipped():
    images = np.zeros((2000, 1, 2, 1), np.uint8)
    images[:, 0, 0] = 255
    flip = KerasAugmentation(keras.layers.RandomFlip("horizontal"))
    flipped = flip(images, np.arange(2000), 0, 0)[:, 0, 1, 0] == 255
    # Binomial with deviation 22.4.
    assert abs(np.sum(flipped) - 1000) < 4 * 22.4


def test_values_are_rounded_and_clipped():
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    views = KerasAugmentation(keras.layers.Rescaling(2.0, -10.3))(ramp, [0], 0, 0)
    # Halves of even numbers less 10.3: never in the middle of two integers.
    expected = np.clip(np.rint(2.0 * ramp - 10.3), 0, 255)
    assert expected.min() == 0
    assert expected.max() == 255
    np.testing.assert_array_equal(views, expected)


def test_a_model_sees_batches_of_one():
    flip = keras.layers.RandomFlip()
    expected = KerasAugmentation(flip)(IMAGES, IDS, 3, 7)
    model = keras.Sequential([keras.layers.RandomFlip()])
    np.testing.assert_array_equal(KerasAugmentation(model)(IMAGES, IDS, 3, 7), expected)


def test_the_example():
    code = re.search(r"```python\n(.*?)```", KerasAugmentation.__doc__, re.S)[1]
    dataset = tf.data.Dataset.from_tensors((IMAGES, {"index": IDS}))
    names = {"KerasAugmentation": KerasAugmentation, "TwoViews": TwoViews}
    names |= {"keras": keras, "tf": tf}
    names |= {"images": IMAGES, "ids": IDS, "dataset": dataset}
    exec(textwrap.dedent(code), names)
    ((_, strong), _), *_ = names["dataset"]
    assert strong.shape == names["views"].shape == IMAGES.shape


def test_images_of_two_sizes():
    flip = KerasAugmentation(keras.layers.RandomFlip("horizontal"))
    views = flip(IMAGES, IDS, 3, 7).numpy()
    wide = np.repeat(IMAGES, 2, axis=2)
    np.testing.assert_array_equal(flip(wide, IDS, 3, 7), np.repeat(views, 2, axis=2))


def test_the_config_makes_the_same_augmentation():
    flip = KerasAugmentation(keras.layers.RandomFlip("vertical"))
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(flip)
    )
    np.testing.assert_array_equal(again(IMAGES, IDS, 3, 7), flip(IMAGES, IDS, 3, 7))


class Unkeyed(keras.layers.Layer):
    def call(self, images):
        return images + tf.random.uniform(())


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda images: images, r"must be a Keras layer.*function.*needs no wrapping"),
        (keras.layers.RandomFlip, "must be a Keras layer.*Received: <class"),
        (
            keras.layers.RandAugment(value_range=(0, 1)),
            r"RandAugment for values in \(0, 1\). Make it with value_range=\(0, 255\)",
        ),
        (
            keras.Sequential([keras.layers.RandomBrightness(0.2, value_range=(0, 1))]),
            r"RandomBrightness for values in \(0, 1\). Make it with",
        ),
        (
            keras.Sequential(
                [keras.layers.Pipeline([keras.layers.RandAugment(value_range=(0, 1))])]
            ),
            r"for values in \(0, 1\). Make it with value_range=\(0, 255\)",
        ),
        (
            keras.Sequential([keras.Input((12, 12, 3)), keras.layers.Dense(3)]),
            "must have no weights.*Received: Dense in `layer`",
        ),
        (keras.layers.BatchNormalization(), "Received: BatchNormalization in `layer`"),
        (
            keras.Sequential([keras.layers.RandomFlip(), keras.layers.Dense(5)]),
            "must have no weights.*Received: Dense in `layer`",
        ),
        (
            keras.layers.RandomCrop(8, 8),
            r"\(8, 8, 3\) from RandomCrop.*of shape \(12, 12, 3\). Resize and crop",
        ),
        (Unkeyed(), r"Unkeyed draws outside of its generators, by RandomUniform: its"),
        (keras.layers.AugMix(), r"AugMix draws outside.*, by Python's random: its"),
    ],
    ids=[
        "function",
        "class",
        "range",
        "range within",
        "range further within",
        "weights",
        "weights when built",
        "weights when built, within",
        "shape",
        "unkeyed",
        "augmix",
    ],
)
def test_layers_that_cannot_be_used(layer, message):
    with pytest.raises(ValueError, match=message):
        KerasAugmentation(layer)(IMAGES, IDS, 0, 0)


@pytest.mark.parametrize(
    ("images", "ids", "message"),
    [
        (IMAGES / 255, IDS, r"must be uint8.*float64.*Standardise after"),
        (IMAGES[0], IDS, r"must be uint8.*\(12, 12, 3\)"),
        (IMAGES, IDS / 1, "`ids` must be integers.*float64"),
        (IMAGES, IDS[:5], r"of shape \(24,\), one for each image.*of shape \(5,\)"),
    ],
)
def test_what_cannot_be_augmented(images, ids, message):
    with pytest.raises(ValueError, match=message):
        keras_randaugment()(images, ids, 0, 0)


def test_without_keras_cv(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_cv", None)
    message = r'keras_cv_randaugment needs keras-cv.*pip install "\.\[keras-cv\]"'
    with pytest.raises(ImportError, match=message):
        keras_cv_randaugment()


@pytest.fixture
def keras_cv():
    return pytest.importorskip("keras_cv", reason="keras-cv is not installed")


@pytest.mark.usefixtures("keras_cv")
def test_keras_cv_randaugment_in_any_batch_order_and_parallel_call():
    views = in_batches(keras_cv_randaugment(), 24)
    # One image in 1,331 draws nothing three times, (1/11)^3; few come out unchanged.
    assert (views != IMAGES).any((1, 2, 3)).sum() >= 20
    augmentation = keras_cv_randaugment()
    shuffled = np.random.default_rng(2).permutation(24)
    for size, order in ((5, slice(None)), (1, shuffled)):
        again = in_batches(augmentation, size, order=order, parallel=8)
        np.testing.assert_array_equal(again, views[order])
    others = in_batches(augmentation, 24, epoch=4)
    assert (others != views).any((1, 2, 3)).sum() >= 20


@pytest.mark.usefixtures("keras_cv")
def test_keras_cv_randaugment_under_op_determinism():
    # As the launcher runs. In a process of its own: there is no way back from it.
    code = """
import numpy as np, tensorflow as tf
tf.config.experimental.enable_op_determinism()
from sop_keras.augment.keras_layer import keras_cv_randaugment
images = np.zeros((2, 12, 12, 3), np.uint8)
assert keras_cv_randaugment()(images, [0, 1], 0, 0).shape == images.shape
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.usefixtures("keras_cv")
def test_keras_cv_randaugment_as_the_strong_view():
    targets = {"index": IDS, "epoch": np.array(3)}
    strong = keras_cv_randaugment()
    dataset = tf.data.Dataset.from_tensors((IMAGES, targets))
    ((_, found), _), *_ = dataset.map(TwoViews(strong, seed=7)).as_numpy_iterator()
    seed = int(random_bits(7, "strong_view"))
    np.testing.assert_array_equal(found, in_batches(strong, 24, seed=seed))


def test_layers_of_keras_cv(keras_cv):
    images = np.zeros((2000, 1, 2, 3), np.uint8)
    images[:, 0, 0] = 255
    flip = KerasAugmentation(keras_cv.layers.RandomFlip("horizontal"))
    flipped = flip(images, np.arange(2000), 0, 0)[:, 0, 1, 0] == 255
    assert abs(np.sum(flipped) - 1000) < 4 * 22.4
    again = KerasAugmentation(keras_cv.layers.RandomFlip("horizontal", seed=4))
    np.testing.assert_array_equal(
        again(images[1500:], np.arange(1500, 2000), 0, 0)[:, 0, 1, 0] == 255,
        flipped[1500:],
    )


def test_keras_cv_that_draws_elsewhere(keras_cv):
    augmentation = KerasAugmentation(keras_cv.layers.AugMix(value_range=(0, 255)))
    with pytest.raises(ValueError, match=r"AugMix draws outside.*by RandomGamma"):
        augmentation(IMAGES, IDS, 0, 0)
