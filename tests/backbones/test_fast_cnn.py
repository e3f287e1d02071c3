import math

import keras
import numpy as np
import pytest

from sop_keras.backbones.build import build_backbone
from sop_keras.backbones.fast_cnn import fast_cnn, fast_cnn_wide
from sop_keras.backbones.whitening import whitening_filters
from sop_keras.optimizers.sgd import SGD

SMALL = {"widths": (5, 6, 7)}


def images_of(shape, count=20, seed=0):
    images = np.random.default_rng(seed).normal(size=(count, *shape))
    images += np.roll(images, 1, axis=1)
    return images.astype("float32")


def small(shape=(12, 10, 2), seed=0, classes=3):
    return fast_cnn(shape, classes, seed, images=images_of(shape), **SMALL)


def gelu(x):
    return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def whitened(image, filters):
    """Each 2x2 patch's products with all filters, by loops."""
    height, width, _ = image.shape
    out = np.zeros((height - 1, width - 1, filters.shape[-1]))
    for row in range(height - 1):
        for column in range(width - 1):
            patch = image[row : row + 2, column : column + 2]
            for k in range(filters.shape[-1]):
                out[row, column, k] = np.sum(patch * filters[..., k])
    return out


def pooled(x):
    """The maximum of 2x2 pixels; what is left over at the end is dropped."""
    rows, columns = (max(side // 2, 1) for side in x.shape[:2])
    out = np.zeros((rows, columns, x.shape[2]))
    for row in range(rows):
        for column in range(columns):
            window = x[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            out[row, column] = window.max(axis=(0, 1))
    return out


def logits_by_loops(image, weights, filters, convolution):
    x = gelu(whitened(image, filters) + weights["whitening_bias"][0][0, 0, 0])
    for block in ("block1", "block2", "block3"):
        for number in (1, 2):
            x = convolution(x, weights[f"{block}_conv{number}"][0], 1)
            if number == 1:
                x = pooled(x)
            offset, mean, variance = weights[f"{block}_bn{number}"]
            x = gelu((x - mean) / np.sqrt(variance + 1e-12) + offset)
    return x.max(axis=(0, 1)) @ weights["logits"][0] / 9


# 8x8: the third block's map is of one pixel. 19: 18, 9, 4, 2 pixels, of which the
# largest is taken.
@pytest.mark.parametrize("shape", [(12, 10, 2), (8, 8, 1), (19, 17, 3)])
def test_the_forward_pass_is_that_of_slow_loops(shape, oracle):
    model = small(shape)
    rng = np.random.default_rng(3)
    weights = {}
    for layer in model.layers:
        values = [rng.normal(0, 0.5, w.shape) for w in layer.get_weights()]
        if isinstance(layer, keras.layers.BatchNormalization):
            values[2] = rng.uniform(0.5, 2, values[2].shape)
        if values and layer.name != "whitening":
            layer.set_weights(values)
            weights[layer.name] = values
    filters = whitening_filters(images_of(shape))
    batch = images_of(shape, count=2, seed=1)
    expected = [
        logits_by_loops(image.astype(np.float64), weights, filters, oracle.convolution)
        for image in batch
    ]
    found = keras.ops.convert_to_numpy(model(batch, training=False))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_parameter_counts():
    # Whitening 4*3*24 = 288 frozen, its bias 24; convolutions 9 * (24*64 + 64*64 +
    # 64*128 + 128*128 + 128*256 + 256*256) = 1,156,608; offsets 2 * (64 + 128 + 256)
    # = 896, and twice as many averages; logits 256 * 10. Of the source's widths
    # 9 * (24*64 + 64*64 + 64*256 + 3*256*256) = 1,967,616 and 2 * (64 + 256 + 256)
    # = 1,152: 1.97 million, as published.
    shape = (32, 32, 3)
    counts = {fast_cnn: 24 + 1_156_608 + 896 + 2_560, fast_cnn_wide: 1_971_352}
    assert counts[fast_cnn_wide] == 24 + 1_967_616 + 1_152 + 2_560
    for build, expected in counts.items():
        model = build(shape, 10, seed=0, images=images_of(shape))
        assert model.name == build.__name__
        count = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
        assert count == expected
        frozen = sum(int(np.prod(w.shape)) for w in model.non_trainable_weights)
        offsets = 896 if build is fast_cnn else 1_152
        assert frozen == 288 + 2 * offsets


def test_map_sizes():
    model = build_backbone(
        "fast_cnn", (32, 32, 3), 10, seed=0, images=images_of((32, 32, 3))
    )
    sizes = {"whitening": 31, "block1_pool": 15, "block2_pool": 7, "block3_pool": 3}
    found = {name: model.get_layer(name).output.shape[1] for name in sizes}
    assert found == sizes


def test_first_values():
    model = small()
    kernel = model.get_layer("whitening").kernel
    expected = whitening_filters(images_of((12, 10, 2)))
    np.testing.assert_array_equal(kernel.numpy(), expected.astype("float32"))
    assert not model.get_layer("whitening_bias").get_weights()[0].any()
    # 16 channels to 5, 5 to 5, 5 to 6, 6 to 6, 6 to 7, 7 to 7.
    firsts = []
    for name in ("block1_conv1", "block2_conv1", "block2_conv2", "block3_conv1"):
        kernel = model.get_layer(name).kernel.numpy()
        count = min(kernel.shape[2:])
        identity = np.zeros((3, 3, kernel.shape[2], count))
        identity[1, 1, range(count), range(count)] = 1
        np.testing.assert_array_equal(kernel[..., :count], identity)
        others = kernel[..., count:]
        limit = 1 / math.sqrt(9 * kernel.shape[2])
        assert (np.abs(others) <= limit).all()
        firsts += list(others.ravel()[:1] / limit)
    logits = model.get_layer("logits").kernel.numpy()
    assert np.abs(logits).max() <= 1 / math.sqrt(7)
    firsts.append(logits[0, 0] * math.sqrt(7))
    assert len(firsts) == 3  # block2_conv1, block3_conv1, logits: all drawn apart
    assert len(np.unique(firsts)) == 3
    normalizations = [
        layer
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert len(normalizations) == 6
    for layer in normalizations:
        assert (layer.momentum, layer.epsilon) == (0.6, 1e-12)
        assert layer.gamma is None
        assert [w.name for w in layer.trainable_weights] == ["beta"]


def test_seeds():
    model, again, other = small(seed=0), small(seed=0), small(seed=1)
    for first, second in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(first.numpy(), second.numpy())
    assert not np.array_equal(
        model.get_layer("logits").kernel, other.get_layer("logits").kernel
    )
    np.testing.assert_array_equal(
        model.get_layer("whitening").kernel, other.get_layer("whitening").kernel
    )


def test_saved_loaded_and_cloned_networks_whiten_without_data(tmp_path):
    model = small()
    model.get_layer("whitening_bias").set_weights([np.full((1, 1, 1, 16), 0.3)])
    model.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras")
    images = images_of((12, 10, 2), seed=2)
    np.testing.assert_array_equal(restored(images), model(images))
    paths = [w.path for w in model.trainable_weights]
    assert [w.path for w in restored.trainable_weights] == paths
    clone = keras.models.clone_model(model)
    np.testing.assert_array_equal(
        clone.get_layer("whitening").kernel, model.get_layer("whitening").kernel
    )
    assert "sop_keras" not in model.to_json()


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        mixed = small()
    finally:
        keras.config.set_dtype_policy(before)
    assert mixed.get_layer("block3_conv2").compute_dtype == policy.removeprefix(
        "mixed_"
    )
    images = images_of((12, 10, 2), seed=2)
    found, full = mixed(images), small()(images)
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    np.testing.assert_allclose(found, full, atol=0.02)


def test_it_learns():
    # Four kinds of gratings; the whitening and all but the moving averages are left
    # where they are if nothing trains.
    rng = np.random.default_rng(0)
    labels = np.arange(240) % 4
    rows, columns = np.indices((16, 16))
    waves = [rows, columns, rows + columns, rows - columns]
    phases = rng.uniform(0, 2 * np.pi, (240, 1, 1))
    gratings = np.sin(np.pi / 2 * np.stack(waves)[labels] + phases)[..., None]
    images = (gratings + rng.normal(0, 0.5, gratings.shape)).astype("float32")
    model = fast_cnn((16, 16, 1), 4, seed=0, images=images, widths=(8, 8, 16))
    before = model.get_layer("whitening").kernel.numpy()
    model.compile(
        SGD(0.5, 0.85, nesterov=True, l2=1e-3, offset_rate_factor=8),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    keras.utils.set_random_seed(0)
    model.fit(images[:200], labels[:200], batch_size=40, epochs=12, verbose=0)
    assert model.evaluate(images[200:], labels[200:], verbose=0)[1] >= 0.9
    np.testing.assert_array_equal(model.get_layer("whitening").kernel, before)
    assert model.get_layer("whitening_bias").kernel.numpy().any()


@pytest.mark.parametrize(
    ("shape", "options", "text"),
    [
        ((7, 8, 1), {}, r"at least 8x8 pixels.*\(7, 8, 1\)"),
        ((8, 8, 1), {"images": None}, "'fast_cnn' whitens.*`images` must be given"),
        (
            (8, 8, 1),
            {"images": np.zeros((2, 9, 8, 1))},
            r"\(n, 8, 8, 1\).*\(2, 9, 8, 1",
        ),
        ((8, 8, 1), {"images": np.zeros((2, 8, 8, 1), int)}, "standardised"),
        ((8, 8, 1), {"widths": (8, 8)}, r"three integers.*\(8, 8\)"),
        ((8, 8, 1), {"widths": (8, 0, 8)}, r"`widths\[1\]` must be an integer of at"),
    ],
)
def test_refuses(shape, options, text):
    with pytest.raises(ValueError, match=text):
        fast_cnn(shape, 3, **{"images": images_of(shape), **options})
    if "widths" not in options:
        with pytest.raises(ValueError, match=text.replace("fast_cnn", "fast_cnn_wide")):
            fast_cnn_wide(shape, 3, **{"images": images_of(shape), **options})


def test_the_wide_one_is_known_by_name():
    with pytest.raises(ValueError, match="'fast_cnn_wide' whitens"):
        build_backbone("fast_cnn_wide", (8, 8, 1), 3)
