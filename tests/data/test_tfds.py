import os
import re
import sys
from pathlib import Path

import data_trees
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from prepared_tfds import prepare

from sop_keras.data.datasets import tfds as tfds_loader
from sop_keras.data.datasets.tfds import load_tfds
from sop_keras.data.datasets.tfrecords import TFRecordImages
from sop_keras.data.images.encoded_images import IMAGENET_MEAN, IMAGENET_STD

CLASS_NAMES = ["bird", "cat", "frog"]


def examples_of(places, images, **more):
    """Every example has its place in the real images as its label, modulo 3."""
    return [{"image": images[p], "label": p % 3, **more} for p in places]


def features(shape=(32, 32, 3), **image_options):
    return {
        "image": tfds.features.Image(shape=shape, **image_options),
        "label": tfds.features.ClassLabel(names=CLASS_NAMES),
    }


@pytest.fixture(scope="module")
def originals():
    return data_trees.tiny_cifar10()[0][:100]


@pytest.fixture(scope="module")
def data_dir(originals, tmp_path_factory):
    """Prepared data sets: `small`, 60 + 15 + 25 images of one shape in three files."""
    data_dir = tmp_path_factory.mktemp("tfds")
    splits = {"train": range(60), "validation": range(60, 75), "test": range(75, 100)}
    prepare(
        data_dir,
        "small",
        {"extra": tfds.features.Text(), **features()},
        {s: examples_of(p, originals, extra="x") for s, p in splits.items()},
        num_shards=3,
    )
    return data_dir


def places_of(images, originals):
    """Which of the real images each of these is."""
    place_of = {image.tobytes(): place for place, image in enumerate(originals)}
    return [place_of[image.tobytes()] for image in images]


def labels_in_files(folder, split):
    """The labels, file by file, record by record, by TensorFlow's own reader."""
    files = sorted(str(path) for path in folder.glob(f"*-{split}.tfrecord-*"))
    return [
        tf.train.Example.FromString(r.numpy())
        .features.feature["label"]
        .int64_list.value[0]
        for r in tf.data.TFRecordDataset(files)
    ]


def test_small_images_are_held_in_memory(data_dir, originals):
    dataset = load_tfds("small", data_dir)
    assert (dataset.name, dataset.num_examples) == ("tfds:small", 60)
    assert dataset.class_names == ("bird", "cat", "frog")
    splits = {
        "train": (dataset.train, range(60)),
        "validation": (dataset.validation, range(60, 75)),
        "test": (dataset.test, range(75, 100)),
    }
    for split, (part, expected) in splits.items():
        assert part.images.dtype == np.uint8
        places = places_of(part.images, originals)
        assert sorted(places) == list(expected) != places
        assert part.labels.tolist() == [place % 3 for place in places]
        assert part.labels.tolist() == labels_in_files(data_dir / "small/1.0.0", split)
        assert part.ids.tolist() == list(range(len(expected)))
        assert part.clean_labels is None
    pixels = originals[:60].astype(np.float64) / 255
    np.testing.assert_allclose(dataset.mean, pixels.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(dataset.std, pixels.std(axis=(0, 1, 2)), rtol=1e-12)


def test_images_that_do_not_fit_stay_in_their_files(data_dir, originals, monkeypatch):
    # 100 images of 3,072 bytes take 307,200.
    monkeypatch.setattr(tfds_loader, "MAX_BYTES_IN_MEMORY", 307_200)
    in_memory = load_tfds("small", data_dir)
    assert isinstance(in_memory.train.images, np.ndarray)
    monkeypatch.setattr(tfds_loader, "MAX_BYTES_IN_MEMORY", 307_199)
    in_files = load_tfds("small", data_dir, resize=40, image_size=36)
    assert (in_files.mean, in_files.std) == (IMAGENET_MEAN, IMAGENET_STD)
    for part, other in (
        (in_files.train, in_memory.train),
        (in_files.test, in_memory.test),
    ):
        assert isinstance(part.images, TFRecordImages)
        assert part.image_shape == (36, 36, 3)
        # Both ways, an id is the same example.
        np.testing.assert_array_equal(part.labels, other.labels)
        for i in part.ids:
            pixels = tf.io.decode_png(part.images.read(i)).numpy()
            np.testing.assert_array_equal(pixels, other.images[i])


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((None, None, 3), np.uint8),
        ((32, 32, 4), np.uint8),
        ((32, 32, 1), np.uint16),
    ],
)
def test_images_of_other_kinds_stay_in_their_files(shape, dtype, tmp_path):
    images = np.zeros((2, 32, 32, shape[-1]), dtype)
    prepare(
        tmp_path,
        "others",
        features(shape, dtype=dtype),
        {"train": examples_of([0, 1], images), "test": examples_of([1], images)},
    )
    dataset = load_tfds("others", tmp_path)
    assert isinstance(dataset.train.images, TFRecordImages)
    assert dataset.train.images.shape == (2, 224, 224, 3)
    assert dataset.mean == IMAGENET_MEAN


