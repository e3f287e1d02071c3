import functools

import keras
import numpy as np
import pytest

from sop_keras.backbones.applications import (
    application,
    inception_resnet_v2,
    resnet50,
)
from sop_keras.backbones.build import build_backbone
from sop_keras.backbones.names import APPLICATIONS, snake_case

# Those of Clothing1M: other than ImageNet's.
STATISTICS = {"mean": (0.6959, 0.6537, 0.6371), "std": (0.3113, 0.3192, 0.3214)}


@functools.cache
def from_scratch(name):
    """A network of 5 classes at the least size; built once."""
    size = 75 if name == "inception_resnet_v2" else 32
    return build_backbone(name, (size, size, 3), 5, seed=0)


@pytest.fixture(scope="module", autouse=True)
def _forget_networks():
    yield
    from_scratch.cache_clear()


def random_pixels(size=32):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (3, size, size, 3)).astype("float32")


def standardised(pixels):
    mean, std = map(np.array, STATISTICS.values())
    return ((pixels / 255 - mean) / std).astype("float32")


def shaken(model):
    """Random BatchNorm statistics: with 0 and 1 a signal soon dies out."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(rng.normal(0, 0.3, layer.moving_mean.shape))
            layer.moving_variance.assign(rng.uniform(0.5, 2, layer.moving_mean.shape))
    return model


def seen_by(model, layer, images):
    """What the layer of this name gets when the model gets `images`."""
    before = keras.Model(model.input, model.get_layer(layer).input)
    return keras.ops.convert_to_numpy(before(images))


@pytest.mark.parametrize(
    ("published", "name"),
    [
        ("ResNet50", "resnet50"),
        ("ResNet50V2", "resnet50_v2"),
        ("InceptionResNetV2", "inception_resnet_v2"),
        ("EfficientNetB0", "efficientnet_b0"),
        ("EfficientNetV2S", "efficientnet_v2_s"),
        ("EfficientNetV2B0", "efficientnet_v2_b0"),
        ("ConvNeXtTiny", "convnext_tiny"),
        ("ConvNeXtXLarge", "convnext_xlarge"),
        ("MobileNet", "mobilenet"),
        ("MobileNetV3Small", "mobilenet_v3_small"),
        ("DenseNet121", "densenet121"),
        ("NASNetLarge", "nasnet_large"),
        ("VGG16", "vgg16"),
    ],
)
def test_names(published, name):
    assert APPLICATIONS[name] == published
    assert callable(getattr(keras.applications, published))
    assert snake_case(published) == snake_case(name) == name


# Keras' table of networks has these counts, with a top of 1000 classes.
@pytest.mark.parametrize(
    ("name", "features", "published"),
    [
        ("resnet50", 2048, 25_636_712),
        ("inception_resnet_v2", 1536, 55_873_736),
        ("convnext_tiny", 768, 28_589_128),
        ("efficientnet_b0", 1280, 5_330_571),
        ("mobilenet", 1024, 4_253_864),
    ],
)
def test_published_parameter_counts(name, features, published):
    model = from_scratch(name)
    head = model.get_layer("logits").count_params()
    assert head == (features + 1) * 5
    assert model.count_params() - head + (features + 1) * 1000 == published


def test_the_counts_without_top_of_the_networks_of_the_paper():
    # 25,636,712 - 2049 * 1000 and 55,873,736 - 1537 * 1000, less the head of 5 classes.
    assert from_scratch("resnet50").count_params() - 2049 * 5 == 23_587_712
    assert from_scratch("inception_resnet_v2").count_params() - 1537 * 5 == 54_336_736


@pytest.mark.parametrize(
    ("name", "layers", "epsilon"),
    [
        # The stem, three in each of 16 blocks, one in each of 4 shortcuts.
        ("resnet50", 1 + 3 * 16 + 4, 1.001e-5),
        # Stem 5, mixed 5b 7, ten blocks of 6, mixed 6a 4, twenty of 4, mixed 7a 7, ten
        # of 4, and the last one.
        ("inception_resnet_v2", 5 + 7 + 60 + 4 + 80 + 7 + 40 + 1, 1e-3),
    ],
)
def test_the_networks_of_the_paper_start_as_in_pytorch(name, layers, epsilon, oracle):
    model = from_scratch(name)
    assert model.name == name
    oracle.check_starts_as_in_pytorch(model)
    found = [
        (layer.momentum, layer.epsilon)
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert found == [(0.9, epsilon)] * layers


def test_a_training_step():
    model = resnet50((32, 32, 3), 5, seed=0)
    stem = keras.Model(model.input, model.get_layer("conv1_conv").output)
    images = standardised(random_pixels())
    means = keras.ops.convert_to_numpy(stem(images)).mean((0, 1, 2))
    before = [weight.numpy() for weight in model.trainable_weights]
    model.compile(
        keras.optimizers.SGD(0.02),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        run_eagerly=True,  # tracing takes longer than the step
    )
    loss = model.train_on_batch(images, np.array([0, 1, 2]))
    assert 0.1 < loss < 10  # ln 5 = 1.6
    for old, new in zip(before, model.trainable_weights, strict=True):
        # BatchNorm takes the mean away, and the biases of convolutions with it.
        if "conv/bias" not in new.path:
            assert not np.array_equal(old, new.numpy()), new.path
    # Nine tenths of the old average, 0, and one tenth of the batch's.
    np.testing.assert_allclose(
        model.get_layer("conv1_bn").moving_mean.numpy(), 0.1 * means, atol=1e-6
    )


def test_save_and_load(tmp_path):
    model = from_scratch("resnet50")
    model.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras")
    images = standardised(random_pixels(model.input_shape[1]))
    np.testing.assert_array_equal(
        restored(images, training=False).numpy(),
        model(images, training=False).numpy(),
    )


def assert_same_weights(first, second):
    for one, other in zip(first.weights, second.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_the_same_seed_gives_the_same_weights_whatever_was_built_before():
    first = from_scratch("resnet50")
    keras.utils.set_random_seed(123)
    build_backbone("mlp", (8, 8, 1), 3)
    assert_same_weights(first, resnet50((32, 32, 3), 5, seed=0))


def test_the_same_seed_drops_the_same_blocks():
    first = build_backbone("efficientnet_b0", (32, 32, 3), 5, seed=0)
    keras.utils.set_random_seed(123)
    second = build_backbone("efficientnet_b0", (32, 32, 3), 5, seed=0)
    assert_same_weights(first, second)
    images = standardised(random_pixels())
    outputs = [model(images, training=True).numpy() for model in (first, second)]
    np.testing.assert_array_equal(*outputs)
    assert not np.array_equal(outputs[0], first(images, training=True).numpy())


def test_other_seeds_and_none():
    def kernels(seed):
        model = build_backbone("vgg16", (32, 32, 3), 5, seed=seed)
        return [model.get_layer(n).kernel.numpy() for n in ("block1_conv1", "logits")]

    keras.utils.set_random_seed(1)
    builds = [kernels(seed) for seed in (None, None, 0, 1)]
    for same_layer in zip(*builds, strict=True):
        assert len({kernel.tobytes() for kernel in same_layer}) == 4
    keras.utils.set_random_seed(1)
    np.testing.assert_array_equal(kernels(None)[0], builds[0][0])


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("convnext_tiny", "convnext_tiny_stem"),
        ("efficientnet_b0", "stem_conv_pad"),
        ("mobilenet_v3_small", "conv"),
        ("resnet50", "conv1_pad"),
    ],
)
def test_from_scratch_the_first_layer_sees_standardised_images(name, layer):
    images = standardised(random_pixels())
    seen = seen_by(from_scratch(name), layer, images)
    np.testing.assert_allclose(seen, images, rtol=1e-5, atol=1e-6)


def test_a_file_of_weights_gives_what_keras_gives(tmp_path):
    source = shaken(
        keras.applications.ResNet50(
            include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg"
        )
    )
    path = tmp_path / "any.weights.h5"
    source.save_weights(path)
    model = resnet50((32, 32, 3), 5, seed=0, pretrained=path, **STATISTICS)
    preprocess = keras.applications.resnet.preprocess_input
    features = source(preprocess(random_pixels()), training=False).numpy()
    kernel, bias = model.get_layer("logits").get_weights()
    outputs = model(standardised(random_pixels()), training=False).numpy()
    np.testing.assert_allclose(outputs, features @ kernel + bias, atol=1e-4)
    # Other images give other outputs, by far more than that.
    assert outputs.std(axis=0).min() > 0.01
    assert len(model.trainable_variables) == len(source.trainable_variables) + 2


def test_a_file_with_its_top(tmp_path):
    source = keras.applications.MobileNet(weights=None)
    source.save_weights(tmp_path / "any.weights.h5")
    model = build_backbone(
        "mobilenet",
        (32, 32, 3),
        5,
        pretrained=tmp_path / "any.weights.h5",
        **STATISTICS,
    )
    # Both heads have a kernel and a bias.
    ours, theirs = model.get_weights()[:-2], source.get_weights()[:-2]
    for first, second in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.fixture
def downloads(monkeypatch):
    """Let Keras find files here that it would download; says which ones it wanted."""

    def serve(path):
        wanted = []

        def get_file(name, *_, **__):
            wanted.append(name)
            if path is None:
                raise Exception("URL fetch failure on SOMEWHERE: None -- no network")
            return str(path)

        monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
        return wanted

    return serve


def test_imagenet_weights_of_efficientnet_downloaded_and_from_the_file(
    downloads, tmp_path
):
    # The published file has deviations where Keras' layer takes variances. Keras mends
    # it when it downloads.
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    published = keras.applications.EfficientNetB0(
        include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg"
    )
    published.set_weights([mean, deviation, *published.get_weights()[2:]])
    path = tmp_path / "any.weights.h5"
    published.save_weights(path)

    wanted = downloads(path)
    for pretrained in ("imagenet", path):
        model = build_backbone(
            "EfficientNetB0", (32, 32, 3), 5, pretrained=pretrained, **STATISTICS
        )
        seen = seen_by(model, "stem_conv_pad", standardised(random_pixels()))
        expected = (random_pixels() / 255 - mean) / deviation
        np.testing.assert_allclose(seen, expected, atol=1e-4)
    assert wanted == ["efficientnetb0_notop.h5"]


def test_a_download_that_fails(downloads):
    wanted = downloads(None)
    message = r"ImageNet weights of 'resnet50' \(URL fetch.*pretrained=PATH"
    with pytest.raises(OSError, match=message):
        resnet50((32, 32, 3), 5, pretrained="imagenet", **STATISTICS)
    assert wanted == ["resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"]


@pytest.mark.parametrize(
    ("name", "shape", "least"),
    [
        ("resnet50", (31, 32, 3), 32),
        ("inception_resnet_v2", (75, 74, 3), 75),
        ("inception_v3", (74, 75, 3), 75),
        ("xception", (70, 71, 3), 71),
        ("vgg16", (32, 31, 3), 32),
    ],
)
def test_refuses_small_images(name, shape, least):
    with pytest.raises(
        ValueError, match=f"at least {least}x{least} pixels.*{shape[0]}"
    ):
        build_backbone(name, shape, 5)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"pretrained": "imagenet"}, ValueError, "`mean` and `std`.*must be given"),
        ({"pretrained": "missing.h5"}, FileNotFoundError, "'missing.h5'"),
        ({"seed": -1}, ValueError, "integer of at least 0.*seed=-1"),
    ],
)
@pytest.mark.parametrize("build", [resnet50, inception_resnet_v2])
def test_refuses_at_once(build, options, error, message):
    with pytest.raises(error, match=message):
        build((75, 75, 3), 5, **options)


def test_unknown_networks():
    with pytest.raises(ValueError, match=r"'resnet34'\. Known ones: convnext_base, "):
        application("resnet34", (32, 32, 3), 5)
