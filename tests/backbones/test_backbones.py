import keras
import numpy as np
import pytest

from sop_keras.backbones.build import build_backbone
from sop_keras.backbones.names import (
    BACKBONES,
    OF_IMAGES,
    WITH_WEIGHTS,
    backbone_names,
    check_backbone_name,
)

SHAPE = (8, 8, 1)
NAMES = ("cnn", "mlp", "preact_resnet18", "resnet34")


@pytest.fixture(scope="module", params=NAMES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def model(name):
    return build_backbone(name, SHAPE, 10, seed=0)


def random_images():
    return np.random.default_rng(0).normal(size=(4, *SHAPE)).astype("float32")


def test_the_registry_has_these_names():
    with_weights = ["efficientnet_lite0", "inception_resnet_v2", "resnet50"]
    # tests/backbones/test_fast_cnn.py has those that must see images.
    assert sorted(BACKBONES) == sorted([*NAMES, *with_weights, *OF_IMAGES])
    assert sorted(WITH_WEIGHTS) == with_weights


def test_the_list_of_names():
    names = backbone_names()
    assert names == sorted(set(names))
    assert {*BACKBONES, "efficientnet_b0", "convnext_tiny", "vgg16"} <= set(names)


@pytest.mark.parametrize(
    "known",
    [
        *NAMES,
        *OF_IMAGES,
        "resnet50",
        "ResNet50",
        "EfficientNetB0",
        "keras_hub:resnet_50_imagenet",
    ],
)
def test_known_names_pass_the_check(known):
    check_backbone_name(known)


def test_the_model_carries_its_name(name, model):
    assert model.name == name
    assert model.output_shape == (None, 10)


@pytest.mark.parametrize("unknown", ["resnet18", "resnet_50", "keras_hub:", ""])
def test_unknown_names(unknown):
    message = (
        rf"Unknown backbone '{unknown}'\. Known ones: cnn, convnext_base, .*mlp, .*"
        "preact_resnet18, resnet101, .*xception; and keras_hub:PRESET"
    )
    with pytest.raises(ValueError, match=message):
        check_backbone_name(unknown)
    with pytest.raises(ValueError, match=message):
        build_backbone(unknown, SHAPE, 10)


@pytest.mark.parametrize("pretrained", ["imagenet", "weights.h5"])
def test_networks_without_published_weights(name, pretrained):
    message = f"\"none\" for '{name}': .*Received: pretrained='{pretrained}'.*resnet50"
    with pytest.raises(ValueError, match=message):
        build_backbone(name, SHAPE, 10, pretrained=pretrained)


def test_the_same_seed_gives_the_same_weights_whatever_was_built_before(name, model):
    keras.utils.set_random_seed(123)
    build_backbone("mlp", SHAPE, 3)
    again = build_backbone(name, SHAPE, 10, seed=0)
    for first, second in zip(model.weights, again.weights, strict=True):
        assert first.path == second.path
        np.testing.assert_array_equal(first.numpy(), second.numpy())


@pytest.mark.parametrize("small", ["cnn", "mlp"])
def test_other_seeds_give_other_weights(small):
    first = build_backbone(small, SHAPE, 10, seed=0).get_layer("logits").kernel
    second = build_backbone(small, SHAPE, 10, seed=1).get_layer("logits").kernel
    assert not np.array_equal(first.numpy(), second.numpy())


@pytest.mark.parametrize("small", ["cnn", "mlp"])
def test_without_a_seed_keras_global_seed_decides(small):
    def build():
        return build_backbone(small, SHAPE, 10).get_layer("logits").kernel.numpy()

    keras.utils.set_random_seed(1)
    first, second = build(), build()
    keras.utils.set_random_seed(1)
    np.testing.assert_array_equal(build(), first)
    assert not np.array_equal(first, second)


def test_all_weights_start_as_in_pytorch_and_apart(model, oracle):
    oracle.check_starts_as_in_pytorch(model)


def test_batch_norm_constants(name, model):
    found = [
        (layer.momentum, layer.epsilon)
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    # One after each convolution of resnet34 (33 and 3 projections).
    count = {"cnn": 5, "mlp": 0, "preact_resnet18": 17, "resnet34": 36}[name]
    assert found == [(0.9, 1e-5)] * count


def test_save_and_load(model, tmp_path):
    model.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras")
    for first, second in zip(model.weights, restored.weights, strict=True):
        np.testing.assert_array_equal(first.numpy(), second.numpy())
    np.testing.assert_array_equal(
        restored(random_images(), training=False).numpy(),
        model(random_images(), training=False).numpy(),
    )


@pytest.mark.parametrize(
    ("small", "policy"),
    [
        *((name, "mixed_bfloat16") for name in ("cnn", "mlp", "preact_resnet18")),
        *((name, "mixed_float16") for name in ("cnn", "mlp")),
    ],
)
def test_logits_are_float32_under_mixed_precision(small, policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        mixed = build_backbone(small, SHAPE, 10, seed=0)
    finally:
        keras.config.set_dtype_policy(before)
    half = policy.removeprefix("mixed_")
    assert mixed.layers[-2].compute_dtype == half
    logits = mixed(random_images(), training=False)
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    # The weights stay float32 and start as under the default policy.
    full = build_backbone(small, SHAPE, 10, seed=0)
    for first, second in zip(mixed.weights, full.weights, strict=True):
        np.testing.assert_array_equal(first.numpy(), second.numpy())
