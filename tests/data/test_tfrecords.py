import os
from pathlib import Path
from types import SimpleNamespace

import data_trees
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from prepared_tfds import prepare

from sop_keras.data.datasets.tfrecords import TFRecordImages, read_records

NUM_IMAGES = 50


@pytest.fixture(scope="module")
def originals():
    """50 of the real CIFAR-10 images and their labels, five of each class."""
    images, labels = data_trees.tiny_cifar10()
    return images[:200:4], labels[:200:4]


@pytest.fixture(scope="module")
def builder(originals, tmp_path_factory):
    images, labels = originals
    assert len(images) == NUM_IMAGES
    examples = [
        {"number": i, "image": images[i], "label": int(labels[i]), "note": "x" * i}
        for i in range(NUM_IMAGES)
    ]
    folder = prepare(
        tmp_path_factory.mktemp("tfds"),
        "tiny",
        {
            "number": tfds.features.Scalar(np.int64),
            "image": tfds.features.Image(encoding_format="png"),
            "label": tfds.features.ClassLabel(num_classes=10),
            "note": tfds.features.Text(),
        },
        {"train": examples},
        num_shards=3,
    )
    return tfds.builder_from_directory(str(folder))


def feature(value):
    if isinstance(value, bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=value))


def example(**values):
    """A record as TFDS writes it."""
    features = {name: feature(value) for name, value in values.items()}
    return tf.train.Example(
        features=tf.train.Features(feature=features)
    ).SerializeToString()


def write_split(folder, files, *, compression="", lengths=None, file_format="tfrecord"):
    """A split of hand-written records, and all of a builder that is looked at."""
    paths = []
    for number, records in enumerate(files):
        paths.append(folder / f"d-train.tfrecord-{number:05d}-of-{len(files):05d}")
        with tf.io.TFRecordWriter(str(paths[-1]), compression) as writer:
            for record in records:
                writer.write(record)
    split = SimpleNamespace(
        filepaths=paths, shard_lengths=lengths or [len(records) for records in files]
    )
    info = SimpleNamespace(
        full_name="d/1.0.0",
        splits={"train": split},
        file_format=SimpleNamespace(value=file_format),
    )
    return SimpleNamespace(info=info, data_dir=folder), paths


def test_images_and_labels_are_in_the_order_of_the_records(builder, originals):
    images, labels = read_records(builder, "train")
    # The same files one after the other, by another reader.
    files = [str(path) for path in builder.info.splits["train"].filepaths]
    assert len(files) == 3
    records = [
        tf.train.Example.FromString(record.numpy()).features.feature
        for record in tf.data.TFRecordDataset(files)
    ]
    assert len(images) == len(records) == NUM_IMAGES
    numbers = [record["number"].int64_list.value[0] for record in records]
    assert sorted(numbers) == list(range(NUM_IMAGES)) != numbers
    for position, record in enumerate(records):
        encoded = images.read(position)
        assert encoded == record["image"].bytes_list.value[0]
        pixels = tf.io.decode_png(encoded).numpy()
        np.testing.assert_array_equal(pixels, originals[0][numbers[position]])
    assert labels.dtype == np.int64
    assert labels.tolist() == originals[1][numbers].tolist()


def test_names_and_subsets(builder):
    images, _ = read_records(builder, "train", resize=40, image_size=32)
    assert images.shape == (NUM_IMAGES, 32, 32, 3)
    first_length = builder.info.splits["train"].shard_lengths[0]
    places = np.array([first_length + 2, 1])
    files = builder.info.splits["train"].filepaths
    mask = np.isin(np.arange(NUM_IMAGES), places)
    for part, order in ((images[places], [0, 1]), (images[mask], [1, 0])):
        assert isinstance(part, TFRecordImages)
        assert part.shape == (2, 32, 32, 3)
        assert (part.resize, part.image_size) == (40, 32)
        names = [part.name(i) for i in order]
        assert names == [f"{files[1]} record 2", f"{files[0]} record 1"]
        assert [part.read(i) for i in order] == [images.read(p) for p in places]


@pytest.mark.skipif(
    "SOP_KERAS_DATA" not in os.environ,
    reason="SOP_KERAS_DATA does not name a folder with tfds/cifar10",
)
def test_the_real_cifar10():
    data_dir = Path(os.environ["SOP_KERAS_DATA"]) / "tfds"
    builder = tfds.builder("cifar10", data_dir=data_dir)
    images, labels = read_records(builder, "test")
    assert np.bincount(labels).tolist() == [1000] * 10
    # Which image a record is, in TFDS' own words; labels of the published order.
    ids = builder.as_dataset(
        split="test", decoders=tfds.decode.PartialDecoding({"id": True}), batch_size=-1
    )["id"].numpy()
    places = {int(tfds_id[5:]): place for place, tfds_id in enumerate(ids)}
    assert [labels[places[i]] for i in range(5)] == [3, 8, 8, 0, 6]
    tiny, first = data_trees.tiny_cifar10()[0][200], 0
    with np.load(data_trees.TINY_CIFAR10) as file:
        first = int(file["index_test"][0])
    pixels = tf.io.decode_png(images.read(places[first])).numpy()
    np.testing.assert_array_equal(pixels, tiny)


