import subprocess
import sys

import keras
import numpy as np
import pytest

from sop_keras.backbones.input_scaling import checked_statistics, preprocessed

# Those of Clothing1M.
MEAN = (0.6959, 0.6537, 0.6371)
STD = (0.3113, 0.3192, 0.3214)

FAMILIES = (
    "convnext",
    "densenet",
    "efficientnet",
    "efficientnet_v2",
    "inception_resnet_v2",
    "inception_v3",
    "mobilenet",
    "mobilenet_v2",
    "mobilenet_v3",
    "nasnet",
    "resnet",
    "resnet_v2",
    "vgg16",
    "vgg19",
    "xception",
)


def scaling_model(family):
    inputs = keras.Input((4, 5, 3))
    preprocess = getattr(keras.applications, family).preprocess_input
    return keras.Model(inputs, preprocessed(inputs, preprocess, MEAN, STD))


def random_pixels():
    return np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3)).astype("float32")


def standardised(pixels):
    return ((pixels / 255 - np.array(MEAN)) / np.array(STD)).astype("float32")


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_gives_what_keras_preprocessing_gives(family, policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = scaling_model(family)
    finally:
        keras.config.set_dtype_policy(before)
    assert model.weights == []
    expected = getattr(keras.applications, family).preprocess_input(random_pixels())
    actual = keras.ops.convert_to_numpy(model(standardised(random_pixels())))
    assert actual.dtype == np.float32
    # float32 has 24 bits: 255 is exact to 1.5e-5, and there are a few roundings.
    np.testing.assert_allclose(actual, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        # Blue, green, red, less the means of ImageNet's pixels.
        ("resnet", (30 - 103.939, 20 - 116.779, 10 - 123.68)),
        # From -1 to 1.
        ("inception_resnet_v2", (10 / 127.5 - 1, 20 / 127.5 - 1, 30 / 127.5 - 1)),
        # ImageNet's mean and deviation.
        (
            "densenet",
            (
                (10 / 255 - 0.485) / 0.229,
                (20 / 255 - 0.456) / 0.224,
                (30 / 255 - 0.406) / 0.225,
            ),
        ),
        # Pixels: the network does the rest.
        ("efficientnet", (10, 20, 30)),
    ],
)
def test_the_scalings_by_hand(family, expected):
    pixels = np.broadcast_to(np.array([10.0, 20.0, 30.0]), (1, 4, 5, 3))
    actual = keras.ops.convert_to_numpy(scaling_model(family)(standardised(pixels)))
    np.testing.assert_allclose(actual[0, 1, 2], expected, rtol=1e-5)


def test_a_saved_model_loads_without_this_package(tmp_path):
    model = scaling_model("resnet")
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", standardised(random_pixels()))
    code = (
        "import sys, keras, numpy as np\n"
        "model = keras.saving.load_model('model.keras')\n"
        "np.save('outputs.npy', model(np.load('images.npy')))\n"
        "assert 'sop_keras' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    expected = keras.applications.resnet.preprocess_input(random_pixels())
    np.testing.assert_allclose(np.load(tmp_path / "outputs.npy"), expected, atol=1e-4)


def test_statistics_that_fit():
    assert checked_statistics((32, 32, 3), MEAN, STD) == (MEAN, STD)


@pytest.mark.parametrize(
    ("shape", "mean", "std", "message"),
    [
        ((32, 32, 1), MEAN, STD, r"RGB images.*\(32, 32, 1\).*\"none\""),
        ((32, 32, 3), None, STD, r"`mean` and `std`.*must be given.*mean=None"),
        ((32, 32, 3), MEAN, None, r"`mean` and `std`.*must be given.*std=None"),
        ((32, 32, 3), (0.5,), STD, r"3 numbers each.*mean=\(0\.5,\)"),
        ((32, 32, 3), MEAN, (1.0, 1.0), r"3 numbers each.*std=\(1\.0, 1\.0\)"),
        ((32, 32, 3), MEAN, (1.0, 0.0, 1.0), r"positive.*std=\(1\.0, 0\.0, 1\.0\)"),
    ],
)
def test_refuses_other_statistics(shape, mean, std, message):
    with pytest.raises(ValueError, match=message):
        checked_statistics(shape, mean, std)
