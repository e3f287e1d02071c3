import sys

import keras
import numpy as np
import pytest

from sop_keras.backbones.build import build_backbone

STATISTICS = {"mean": (0.6959, 0.6537, 0.6371), "std": (0.3113, 0.3192, 0.3214)}
SHAPE = (32, 32, 3)


@pytest.fixture(scope="module")
def keras_hub():
    return pytest.importorskip("keras_hub", reason="keras-hub is not installed")


def small_resnet(keras_hub):
    return keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64],
        stackwise_num_blocks=[1],
        stackwise_num_strides=[1],
        block_type="basic_block",
    )


def small_vit(keras_hub):
    return keras_hub.models.ViTBackbone(
        image_shape=SHAPE,
        patch_size=8,
        num_layers=1,
        num_heads=2,
        hidden_dim=16,
        mlp_dim=16,
    )


# Per-channel scales and offsets of pixels, and one of both for all channels.
CONVERTERS = {
    "resnet": {"scale": [0.01, 0.02, 0.03], "offset": [-1.0, -2.0, -3.0]},
    "vit": {"scale": 1 / 127.5, "offset": -1.0},
}


@pytest.fixture(scope="module")
def presets(keras_hub, tmp_path_factory):
    """Folders of presets by name, and the backbones that were saved there."""
    folder = tmp_path_factory.mktemp("presets")
    layers = keras_hub.layers
    saved = {
        "resnet": (small_resnet(keras_hub), layers.ResNetImageConverter),
        "vit": (small_vit(keras_hub), layers.ViTImageConverter),
    }
    for name, (backbone, converter) in saved.items():
        backbone.save_to_preset(str(folder / name))
        # A preset's own image size and precision are not for us.
        converter(
            image_size=(24, 24), dtype="bfloat16", **CONVERTERS[name]
        ).save_to_preset(str(folder / name))
    saved["resnet"][0].save_to_preset(str(folder / "unscaled"))
    return folder, {name: backbone for name, (backbone, _) in saved.items()}


def random_pixels():
    return np.random.default_rng(0).integers(0, 256, (3, *SHAPE)).astype("float32")


def standardised(pixels):
    mean, std = map(np.array, STATISTICS.values())
    return ((pixels / 255 - mean) / std).astype("float32")


def expected_logits(model, backbone, images):
    """The mean of a map's places or of a sequence's tokens, and the head, by numpy."""
    features = keras.ops.convert_to_numpy(backbone(images.astype("float32")))
    features = features.reshape(len(features), -1, features.shape[-1]).mean(axis=1)
    kernel, bias = model.get_layer("logits").get_weights()
    return features @ kernel + bias


@pytest.mark.parametrize("name", ["resnet", "vit"])
def test_with_weights_pixels_are_scaled_as_the_preset_says(name, presets, tmp_path):
    folder, backbones = presets
    model = build_backbone(
        f"keras_hub:{folder / name}", SHAPE, 5, pretrained="imagenet", **STATISTICS
    )
    scale, offset = map(np.array, CONVERTERS[name].values())
    outputs = model(standardised(random_pixels()), training=False).numpy()
    expected = expected_logits(model, backbones[name], random_pixels() * scale + offset)
    np.testing.assert_allclose(outputs, expected, atol=1e-4)
    model.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        restored(standardised(random_pixels()), training=False).numpy(), outputs
    )


def test_from_scratch_the_backbone_sees_standardised_images(presets):
    folder, backbones = presets
    model = build_backbone(f"keras_hub:{folder / 'unscaled'}", SHAPE, 5, seed=0)
    images = standardised(random_pixels())
    backbone = model.get_layer(backbones["resnet"].name)
    assert not np.array_equal(
        backbone.weights[0].numpy(), backbones["resnet"].weights[0].numpy()
    )
    np.testing.assert_allclose(
        model(images, training=False).numpy(),
        expected_logits(model, backbone, images),
        atol=1e-4,
    )


