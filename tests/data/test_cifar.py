import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from sop_keras.data.datasets import cifar
from sop_keras.data.datasets.cifar import load_cifar10, load_cifar100
from sop_keras.label_noise.asymmetric import CIFAR10_CLASS_MAP, cifar100_class_map

NUM_COLOURS = 251


def write_records(path, split, size):
    """A split as TFDS stores it, not in the order of its ids.

    Example i has label (3 i) mod 100 and all pixels at i mod 251.
    """
    colours = [
        tf.io.encode_png(np.full((32, 32, 3), c, np.uint8)).numpy()
        for c in range(NUM_COLOURS)
    ]

    def bytes_feature(value):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    def integer_feature(value):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    num_bytes = 0
    with tf.io.TFRecordWriter(str(path)) as writer:
        for i in np.random.default_rng(0).permutation(size).tolist():
            feature = {
                "coarse_label": integer_feature(0),
                "id": bytes_feature(f"{split}_{i:05d}".encode()),
                "image": bytes_feature(colours[i % NUM_COLOURS]),
                "label": integer_feature(3 * i % 100),
            }
            record = tf.train.Example(features=tf.train.Features(feature=feature))
            serialized = record.SerializeToString()
            num_bytes += len(serialized)
            writer.write(serialized)
    return {
        "name": split,
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        "numBytes": str(num_bytes),
        "shardLengths": [str(size)],
    }


@pytest.fixture(scope="module")
def prepared_cifar100(tmp_path_factory):
    """A folder that TFDS takes for a prepared CIFAR-100 of the published size."""
    data_dir = tmp_path_factory.mktemp("tfds")
    folder = data_dir / "cifar100" / "3.0.2"
    folder.mkdir(parents=True)
    splits = [
        write_records(folder / f"cifar100-{s}.tfrecord-00000-of-00001", s, size)
        for s, size in (("train", 50_000), ("test", 10_000))
    ]
    info = {
        "name": "cifar100",
        "version": "3.0.2",
        "fileFormat": "tfrecord",
        "splits": splits,
    }
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return data_dir


def test_arrays_are_in_the_order_of_the_ids(prepared_cifar100):
    dataset = load_cifar100(prepared_cifar100)
    assert dataset.num_examples == 50_000
    for part, size in ((dataset.train, 50_000), (dataset.test, 10_000)):
        ids = np.arange(size)
        np.testing.assert_array_equal(part.ids, ids)
        np.testing.assert_array_equal(part.labels, 3 * ids % 100)
        assert part.images.shape == (size, 32, 32, 3)
        for pixel in ((0, 0, 0), (31, 31, 2), (7, 20, 1)):
            shown = part.images[(slice(None), *pixel)]
            np.testing.assert_array_equal(shown, ids % NUM_COLOURS)


def test_cifar100_names_and_statistics(prepared_cifar100, monkeypatch):
    monkeypatch.setattr(cifar, "_read_split", published_arrays())
    dataset = load_cifar100(prepared_cifar100)
    names = dataset.class_names
    assert len(set(names)) == dataset.num_classes == 100
    assert list(names) == sorted(names)
    # Superclasses of the published files: fine labels and names.
    superclasses = {
        (4, 30, 55, 72, 95): ("beaver", "dolphin", "otter", "seal", "whale"),
        (2, 11, 35, 46, 98): ("baby", "boy", "girl", "man", "woman"),
        (41, 69, 81, 85, 89): ("lawn_mower", "rocket", "streetcar", "tank", "tractor"),
    }
    for labels, expected in superclasses.items():
        assert tuple(names[label] for label in labels) == expected
    assert dataset.mean == (0.5071, 0.4867, 0.4408)
    assert dataset.std == (0.2675, 0.2565, 0.2761)


