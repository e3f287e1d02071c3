import functools
import re
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

import sop_keras
from sop_keras import SOPModel, with_epoch, with_index
from sop_keras.augment.crop_and_flip import pad_crop_flip
from sop_keras.augment.keras_layer import KerasAugmentation
from sop_keras.augment.layers import UDA, CropAndFlip
from sop_keras.augment.two_views import TwoViews
from sop_keras.augment.uda import uda
from sop_keras.randomness.keyed import random_bits

IMAGES = np.random.default_rng(1).integers(1, 256, (24, 8, 8, 1), np.uint8)
LABELS = np.arange(24) % 3
WEIGHTS = np.linspace(0, 1, 24)
TARGETS = {"label": LABELS, "index": np.arange(24), "epoch": np.array(5)}
STRONG_SEED = int(random_bits(3, "strong_view"))


def indexed():
    return with_index(tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)))


def views_by_epoch_and_id(dataset):
    """`{(epoch, id): (weak, strong)}`, as bytes, of a data set of batched pairs."""
    return {
        (int(y["epoch"]), int(index)): (weak.tobytes(), strong.tobytes())
        for views, y in dataset.as_numpy_iterator()
        for weak, strong, index in zip(*views, y["index"], strict=True)
    }


def test_the_views_are_those_of_the_functions():
    (weak, strong), _ = TwoViews(UDA(cutout_size=2), seed=3)(IMAGES, TARGETS)
    ids = TARGETS["index"]
    np.testing.assert_array_equal(weak, pad_crop_flip(IMAGES, ids, 5, 3))
    expected = uda(IMAGES, ids, 5, STRONG_SEED, cutout_size=2)
    np.testing.assert_array_equal(strong, expected)


@pytest.mark.parametrize("weak", [CropAndFlip(seed=9, padding=1), KerasAugmentation])
def test_any_function_of_the_keys_is_a_view(weak):
    # Seeds of the layers' own play no part.
    weak_function = functools.partial(pad_crop_flip, padding=1)
    if weak is KerasAugmentation:
        weak = weak_function = weak(keras.layers.RandomFlip())
    strong = functools.partial(uda, cutout_size=2)
    views, _ = TwoViews(strong, weak, seed=3)(IMAGES, TARGETS)
    ids = TARGETS["index"]
    np.testing.assert_array_equal(views[0], weak_function(IMAGES, ids, 5, 3))
    np.testing.assert_array_equal(views[1], strong(IMAGES, ids, 5, STRONG_SEED))


def test_the_default_is_uda_against_weak():
    views, _ = TwoViews()(IMAGES, TARGETS)
    expected, _ = TwoViews(UDA(), CropAndFlip())(IMAGES, TARGETS)
    np.testing.assert_array_equal(views, expected)


def test_two_views_of_one_kind_are_independent():
    # 81 shifts times 2 flips of a pixel pattern that shows them all: 1 pair in 162
    # agrees by chance, of 3,240 pairs 20 with a deviation of 4.5.
    images = np.zeros((3240, 24, 24, 1), np.uint8)
    images[:, 10:14, 10], images[:, 10, 10:13] = 255, 255
    weak = CropAndFlip(padding=4)
    for targets in ({}, {"epoch": np.array(2)}):
        targets["index"] = np.arange(3240)
        (one, other), _ = TwoViews(weak, weak)(images, targets)
        agree = (one.numpy() == other.numpy()).all((1, 2, 3)).sum()
        assert abs(agree - 20) < 4 * 4.5


def test_an_epoch_can_be_repeated_in_other_batches():
    first = with_epoch(indexed().shuffle(24).batch(5)).map(TwoViews(UDA()), 4)
    views = views_by_epoch_and_id(first.repeat(3))
    assert len(views) == 3 * 24
    assert len(set(views.values())) > 2.5 * 24
    restarted = with_epoch(indexed().batch(9), initial_epoch=1).map(TwoViews(UDA()))
    for key, pair in views_by_epoch_and_id(restarted.repeat(2)).items():
        assert pair == views[key]


