import dataclasses

import numpy as np
import pytest
import safety_data
from safety_cells import Cell
from safety_data import cell_data, load_pool

CELL = Cell(("sgd", 0.02), ("symmetric", 0.8), 5, 32, 200, 2, 1, "mlp")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def pool(folder):
    return load_pool("digits", folder, {})


def test_digits(pool, folder, monkeypatch):
    assert pool["x_train"].shape == (1437, 8, 8, 1)
    assert pool["features_test"].shape == (360, 256)
    # Of 2 cos^2 at random phases the mean is 1.
    np.testing.assert_allclose((pool["features_train"] ** 2).mean(), 1, atol=0.05)
    monkeypatch.setattr(safety_data, "_digits", None)  # is not made again
    again = load_pool("digits", folder, {})
    np.testing.assert_array_equal(again["x_train"], pool["x_train"])


def test_features_are_of_a_gaussian_kernel(pool):
    # x . x' of the features is about 256 exp(-|x - x'|^2 / 2 m^2), m the median
    # distance: at that distance exp(-1/2) = 0.61 of what it is at none (at half of it
    # 0.88). The mean of 256 cosines has a deviation of up to 0.06.
    x = pool["x_train"].reshape(1437, -1)
    distances = np.linalg.norm(x[:700] - x[700:1400], axis=1)
    near = np.argsort(abs(distances - np.median(distances)))[:50]
    features = pool["features_train"]
    products = (features[near] * features[700 + near]).mean(axis=1)
    assert products.mean() == pytest.approx(np.exp(-0.5), abs=0.12)


def test_a_small_set_of_two_classes(pool):
    data = cell_data(CELL, 0, pool)
    assert data.x_train.shape == (200, 8, 8, 1)
    # All 1,797 digits but these.
    assert len(data.x_test) == len(data.test_labels) == 1597
    train = {image.tobytes() for image in data.x_train}
    assert not train & {image.tobytes() for image in data.x_test}
    # 80% redrawn of 2 classes: 40% wrong; 3 deviations of 200 are 10%.
    assert (data.labels != data.clean_labels).mean() == pytest.approx(0.4, abs=0.1)
    other = cell_data(CELL, 1, pool)
    assert not np.array_equal(other.x_train, data.x_train)


def test_a_rare_class_and_noise_one_way(pool):
    one = dataclasses.replace(
        CELL, noise=("asymmetric", 0.4), num_examples=1437, imbalance=20
    )
    data = cell_data(one, 0, pool)
    # 710 even digits; of odd ones a twentieth.
    assert np.bincount(data.clean_labels).tolist() == [710, 36]
    assert np.bincount(data.test_labels).sum() == 360
    assert (data.labels[data.clean_labels == 0] == 0).all()
    flipped = (data.labels[data.clean_labels == 1] == 0).mean()
    assert flipped == pytest.approx(0.4, abs=0.25)


def test_patches_of_images():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, 32, 32, 3)).astype(np.float32)
    filters = rng.normal(size=(108, 4)).astype(np.float32)
    offset = rng.normal(size=4).astype(np.float32)
    sums, counts = np.zeros((2, 2, 2, 2, 4)), np.zeros((2, 2))
    for row in range(27):
        for column in range(27):
            quarter = row >= 13, column >= 13
            counts[int(quarter[0]), int(quarter[1])] += 1
            for i, image in enumerate(images):
                patch = image[row : row + 6, column : column + 6].ravel()
                patch = (patch - patch.mean()) / np.sqrt(patch.var() + 0.05)
                said = patch @ filters - offset
                for place, sign in enumerate((1, -1)):
                    sums[i, int(quarter[0]), int(quarter[1]), place] += np.maximum(
                        sign * said - 0.25, 0
                    )
    means = (sums / counts[None, :, :, None, None]).reshape(2, -1)
    pooled = safety_data._pooled(images, filters, offset)
    np.testing.assert_allclose(pooled, means, rtol=1e-4, atol=1e-5)