@pytest.mark.parametrize(
    ("splits", "test", "validation"),
    [
        (("train",), None, None),
        (("train", "test"), "test", None),
        (("train", "validation"), "validation", None),
        (("train", "validation", "test"), "test", "validation"),
        # Labels that were kept secret.
        (("train", "validation", "test without labels"), "validation", None),
    ],
)
def test_which_split_is_what(splits, test, validation, tmp_path, caplog):
    colours = {"train": 1, "validation": 2, "test": 3}
    written = {}
    for split in splits:
        name, *without_labels = split.split(maxsplit=1)
        image = np.full((4, 4, 1), colours[name], np.uint8)
        label = -1 if without_labels else 0
        written[name] = [{"image": image, "label": label}] * 2
    prepare(tmp_path, "parts", features((4, 4, 1)), written)
    dataset = load_tfds("parts", tmp_path)
    shown = [
        None
        if part is None
        else {1: "train", 2: "validation", 3: "test"}[image_of(part)]
        for part in (dataset.train, dataset.test, dataset.validation)
    ]
    assert shown == ["train", test, validation]
    assert ("left out test" in caplog.text) == ("test without labels" in splits)


def image_of(part):
    """The grey level that all images of the part have."""
    return int(np.unique(part.images).item())


def test_supervised_keys_come_first(originals, tmp_path):
    examples = [
        {
            "image": originals[i],
            "label": 0,
            "photo": originals[50 + i],
            "kind": i % 2,
        }
        for i in range(6)
    ]
    named = {
        **features(),
        "photo": tfds.features.Image(shape=(32, 32, 3)),
        "kind": tfds.features.ClassLabel(num_classes=2),
    }
    prepare(
        tmp_path, "keyed", named, {"train": examples}, supervised_keys=("photo", "kind")
    )
    dataset = load_tfds("keyed", tmp_path)
    places = places_of(dataset.train.images, originals)
    assert sorted(places) == list(range(50, 56))
    assert dataset.train.labels.tolist() == [place % 2 for place in places]
    assert dataset.class_names == ("0", "1")


def test_supervised_keys_of_another_task(originals, tmp_path):
    # From the image to itself, as in compression: "image" and "label" are there, too.
    prepare(
        tmp_path,
        "other_task",
        features(),
        {"train": examples_of(range(4), originals)},
        supervised_keys=("image", "image"),
    )
    dataset = load_tfds("other_task", tmp_path)
    assert sorted(dataset.train.labels.tolist()) == [0, 0, 1, 2]


def test_a_configuration_and_a_version(originals, tmp_path):
    examples = {"train": examples_of(range(4), originals)}
    prepare(tmp_path, "sized", features(), examples, config="little")
    dataset = load_tfds("sized/little:1.0.0", tmp_path)
    assert (dataset.name, len(dataset.train)) == ("tfds:sized/little:1.0.0", 4)


def test_features_that_do_not_fit(originals, tmp_path):
    named = {"image": tfds.features.Image(), "text": tfds.features.Text()}
    examples = [{"image": originals[0], "text": "a bird"}]
    prepare(tmp_path, "captions", named, {"train": examples})
    text = (
        r"captions/1\.0\.0 must have an Image and a ClassLabel.*"
        r"features image \(Image\), text \(Text\)\. .*manifest"
    )
    with pytest.raises(ValueError, match=text):
        load_tfds("captions", tmp_path)


