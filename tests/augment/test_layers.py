import functools
import re
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

from sop_keras.augment.autoaugment import autoaugment
from sop_keras.augment.crop_and_flip import pad_crop_flip
from sop_keras.augment.layers import UDA, AutoAugment, CropAndFlip
from sop_keras.augment.uda import uda

IMAGES = np.random.default_rng(1).integers(1, 256, (20, 12, 10, 3), np.uint8)
IDS = np.arange(100, 120)
STRONG = {"padding": 2, "flip": False, "cutout_size": 6, "fill": (1, 2, 3)}
# Each layer with other options than the defaults, and the function that it stands for.
LAYERS = [
    (CropAndFlip, {"padding": 2, "flip": False}, pad_crop_flip),
    (UDA, STRONG, uda),
    (AutoAugment, STRONG, autoaugment),
]
every_layer = pytest.mark.parametrize(
    ("layer_class", "options", "function"), LAYERS, ids=["weak", "uda", "autoaugment"]
)
every_class = pytest.mark.parametrize("layer_class", [CropAndFlip, UDA, AutoAugment])


@every_layer
def test_with_ids_and_epoch_it_is_the_function(layer_class, options, function):
    for used, layer in (({}, layer_class(3)), (options, layer_class(3, **options))):
        expected = function(IMAGES, IDS, 5, 3, **used)
        np.testing.assert_array_equal(layer(IMAGES, ids=IDS, epoch=5), expected)
        view = tf.function(functools.partial(layer, ids=IDS, epoch=tf.constant(5)))
        np.testing.assert_array_equal(view(IMAGES), expected)
        other = function(IMAGES, IDS, 5, 4, **used)
        views = layer(IMAGES, ids=IDS, epoch=5, seed=4)
        np.testing.assert_array_equal(views, other)


@every_layer
def test_keyed_views_in_a_pipeline_are_the_same(layer_class, options, function):
    layer = layer_class(3, **options)
    dataset = tf.data.Dataset.from_tensor_slices((IMAGES, IDS))
    singly = dataset.map(lambda x, i: layer(x, ids=i, epoch=5), tf.data.AUTOTUNE)
    batched = dataset.batch(7).map(lambda x, i: layer(x, ids=i, epoch=5), 2)
    assert singly.element_spec == tf.TensorSpec((12, 10, 3), tf.uint8)
    assert batched.element_spec == tf.TensorSpec((None, 12, 10, 3), tf.uint8)
    expected = function(IMAGES, IDS, 5, 3, **options)
    np.testing.assert_array_equal(list(singly), expected)
    np.testing.assert_array_equal(np.concatenate(list(batched)), expected)


@every_layer
@pytest.mark.parametrize(
    ("size", "sizes"),
    [
        ((32, 32), {"padding": 4, "cutout_size": 16}),
        ((8, 24), {"padding": 1, "cutout_size": 4}),
    ],
)
def test_sizes_fit_the_images(layer_class, options, function, size, sizes):
    # An eighth and a half of the shorter side; the published sizes at 32 pixels.
    images = np.random.default_rng(2).integers(1, 256, (20, *size, 3), np.uint8)
    expected = function(
        images, IDS, 5, 3, **{name: sizes[name] for name in sizes.keys() & options}
    )
    np.testing.assert_array_equal(layer_class(3)(images, ids=IDS, epoch=5), expected)


@every_class
def test_without_ids_every_call_draws_anew(layer_class):
    layer, same_seed, other_seed = layer_class(3), layer_class(3), layer_class(4)
    views = [layer(IMAGES).numpy() for _ in range(3)]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert (views[one] != views[other]).any()
    # A seed stands for a sequence of calls.
    for view in views:
        np.testing.assert_array_equal(same_seed(IMAGES), view)
    assert (other_seed(IMAGES).numpy() != views[0]).any()


def test_fresh_draws_are_uniform_in_and_between_calls():
    # A pixel on the left of two goes to the right by a flip: binomial, 2,000 times 1/2,
    # deviation 22, within calls of 100 images as between 100 calls on one.
    pair = np.zeros((1, 2, 1), np.uint8)
    pair[0, 0] = 255
    layer = CropAndFlip(padding=0)
    batches = tf.data.Dataset.from_tensors(np.stack([pair] * 100)).repeat(20)
    singles = tf.data.Dataset.from_tensors(pair).repeat(2000)
    for dataset in (batches, singles):
        flipped = [view[..., 1, 0].numpy() for view in dataset.map(layer, 4)]
        assert abs(np.sum(np.array(flipped) == 255) - 1000) < 4 * 22.4


def test_parallel_calls_never_draw_the_same():
    layer = CropAndFlip()
    numbers = tf.data.Dataset.range(5000).map(lambda _: layer.fresh_epoch(), 16)
    assert len({int(number) for number in numbers}) == 5000


