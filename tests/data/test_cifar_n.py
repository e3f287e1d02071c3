import os
from pathlib import Path

import numpy as np
import pytest

from sop_keras.data.datasets import cifar_n
from sop_keras.data.datasets.cifar import load_cifar10
from sop_keras.data.datasets.cifar_n import load_cifar10n, load_cifar100n
from sop_keras.data.datasets.dataset import Dataset, Examples

DATA = os.environ.get("SOP_KERAS_DATA")
needs_real_data = pytest.mark.skipif(
    not DATA, reason="SOP_KERAS_DATA is unset: no folder with tfds/cifar10 and cifar_n"
)


def images_of(labels, num_classes):
    """A data set of 50,000 tiny images; not in the order of their ids."""
    ids = np.random.default_rng(0).permutation(50_000)
    images = np.zeros((50_000, 1, 1, 3), np.uint8)
    train = Examples(ids, images, np.asarray(labels)[ids])
    test = Examples(np.arange(2), images[:2], np.array([0, 1]))
    names = tuple(f"class {k}" for k in range(num_classes))
    return Dataset("cifar", names, 50_000, train, test, (0.5,) * 3, (0.2,) * 3)


@pytest.fixture
def cifar100(monkeypatch):
    """CIFAR-100 without its images, with labels 0, 1, 2, ... in turn."""
    dataset = images_of(np.arange(50_000) % 100, 100)
    monkeypatch.setattr(cifar_n, "load_cifar100", lambda data_dir: dataset)
    return dataset


@pytest.fixture
def labels_100(tmp_path):
    """40.2% of the labels are the next class: those of the 20,100 last images."""
    clean = np.arange(50_000) % 100
    noisy = (clean + (np.arange(50_000) >= 29_900)) % 100
    path = tmp_path / "cifar100n.npz"
    np.savez(path, clean_label=clean, noisy_label=noisy)
    return path


def test_labels_are_joined_by_id(cifar100, labels_100):
    dataset = load_cifar100n(human_labels=labels_100)
    train = dataset.train
    np.testing.assert_array_equal(train.ids, cifar100.train.ids)
    assert train.images is cifar100.train.images
    np.testing.assert_array_equal(train.clean_labels, train.ids % 100)
    by_hand = [(i + 1) % 100 if i >= 29_900 else i % 100 for i in train.ids.tolist()]
    assert train.labels.tolist() == by_hand
    assert train.labels.dtype == np.int64
    assert dataset.name == "cifar100n"
    assert dataset.test is cifar100.test
    kept = ("class_names", "num_examples", "mean", "std")
    assert [getattr(dataset, k) for k in kept] == [getattr(cifar100, k) for k in kept]


def test_the_folder_reaches_both_readers(cifar100, labels_100, monkeypatch):
    seen = []
    monkeypatch.setattr(
        cifar_n, "load_cifar100", lambda data_dir: seen.append(data_dir) or cifar100
    )
    dataset = load_cifar100n(labels_100.parent)
    assert seen == [labels_100.parent]
    assert (
        np.count_nonzero(dataset.train.labels != dataset.train.clean_labels) == 20_100
    )


def test_clean_labels_need_no_human_ones(cifar100, labels_100, tmp_path):
    for human_labels in (None, labels_100):
        dataset = load_cifar100n(
            tmp_path / "none", label_set="clean", human_labels=human_labels
        )
        np.testing.assert_array_equal(dataset.train.labels, dataset.train.ids % 100)
        np.testing.assert_array_equal(dataset.train.clean_labels, dataset.train.labels)
    # Those that are given are checked all the same.
    with pytest.raises(FileNotFoundError, match="no human labels of CIFAR-100N"):
        load_cifar100n(label_set="clean", human_labels=tmp_path / "none.npz")


def test_labels_in_another_order(monkeypatch, labels_100):
    in_turn = np.arange(50_000) % 100
    # Two images of different classes have changed places.
    in_turn[[3, 4]] = in_turn[[4, 3]]
    dataset = images_of(in_turn, 100)
    monkeypatch.setattr(cifar_n, "load_cifar100", lambda data_dir: dataset)
    for label_set in ("noisy", "clean"):
        with pytest.raises(
            ValueError, match=r"another class for 2 of 50000 images.*in another order"
        ):
            load_cifar100n(label_set=label_set, human_labels=labels_100)


@pytest.mark.parametrize(
    ("load", "label_set", "text"),
    [
        (load_cifar10n, "worse", "aggregate, random1, random2, random3, worst, clean"),
        (load_cifar100n, "worst", "noisy, clean, the labels of CIFAR-100N"),
    ],
)
def test_unknown_label_set(load, label_set, text, tmp_path):
    with pytest.raises(ValueError, match=f"one of {text}.*label_set='{label_set}'"):
        load(tmp_path, label_set=label_set)


def test_the_images_are_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="No prepared cifar10 in"):
        load_cifar10n(tmp_path)


@needs_real_data
def test_the_real_cifar10n():
    data = Path(DATA)
    # By default the labels are found beside the folder of the images.
    dataset = load_cifar10n(data / "tfds")
    assert (dataset.name, dataset.num_examples, dataset.num_classes) == (
        *("cifar10n", 50_000, 10),
    )
    train = dataset.train
    assert len(dataset.test) == 10_000
    # 40.208% of 50,000.
    assert np.count_nonzero(train.labels != train.clean_labels) == 20_104
    archive = np.load(data / "cifar_n" / "cifar10n.npz")
    worst, clean = archive["worse_label"], archive["clean_label"]
    assert train.labels[train.ids == 42].tolist() == [worst[42]]
    np.testing.assert_array_equal(train.labels, worst[train.ids])
    np.testing.assert_array_equal(train.clean_labels, clean[train.ids])
    # The first images of the published files: frog, truck, truck, deer, automobile.
    assert train.clean_labels[:5].tolist() == [6, 9, 9, 4, 1]


@needs_real_data
def test_all_label_sets_of_the_real_cifar10n(monkeypatch):
    data = Path(DATA)
    images = load_cifar10(data / "tfds")
    monkeypatch.setattr(cifar_n, "load_cifar10", lambda data_dir: images)
    # The published rates of 9.010, 17.234, 18.122, 17.640, 40.208 and 0%, times 500.
    expected = {"aggregate": 4505, "random1": 8617, "random2": 9061, "random3": 8820}
    for label_set, num_wrong in {**expected, "worst": 20_104, "clean": 0}.items():
        train = load_cifar10n(
            label_set=label_set, human_labels=data / "cifar_n" / "cifar10n.npz"
        ).train
        assert np.count_nonzero(train.labels != train.clean_labels) == num_wrong


@needs_real_data
def test_the_real_labels_of_cifar100n(monkeypatch):
    archive = dict(np.load(Path(DATA) / "cifar_n" / "cifar100n.npz"))
    dataset = images_of(archive["clean_label"], 100)
    monkeypatch.setattr(cifar_n, "load_cifar100", lambda data_dir: dataset)
    train = load_cifar100n(human_labels=Path(DATA) / "cifar_n").train
    assert np.count_nonzero(train.labels != train.clean_labels) == 20_100
    assert train.labels[train.ids == 42].tolist() == [archive["noisy_label"][42]]