def test_float_images(tmp_path):
    named = features((4, 4, 1), dtype=np.float32)
    examples = [{"image": np.zeros((4, 4, 1), np.float32), "label": 0}]
    prepare(tmp_path, "floats", named, {"train": examples})
    with pytest.raises(ValueError, match=r"floats/1\.0\.0 are float32.*8 or 16 bits"):
        load_tfds("floats", tmp_path)


def test_without_a_training_split(originals, tmp_path):
    prepare(tmp_path, "tests", features(), {"test": examples_of([0], originals)})
    with pytest.raises(ValueError, match=r"tests has no split 'train'.*has: test\."):
        load_tfds("tests", tmp_path)


def test_labels_without_a_class(originals, tmp_path):
    examples = [*examples_of(range(3), originals), {"image": originals[3], "label": -1}]
    prepare(tmp_path, "some_secret", features(), {"train": examples})
    text = "some_secret, split 'train' must be from 0 to 2.* 1 others, the first -1"
    with pytest.raises(ValueError, match=text):
        load_tfds("some_secret", tmp_path)


def test_a_bad_image_among_those_in_memory(originals, tmp_path):
    folder = prepare(
        tmp_path, "broken", features(), {"train": examples_of(range(3), originals)}
    )
    (file,) = folder.glob("*.tfrecord-*")
    records = [r.numpy() for r in tf.data.TFRecordDataset(str(file))]
    with tf.io.TFRecordWriter(str(file)) as writer:
        for record in records:
            writer.write(record.replace(b"IDAT", b"XXXX"))
    text = "An image of broken/1.0.0, split 'train', cannot be decoded"
    with pytest.raises(ValueError, match=text):
        load_tfds("broken", tmp_path)


@pytest.mark.parametrize("below", ["small", "small/1.0.0"])
def test_the_folder_of_the_data_set_itself(below, data_dir):
    text = f"No prepared small below .*/{below}, which is the data set's own folder"
    with pytest.raises(FileNotFoundError, match=f"{text}.*data_dir='{data_dir}'"):
        load_tfds("small", data_dir / below)


def test_not_prepared(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        load_tfds("mnist:3.0.1", tmp_path)
    text = str(error.value)
    assert f"No prepared mnist:3.0.1 in {tmp_path}/mnist/3.0.1" in text
    assert text.endswith(
        '\npython -c "import tensorflow_datasets as tfds; '
        f"tfds.load('mnist:3.0.1', data_dir='{tmp_path}')\""
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cifer10", "no data set 'cifer10'.*Did you mean cifar10 or cifar100"),
        ("zzzzzz", "no data set 'zzzzzz', and there is none in .*/nothing. Give"),
        ("mnist:9.9.9", "cannot give 'mnist:9.9.9': .*version 9.9.9, only: 3.0.1"),
        ("mnist/huge", "cannot give 'mnist/huge'"),
    ],
)
def test_a_name_that_tfds_does_not_know(name, text, tmp_path):
    with pytest.raises(ValueError, match=text) as error:
        load_tfds(name, tmp_path / "nothing")
    # TFDS' own error lists all its data sets.
    assert len(str(error.value)) < 500


def test_without_tensorflow_datasets(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match="pip install tensorflow-datasets"):
        load_tfds("mnist")


@pytest.mark.slow
@pytest.mark.skipif(
    "SOP_KERAS_DATA" not in os.environ,
    reason="SOP_KERAS_DATA does not name a folder with tfds/cifar10",
)
def test_the_real_cifar10():
    dataset = load_tfds("cifar10", Path(os.environ["SOP_KERAS_DATA"]) / "tfds")
    assert (len(dataset.train), len(dataset.test)) == (50_000, 10_000)
    assert dataset.validation is None
    assert re.fullmatch("airplane automobile .* truck", " ".join(dataset.class_names))
    for part, a_class in ((dataset.train, 5_000), (dataset.test, 1_000)):
        assert np.bincount(part.labels).tolist() == [a_class] * 10
    # The known constants of the data set.
    np.testing.assert_allclose(dataset.mean, [0.49140, 0.48216, 0.44653], atol=5e-6)
    np.testing.assert_allclose(dataset.std, [0.24703, 0.24349, 0.26159], atol=5e-6)