@pytest.mark.parametrize(
    ("load", "structure", "seed", "expected"),
    [
        (load_cifar10, "superclass", 0, CIFAR10_CLASS_MAP),
        (load_cifar100, "superclass", 0, cifar100_class_map()),
        (load_cifar100, "blocks", 7, cifar100_class_map("blocks", seed=7)),
    ],
)
def test_each_brings_the_class_map_of_asymmetric_noise(
    load, structure, seed, expected, monkeypatch
):
    monkeypatch.setattr(cifar, "prepared_builder", lambda name, data_dir: None)
    read = published_arrays()

    def read_ten_classes(builder, split):
        ids, images, labels = read(builder, split)
        return ids, images, labels % 10

    monkeypatch.setattr(cifar, "_read_split", read_ten_classes)
    assert load().class_map(structure, seed) == expected


@pytest.mark.skipif(
    "SOP_KERAS_DATA" not in os.environ,
    reason="SOP_KERAS_DATA does not name a folder with tfds/cifar10",
)
def test_the_real_cifar10():
    dataset = load_cifar10(Path(os.environ["SOP_KERAS_DATA"]) / "tfds")
    assert (dataset.name, dataset.num_examples) == ("cifar10", 50_000)
    # The first images of the published files.
    assert [dataset.class_names[y] for y in dataset.train.labels[:10]] == [
        *("frog", "truck", "truck", "deer", "automobile"),
        *("automobile", "bird", "horse", "ship", "cat"),
    ]
    assert [dataset.class_names[y] for y in dataset.test.labels[:5]] == [
        *("cat", "ship", "ship", "airplane", "frog"),
    ]
    for part, a_class in ((dataset.train, 5_000), (dataset.test, 1_000)):
        assert np.bincount(part.labels).tolist() == [a_class] * 10
        np.testing.assert_array_equal(part.ids, np.arange(10 * a_class))
    pixels = dataset.train.images.reshape(-1, 3)
    np.testing.assert_allclose(
        pixels.mean(axis=0) / 255, [0.49140, 0.48216, 0.44653], atol=5e-6
    )
    np.testing.assert_allclose(dataset.mean, pixels.mean(axis=0) / 255, atol=5e-5)
    assert dataset.std == (0.2023, 0.1994, 0.2010)


def published_arrays(**changes):
    """A stand-in for the reader, with changes to the training split.

    Each change is a function that gets the split's right array and spoils it.
    """

    def read(builder, split):
        size = {"train": 50_000, "test": 10_000}[split]
        arrays = {
            "ids": np.array([f"{split}_{i:05d}" for i in range(size)], np.bytes_),
            "images": np.zeros((size, 32, 32, 3), np.uint8),
            "labels": np.arange(size) % 100,
        }
        if split == "train":
            for name, spoil in changes.items():
                arrays[name] = spoil(arrays[name])
        return tuple(arrays.values())

    return read


def with_first(value):
    def spoil(array):
        array[0] = value
        return array

    return spoil


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"ids": with_first(b"train_00007")},
            "every id from train_00000 to train_49999 once.*50000 ids, 49999 of these",
        ),
        ({"ids": with_first(b"valid_00000")}, "50000 ids, 49999 of these 50000"),
        ({"ids": lambda ids: ids[1:]}, "49999 ids, 49999 of these 50000"),
        (
            {"images": lambda images: images[:, :, :28]},
            r"images of shape \(32, 32, 3\).*Received: \(32, 28, 3\)",
        ),
        ({"labels": with_first(100)}, "labels from 0 to 99.*Received: 0 to 100"),
        ({"labels": with_first(-1)}, "labels from 0 to 99.*Received: -1 to 99"),
    ],
)
def test_a_data_set_that_is_not_the_published_one(
    prepared_cifar100, monkeypatch, changes, text
):
    monkeypatch.setattr(cifar, "_read_split", published_arrays(**changes))
    with pytest.raises(ValueError, match=text):
        load_cifar100(prepared_cifar100)


def test_a_folder_without_the_data_set(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        load_cifar10(tmp_path)
    text = str(error.value)
    assert f"No prepared cifar10 in {tmp_path}/cifar10" in text
    assert text.endswith(
        '\npython -c "import tensorflow_datasets as tfds; '
        f"tfds.load('cifar10', data_dir='{tmp_path}')\""
    )


def test_without_tensorflow_datasets(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match="pip install tensorflow-datasets"):
        load_cifar10()