def test_without_an_epoch_views_are_drawn_anew():
    views = TwoViews(UDA(padding=4, cutout_size=2), CropAndFlip(padding=4))
    dataset = indexed().batch(12).map(views, 2)
    first, second = (np.concatenate([v for v, _ in dataset], 1) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert (one != other).any((1, 2, 3)).mean() > 0.8


def test_the_rest_of_the_elements_is_kept():
    one_hot, names = np.eye(3)[LABELS], LABELS.astype("S1")
    targets = {**TARGETS, "label": one_hot, "name": names}
    elements = tf.data.Dataset.from_tensors((IMAGES, targets, WEIGHTS)).map(TwoViews())
    (_, y, weights), *_ = elements.as_numpy_iterator()
    assert weights.dtype == y["label"].dtype == np.float64
    np.testing.assert_array_equal(weights, WEIGHTS)
    assert y.keys() == targets.keys()
    for name, values in targets.items():
        np.testing.assert_array_equal(y[name], values)


def test_single_examples_may_be_batched_after():
    views = TwoViews(UDA(cutout_size=2), seed=3)
    singly = with_epoch(indexed()).map(views).batch(24)
    batched = with_epoch(indexed().batch(24)).map(views)
    (expected, _), *_ = batched.as_numpy_iterator()
    (found, y), *_ = singly.as_numpy_iterator()
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(y["epoch"], np.zeros(24))


def test_the_example_trains_a_model():
    found = re.search(r"```python\n(.*?)```", TwoViews.__doc__, re.S)
    code = textwrap.dedent(found[1])
    names = {name: getattr(sop_keras, name) for name in sop_keras.__all__}
    names |= {"keras": keras, "tf": tf}
    names |= {"images": IMAGES, "labels": LABELS}
    exec(code.replace("model.fit(", "history = model.fit(verbose=0, x="), names)
    history = names["history"].history
    assert len(history["consistency_loss"]) == 2
    assert min(history["consistency_loss"]) > 0


def test_sop_trains_on_the_pairs_with_weights_and_validation():
    weighted = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS, WEIGHTS))
    dataset = with_epoch(with_index(weighted).batch(6)).map(TwoViews(UDA()))
    backbone = keras.Sequential(
        [
            keras.Input((8, 8, 1), dtype="uint8"),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
    )
    model = SOPModel(backbone, 24, 3, consistency_weight=0.9)
    model.compile(optimizer="sgd", metrics=["accuracy"])
    history = model.fit(
        dataset, epochs=2, validation_data=(IMAGES, LABELS), verbose=0
    ).history
    assert np.isfinite([*history["loss"], *history["val_loss"]]).all()


def test_the_config_makes_the_same_layer():
    flip = KerasAugmentation(keras.layers.RandomFlip("vertical"))
    layer = TwoViews(flip, CropAndFlip(padding=1), seed=3, name="pairs")
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(layer)
    )
    assert again.get_config() == layer.get_config()
    np.testing.assert_array_equal(again(IMAGES, TARGETS)[0], layer(IMAGES, TARGETS)[0])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (LABELS, r"with_index\(dataset\).batch\(...\).map\(TwoViews\(\)\), in this"),
        ({"label": LABELS}, r"Received y: \['label'\]"),
        (
            {"index": LABELS, "epoch": LABELS},
            "one integer for all images.*batch before",
        ),
        (
            {"index": LABELS / 2, "epoch": np.array(1)},
            "`ids` must be integers.*float64",
        ),
    ],
)
def test_what_is_no_target(y, message):
    with pytest.raises(ValueError, match=message):
        TwoViews()(IMAGES, y)


@pytest.mark.parametrize("name", ["strong", "weak"])
@pytest.mark.parametrize(
    ("view", "message"),
    [
        (UDA, r"be a layer, not its class.*Received: UDA. Pass UDA\(...\)"),
        ("uda", r"a function of \(images, ids, epoch, seed\). Received: 'uda'"),
        (
            keras.layers.RandAugment(),
            r"Received: RandAugment. Wrap it: KerasAugmentation\(layer\)",
        ),
    ],
    ids=["class", "name", "keras"],
)
def test_what_is_no_view(name, view, message):
    with pytest.raises(ValueError, match=f"`{name}` must .*{message}"):
        TwoViews(**{name: view})