@every_class
def test_a_single_image_is_a_batch_of_one(layer_class):
    layer, same_seed = layer_class(3), layer_class(3)
    np.testing.assert_array_equal(layer(IMAGES[0]), same_seed(IMAGES[:1])[0])
    keyed = layer(IMAGES[4], ids=IDS[4], epoch=5)
    np.testing.assert_array_equal(keyed, layer(IMAGES, ids=IDS, epoch=5)[4])


@every_layer
def test_the_config_makes_the_same_layer(layer_class, options, function):
    layer = layer_class(2**63 + 1, **options, name="views")
    config = keras.saving.serialize_keras_object(layer)
    assert config["registered_name"] == f"sop_keras>{layer_class.__name__}"
    again = keras.saving.deserialize_keras_object(config)
    assert again.get_config() == layer.get_config()
    expected = function(IMAGES, IDS, 5, 2**63 + 1, **options)
    np.testing.assert_array_equal(again(IMAGES, ids=IDS, epoch=5), expected)


@every_class
def test_in_a_model_that_is_saved(layer_class, tmp_path):
    inputs = keras.Input((12, 10, 3), dtype="uint8")
    model = keras.Model(inputs, layer_class(3, padding=1)(inputs))
    assert model.variables == []
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    views = loaded.predict(IMAGES, verbose=0)
    assert views.dtype == np.uint8
    np.testing.assert_array_equal(views, layer_class(3, padding=1)(IMAGES))


def test_the_example():
    code = re.search(r"```python\n(.*?)```", UDA.__doc__, re.S)[1]
    dataset = tf.data.Dataset.from_tensors((IMAGES, IDS))
    names = {"UDA": UDA, "images": IMAGES, "ids": IDS, "dataset": dataset}
    exec(textwrap.dedent(code), names)
    np.testing.assert_array_equal(names["same_views"], uda(IMAGES, IDS, 3, 1))
    (views, _), *_ = names["dataset"]
    assert views.shape == names["views"].shape == IMAGES.shape


def test_no_dtype_policy_touches_the_values():
    np.testing.assert_array_equal(
        CropAndFlip(dtype="mixed_float16")(IMAGES, ids=IDS, epoch=0),
        pad_crop_flip(IMAGES, IDS, 0, 0),
    )


@every_class
@pytest.mark.parametrize(
    ("images", "keys", "message"),
    [
        (IMAGES / 255, {}, r"needs uint8 images.*float64 of shape \(20, 12, 10, 3\)"),
        (IMAGES[0, 0], {}, r"uint8 of shape \(10, 3\)"),
        (IMAGES, {"ids": IDS}, r"`ids` came without `epoch`.*Leave both out"),
        (IMAGES, {"epoch": 1}, "`epoch` came without `ids`"),
        (IMAGES, {"ids": IDS / 1, "epoch": 1}, r"integers of shape \(20,\).*float64"),
        (IMAGES, {"ids": IDS[:3], "epoch": 1}, r"of shape \(20,\).*of shape \(3,\)"),
        (IMAGES[0], {"ids": IDS[:1], "epoch": 1}, r"of shape \(\).*of shape \(1,\)"),
        (IMAGES, {"ids": IDS, "epoch": IDS}, r"one integer.*with_epoch\(dataset.batch"),
        (IMAGES, {"ids": IDS, "epoch": 0.5}, "one integer.*float32"),
    ],
)
def test_what_cannot_be_augmented(layer_class, images, keys, message):
    with pytest.raises(ValueError, match=message):
        layer_class()(images, **keys)


@every_class
def test_seeds_out_of_range(layer_class):
    with pytest.raises(ValueError, match=r"integer in \[0, 2\*\*64\).*seed=-1"):
        layer_class(-1)


@every_class
@pytest.mark.parametrize("padding", [-1, 1.5, True, "4"])
def test_what_is_no_padding(layer_class, padding):
    message = f"`padding` must be an integer.*or None.*Received: padding={padding!r}"
    with pytest.raises(ValueError, match=message):
        layer_class(padding=padding)


@pytest.mark.parametrize("layer_class", [UDA, AutoAugment])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cutout_size": 7.5}, "`cutout_size` must be an integer.*cutout_size=7.5"),
        ({"cutout_size": -2}, "number of pixels, or None.*cutout_size=-2"),
        ({"fill": 128}, r"three integers.*grey images, such as \(128,\).*fill=128"),
        ({"fill": (1, 2)}, r"fill=\(1, 2\)"),
        ({"fill": (0, 0, 256)}, "from 0 to 255.*256"),
        ({"fill": (0.5, 0.5, 0.5)}, "three integers.*0.5"),
    ],
)
def test_what_is_no_cutout(layer_class, options, message):
    with pytest.raises(ValueError, match=message):
        layer_class(**options)


def test_options_of_numpy_are_saved_as_numbers():
    layer = UDA(padding=np.int64(2), fill=np.array([1, 2, 3], np.uint8))
    config = layer.get_config()
    assert (config["padding"], config["fill"]) == (2, (1, 2, 3))
    assert {type(n) for n in (config["padding"], *config["fill"])} == {int}