def test_scaling_is_exact_under_mixed_precision(presets):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build_backbone(
            f"keras_hub:{presets[0] / 'resnet'}",
            SHAPE,
            5,
            pretrained="imagenet",
            **STATISTICS,
        )
    finally:
        keras.config.set_dtype_policy(before)
    scaling = model.get_layer("input_scaling")
    # 255 std of Clothing1M times the preset's scale; bfloat16 would be off by 0.4%.
    expected = (255 * 0.3113 * 0.01, 255 * 0.3192 * 0.02, 255 * 0.3214 * 0.03)
    np.testing.assert_allclose(scaling.scale, expected, rtol=1e-5)
    assert scaling.compute_dtype == "float32"


@pytest.mark.parametrize("name", ["resnet", "vit"])
def test_seeds(name, presets):
    def build(seed):
        model = build_backbone(f"keras_hub:{presets[0] / name}", SHAPE, 5, seed=seed)
        return model.get_weights()

    first = build(0)
    build_backbone("mlp", (8, 8, 1), 5)
    for one, other in zip(first, build(0), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(first[0], build(1)[0])


def test_a_training_step(presets):
    model = build_backbone(
        f"keras_hub:{presets[0] / 'resnet'}",
        SHAPE,
        5,
        pretrained="imagenet",
        **STATISTICS,
    )
    before = [weight.numpy() for weight in model.trainable_weights]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.02), loss, run_eagerly=True)
    assert 0.1 < model.train_on_batch(standardised(random_pixels()), np.arange(3)) < 10
    for old, new in zip(before, model.trainable_weights, strict=True):
        assert not np.array_equal(old, new.numpy()), new.path


def test_refuses_presets_without_an_image_converter(presets):
    with pytest.raises(ValueError, match=r"no image converter.*save_to_preset"):
        build_backbone(
            f"keras_hub:{presets[0] / 'unscaled'}",
            SHAPE,
            5,
            pretrained="imagenet",
            **STATISTICS,
        )


@pytest.mark.parametrize(
    ("name", "shape"), [("vit", (64, 64, 3)), ("resnet", (32, 32, 1))]
)
def test_refuses_images_that_the_preset_does_not_take(name, shape, presets):
    with pytest.raises(ValueError, match=rf"takes images of shape .*\({shape[0]}, "):
        build_backbone(f"keras_hub:{presets[0] / name}", shape, 5)


def test_refuses_presets_of_other_things(keras_hub, tmp_path):
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=10,
        num_layers=1,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=8,
        max_sequence_length=8,
    )
    backbone.save_to_preset(str(tmp_path))
    with pytest.raises(
        ValueError, match="a BertBackbone, whose input is not one image"
    ):
        build_backbone(f"keras_hub:{tmp_path}", SHAPE, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pretrained": "weights.h5"}, 'must be "imagenet".*keras_hub:FOLDER'),
        ({"pretrained": "imagenet"}, "`mean` and `std`.*must be given"),
    ],
)
def test_refuses_arguments(options, message, presets):
    with pytest.raises(ValueError, match=message):
        build_backbone(f"keras_hub:{presets[0] / 'resnet'}", SHAPE, 5, **options)


def test_unknown_presets(keras_hub, tmp_path):
    with pytest.raises(ValueError, match="Unknown preset identifier"):
        build_backbone(f"keras_hub:{tmp_path / 'missing'}", SHAPE, 5)


def test_a_download_that_fails(keras_hub, monkeypatch):
    def from_preset(*_, **__):
        raise ConnectionError("no network")

    monkeypatch.setattr(keras_hub.models.Backbone, "from_preset", from_preset)
    message = r"'resnet_50_imagenet' \(no network\).*keras_hub:FOLDER"
    with pytest.raises(OSError, match=message):
        build_backbone("keras_hub:resnet_50_imagenet", SHAPE, 5)


def test_the_extra_is_named_where_keras_hub_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(ImportError, match=r'pip install "sop-keras\[keras-hub\]"'):
        build_backbone("keras_hub:resnet_50_imagenet", SHAPE, 5)
