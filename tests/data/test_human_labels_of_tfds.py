import json

import numpy as np
import pytest
import tensorflow as tf
from published_labels import (
    labels_of_10,
    labels_of_100,
    write_file,
)

from sop_keras.data.datasets.human_labels import CIFAR10N, CIFAR100N, load_human_labels


def write_tfds(folder, name, labels, ids):
    """What TFDS prepares, without the images, in the order of `ids`."""

    def feature(value):
        if isinstance(value, bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    folder.mkdir(parents=True)
    num_bytes = 0
    path = folder / f"{name}-train.tfrecord-00000-of-00001"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for i in ids:
            values = {key: int(array[i]) for key, array in labels.items()}
            values["id"] = f"train_{i:05d}".encode()
            features = {key: feature(value) for key, value in values.items()}
            record = tf.train.Example(features=tf.train.Features(feature=features))
            serialized = record.SerializeToString()
            num_bytes += len(serialized)
            writer.write(serialized)
    split = {
        "name": "train",
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        "numBytes": str(num_bytes),
        "shardLengths": [str(len(ids))],
    }
    info = {"name": name, "version": folder.name, "fileFormat": "tfrecord"}
    (folder / "dataset_info.json").write_text(json.dumps({**info, "splits": [split]}))


def shuffled_ids():
    return np.random.default_rng(0).permutation(50_000).tolist()


def test_cifar10n_of_tfds(tmp_path):
    labels = labels_of_10()
    labels["label"] = labels.pop("clean_label")
    folder = tmp_path / "cifar10_n" / "1.0.4"
    write_tfds(folder, "cifar10_n", labels, shuffled_ids())
    found = load_human_labels(CIFAR10N, tmp_path)
    entries = {"clean": "label", "aggregate": "aggre_label", "worst": "worse_label"}
    entries |= {f"random{k}": f"random_label{k}" for k in (1, 2, 3)}
    assert sorted(found) == sorted(entries)
    for name, entry in entries.items():
        np.testing.assert_array_equal(found[name], labels[entry])
        assert found[name].dtype == np.int64
    # A file goes before it.
    write_file(tmp_path / "cifar10n.npz", {"not": np.zeros(3)})
    with pytest.raises(ValueError, match=r"cifar10n\.npz cannot be read"):
        load_human_labels(CIFAR10N, tmp_path)


def test_cifar100n_of_tfds(tmp_path):
    labels = labels_of_100()
    features = {"label": labels["clean_label"], "noise_label": labels["noisy_label"]}
    folder = tmp_path / "cifar100_n" / "1.0.1"
    write_tfds(folder, "cifar100_n", features, shuffled_ids())
    found = load_human_labels(CIFAR100N, tmp_path)
    np.testing.assert_array_equal(found["clean"], labels["clean_label"])
    np.testing.assert_array_equal(found["noisy"], labels["noisy_label"])


def test_ids_of_tfds_that_are_not_the_published_ones(tmp_path):
    labels = {"label": np.zeros(50_000, int), "noise_label": np.zeros(50_000, int)}
    folder = tmp_path / "cifar100_n" / "1.0.1"
    write_tfds(folder, "cifar100_n", labels, [4, 4, 7])
    text = "every id from train_00000 to train_49999 once.*3 ids, 2 of these 50000"
    with pytest.raises(ValueError, match=text) as error:
        load_human_labels(CIFAR100N, tmp_path)
    assert str(error.value).startswith(str(folder))