def test_names_of_features_long_records_and_files_without_any(tmp_path):
    # 100,000 and 300 bytes: lengths of 3 and of 2 bytes in a protocol buffer.
    big, small = bytes(range(250)) * 400, b"s" * 300
    first = example(photo=big, kind=[7], image=b"no", label=[1])
    second = example(kind=[-1], photo=small)
    builder, _ = write_split(tmp_path, [[first], [], [second]])
    images, labels = read_records(
        builder, "train", image_feature="photo", label_feature="kind"
    )
    assert [images.read(0), images.read(1)] == [big, small]
    assert labels.tolist() == [7, -1]
    assert images.name(1).endswith("00002-of-00003 record 0")


def test_no_such_split(builder):
    with pytest.raises(
        ValueError, match=r"tiny/1\.0\.0 has no split 'test'.*: train\."
    ):
        read_records(builder, "test")


def test_another_file_format(tmp_path):
    builder, _ = write_split(tmp_path, [[]], file_format="array_record")
    text = "prepared as array_record files. Prepare it as TFRecord files"
    with pytest.raises(ValueError, match=text):
        read_records(builder, "train")


@pytest.mark.parametrize("compression", ["GZIP", "ZLIB"])
def test_compressed_files(compression, tmp_path):
    records = [example(image=b"image", label=[0])] * 3
    builder, _ = write_split(tmp_path, [records], compression=compression)
    with pytest.raises(ValueError, match=r"00000-of-00001 is compressed.*without"):
        read_records(builder, "train")


def test_missing_files(tmp_path):
    builder, paths = write_split(tmp_path, [[example(image=b"", label=[0])]] * 3)
    paths[1].unlink()
    text = f"1 of the 3 files of d/1.0.0, split 'train', are missing.*{paths[1]}"
    with pytest.raises(FileNotFoundError, match=text):
        read_records(builder, "train")


# A record of n bytes takes 16 more: 12 before, 4 after. Cut inside the length, inside
# its checksum, the data, the last checksum.
@pytest.mark.parametrize("left", [3, 10, 20, -1])
def test_a_file_that_is_cut_short(left, tmp_path):
    record = example(image=b"some image", label=[0])
    builder, paths = write_split(tmp_path, [[record, record]])
    data = paths[0].read_bytes()
    paths[0].write_bytes(data[: left + (len(data) // 2 if left > 0 else len(data))])
    with pytest.raises(ValueError, match=f"{paths[0]} is cut short, or no TFRecord"):
        read_records(builder, "train")


@pytest.mark.parametrize(("listed", "there"), [(3, 2), (1, 4), (1, 0)])
def test_another_number_of_records(listed, there, tmp_path):
    records = [example(image=b"i", label=[0])] * there
    builder, paths = write_split(tmp_path, [records], lengths=[listed])
    text = f"{paths[0]} has {there} records; .*dataset_info.json says {listed}"
    with pytest.raises(ValueError, match=text):
        read_records(builder, "train")


def test_a_record_without_the_feature(tmp_path):
    records = [example(image=b"i", label=[0]), example(image=b"i", kind=[0])]
    builder, _ = write_split(tmp_path, [records])
    text = r"record 1 has no feature 'label'\. It has: (image, kind|kind, image)\."
    with pytest.raises(ValueError, match=text):
        read_records(builder, "train")


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (example(image=b"i", label=[1, 2]), "the label has 2 integers"),
        (example(image=b"i", label=b"cat"), "the label has 0 integers"),
        (b"\x0a\x7fshort", "no protocol buffer"),
        (b"\x08\x01", "no protocol buffer"),
    ],
    # Protocol buffers order maps as they like: their bytes are no names.
    ids=["two labels", "a label of bytes", "cut off", "another message"],
)
def test_a_record_of_another_kind(record, text, tmp_path):
    builder, _ = write_split(tmp_path, [[record]])
    with pytest.raises(ValueError, match=f"record 0 is no tf.train.Example.*{text}"):
        read_records(builder, "train")


def test_a_file_that_changes_while_training(tmp_path):
    builder, paths = write_split(tmp_path, [[example(image=b"i" * 90, label=[0])]])
    images, _ = read_records(builder, "train")
    paths[0].write_bytes(paths[0].read_bytes()[:60])
    with pytest.raises(OSError, match="record 0 holds no image any more"):
        images.read(0)
    paths[0].unlink()
    with pytest.raises(FileNotFoundError):
        images.read(0)
