"""A data set that is stored once at its training size, and read like the original."""

import csv
import io
import json
import os
from dataclasses import replace

import data_trees
import numpy as np
import pytest
from encoded_images import encoded, exif
from PIL import Image

from sop_keras.data.batches.pipelines import evaluation_batches, training_batches
from sop_keras.data.datasets import prepare as prepare_module
from sop_keras.data.datasets.by_name import load_dataset
from sop_keras.data.datasets.digits import load_digits
from sop_keras.data.datasets.prepare import prepare_dataset
from sop_keras.data.images import decoding
from sop_keras.data.images.bad_images import TooManyBadImagesError
from sop_keras.files.atomic import partial_name
from sop_keras.training.experiment_data import ExperimentData

SIZES = {"resize": 36, "image_size": 32}
BILINEAR = Image.Resampling.BILINEAR
NAMES = [f"{number:02d}.jpg" for number in range(20)]


@pytest.fixture
def tree(tmp_path):
    """20 images of many kinds, listed under ids and true labels of their own."""
    images, labels = data_trees.tiny_cifar10()
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = ["path,label,clean_label,id"]
    for number, name in enumerate(NAMES):
        size = rng.integers(40, 300, 2).tolist()
        image = Image.fromarray(images[number]).resize(size)
        # Formats go by content, not by name.
        if number % 4 == 1:
            data = encoded(image, "PNG")
        elif number % 4 == 2:
            data = encoded(image.convert("L"), "JPEG", exif=exif(6))
        elif number % 4 == 3:
            data = encoded(image.convert("CMYK"), "JPEG")
        else:
            data = encoded(image, "JPEG", quality=95)
        (folder / name).write_bytes(data)
        rows.append(f"{name},{number % 3},{labels[number] % 3},{100 - 2 * number}")
    (folder / "train.csv").write_text("\n".join(rows))
    (folder / "test.csv").write_text("\n".join([rows[0], *rows[15:]]))
    return folder


def load(tree, **sizes):
    return load_dataset(
        "manifest",
        manifest=tree / "train.csv",
        test_manifest=tree / "test.csv",
        **{**SIZES, **sizes},
    )


def files_in(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def batches_of(dataset, **options):
    batches = training_batches(
        dataset.train, dataset, batch_size=8, epochs=2, seed=3, **options
    )
    evaluated = evaluation_batches(dataset.test, dataset)
    return [*batches.as_numpy_iterator()], [*evaluated.as_numpy_iterator()]


def assert_equal(one, other):
    if isinstance(one, (tuple, list)):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_equal(a, b)
    elif isinstance(one, dict):
        assert_equal([*one.items()], [*other.items()])
    else:
        np.testing.assert_array_equal(one, other)


def test_it_is_what_it_was_made_of(tree, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare_module, "_IMAGES_A_FILE", 7)
    original = load(tree)
    stored = prepare_dataset(original, tmp_path / "p")
    assert (stored.counts, stored.num_bad_images) == ({"train": 20, "test": 6}, {})
    names = {f"train-0000{i}-of-00003.tfrecord" for i in range(3)}
    names |= {"test-00000-of-00001.tfrecord", "prepared.json"}
    assert files_in(tmp_path / "p").keys() == names
    size = sum(path.stat().st_size for path in (tmp_path / "p").glob("*.tfrecord"))
    assert stored.num_bytes == size

    dataset = load_dataset("prepared", tmp_path / "p")
    assert dataset.train.image_shape == (32, 32, 3)
    assert (dataset.class_names, dataset.num_examples) == (("0", "1", "2"), 101)
    assert dataset.train.ids.tolist() == [100 - 2 * i for i in range(20)]
    assert dataset.train.labels.tolist() == [i % 3 for i in range(20)]
    _, labels = data_trees.tiny_cifar10()
    assert dataset.train.clean_labels.tolist() == (labels[:20] % 3).tolist()
    assert dataset.test.labels.tolist() == (labels[14:20] % 3).tolist()
    assert [dataset.train.images.name(i) for i in range(20)] == NAMES
    assert (dataset.mean, dataset.std) == (original.mean, original.std)
    assert dataset.validation is None
    assert dataset.more_tests == {}

    # A PNG, which no decoder reads in another way: Pillow's resize, as it is stored.
    with Image.open(tree / "01.jpg") as image:
        width, height = image.size
        side = 36 / min(width, height)
        size = (int(width * side + 1e-9), int(height * side + 1e-9))
        whole = np.asarray(image.resize(size, BILINEAR))
    with Image.open(io.BytesIO(dataset.train.images.read(1))) as image:
        assert image.format == "BMP"
        np.testing.assert_array_equal(np.asarray(image), whole)
    # And all that is trained and evaluated on, both views of pairs included.
    for options in ({"augment": "flip"}, {"augment": "flip", "strong_augment": "none"}):
        assert_equal(batches_of(original, **options), batches_of(dataset, **options))
    # Parts of it are the same, and sizes of crops are free.
    part = dataset.train.take(np.array([3, 1]))
    assert part.images.name(1) == NAMES[1]
    assert part.images.read(1) == dataset.train.images.read(1)
    same = load_dataset("prepared", tmp_path / "p", image_size=20, num_classes=3)
    assert_equal(batches_of(same), batches_of(load(tree, image_size=20)))


def test_as_jpegs_of_a_quality(tree, tmp_path):
    stored = prepare_dataset(
        load(tree), tmp_path / "p", image_format="jpeg", jpeg_quality=80
    )
    assert stored.num_bytes < 26 * 6000
    dataset = load_dataset("prepared", tmp_path / "p")
    with Image.open(tree / "01.jpg") as image:
        side = 36 / min(image.size)
        size = tuple(int(length * side + 1e-9) for length in image.size)
        expected = encoded(
            image.resize(size, BILINEAR), "JPEG", quality=80, subsampling=0
        )
    assert dataset.train.images.read(1) == expected


def test_interrupted_it_goes_on_after_the_last_whole_file(tree, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare_module, "_IMAGES_A_FILE", 6)
    whole, folder = tmp_path / "whole", tmp_path / "p"
    prepare_dataset(load(tree), whole)

    class Killed(BaseException):
        pass

    decoded, real = [], prepare_module.decode_resized

    def until_killed(data, *rest):
        decoded.append(data)
        if len(decoded) == 15:
            raise Killed
        return real(data, *rest)

    monkeypatch.setattr(prepare_module, "decode_resized", until_killed)
    with pytest.raises(Killed):
        prepare_dataset(load(tree), folder)
    done = [f"train-0000{i}-of-00004.tfrecord" for i in range(2)]
    assert files_in(folder).keys() == {*done, "prepared.json"}
    with pytest.raises(ValueError, match=r"p are not all prepared yet\. Run the"):
        load_dataset("prepared", folder)
    # What a process leaves that had no time for anything.
    (folder / partial_name("train-00002-of-00004.tfrecord")).write_bytes(b"half")
    inodes = [(folder / name).stat().st_ino for name in done]

    decoded.clear()
    monkeypatch.setattr(
        prepare_module, "decode_resized", lambda *a: decoded.append(0) or real(*a)
    )
    assert prepare_dataset(load(tree), folder).counts == {"train": 20, "test": 6}
    assert len(decoded) == 8 + 6  # those of the two files are not decoded again
    assert inodes == [(folder / name).stat().st_ino for name in done]
    assert files_in(folder) == files_in(whole)
    # Complete, nothing is left to do but for what is missing.
    decoded.clear()
    (folder / "test-00000-of-00001.tfrecord").unlink()
    with pytest.raises(FileNotFoundError, match="1 of the 1 files of the test examp"):
        load_dataset("prepared", folder)
    prepare_dataset(load(tree), folder)
    assert len(decoded) == 6
    assert files_in(folder) == files_in(whole)


def damage(tree):
    """Cut one off, empty one, replace one by a text, and take one away."""
    (tree / NAMES[2]).write_bytes((tree / NAMES[2]).read_bytes()[:-300])
    (tree / NAMES[3]).write_bytes(b"")
    (tree / NAMES[8]).write_bytes(b"<html>404</html>")
    (tree / NAMES[9]).unlink()


def test_what_cannot_be_read_is_left_out_and_listed_once(tree, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare_module, "_IMAGES_A_FILE", 6)
    damage(tree)
    folder = tmp_path / "p"
    with pytest.raises(TooManyBadImagesError, match="4 of the 20 images of the train"):
        prepare_dataset(load(tree), folder, max_bad_fraction=0.15)
    for _ in range(2):
        stored = prepare_dataset(load(tree), folder, max_bad_fraction=0.2)
        assert stored.counts == {"train": 16, "test": 6}
        assert stored.num_bad_images == {"train": 4}
    with (folder / "bad_images.csv").open(newline="", encoding="utf-8") as file:
        rows = {
            row["id"]: (row["split"], row["reason"]) for row in csv.DictReader(file)
        }
        file.seek(0)
        assert len(file.readlines()) == 5
    assert rows.keys() == {"96", "94", "84", "82"}  # 100 less twice 2, 3, 8 and 9
    assert rows["96"][1].startswith("truncated")
    assert rows["94"] == ("train", "empty file")
    assert rows["84"][1].startswith("not an image")
    assert rows["82"][1] == "No such file or directory"
    # Files that are there are counted, too: the limit is that of all.
    with pytest.raises(TooManyBadImagesError):
        prepare_dataset(load(tree), folder, max_bad_fraction=0.1)

    train = load_dataset("prepared", folder).train
    left = [i for i in range(20) if i not in (2, 3, 8, 9)]
    assert train.ids.tolist() == [100 - 2 * i for i in left]
    assert [train.images.name(i) for i in range(16)] == [NAMES[i] for i in left]


def test_what_a_jpeg_cannot_hold_is_left_out_by_name(tree, tmp_path):
    # 1 x 2000 pixels are 36 x 72,000 at this size, and libjpeg has 65,500.
    Image.new("RGB", (1, 2000)).save(tree / NAMES[4], "PNG")
    folder, options = tmp_path / "p", {"image_format": "jpeg", "max_bad_fraction": 0.1}
    stored = prepare_dataset(load(tree), folder, **options)
    assert stored.num_bad_images == {"train": 1}
    text = (folder / "bad_images.csv").read_text("utf-8")
    assert "36x72000 pixels at this size; a JPEG has 65500 at most" in text


def test_short_memory_is_no_bad_image(tree, tmp_path, monkeypatch):
    def short(data, *rest):
        raise MemoryError("12 bytes")

    monkeypatch.setattr(prepare_module, "decode_resized", short)
    with pytest.raises(MemoryError, match=r"for .*00\.jpg: 12 bytes\. Free some"):
        prepare_dataset(load(tree), tmp_path / "p")
    assert not (tmp_path / "p" / "bad_images.csv").exists()


def test_other_pixels_are_other_data(tree, tmp_path):
    found = []
    for name, options in (("a", {}), ("b", {}), ("c", {"image_format": "jpeg"})):
        prepare_dataset(load(tree), tmp_path / name, **options)
        dataset = load_dataset("prepared", tmp_path / name)
        train = replace(dataset.train, images=dataset.train.images[np.arange(20)])
        data = ExperimentData(dataset, train, dataset.test, {})
        found.append(data.description())
    assert found[0] == found[1]
    assert found[0]["file_names"] != found[2]["file_names"]


def test_a_folder_of_something_else(tree, tmp_path):
    folder = tmp_path / "p"
    prepare_dataset(load(tree), folder)
    before = files_in(folder)
    for options, text in (
        ({"resize": 40}, r"settings: resize=36 there, resize=40 asked for\. Give ano"),
        ({"image_format": "jpeg"}, "image_format=bmp there, image_format=jpeg asked"),
    ):
        dataset = load(tree, resize=options.pop("resize", 36))
        with pytest.raises(ValueError, match=text):
            prepare_dataset(dataset, folder, **options)
    table = tree / "train.csv"
    table.write_text(table.read_text().replace("00.jpg,0,", "00.jpg,1,"))
    text = r"other train examples \(their ids, labels or sources\)\. Give another"
    with pytest.raises(ValueError, match=text):
        prepare_dataset(load(tree), folder)
    assert files_in(folder) == before
    with pytest.raises(ValueError, match="images has other files than prepared images"):
        prepare_dataset(load(tree), tree)
    # Crops are cut when it is trained on; the last size asked for is the usual one.
    table.write_text(table.read_text().replace("00.jpg,1,", "00.jpg,0,"))
    prepare_dataset(load(tree, image_size=20), folder)
    after = files_in(folder)
    assert after.pop("prepared.json") != before.pop("prepared.json")
    assert after == before
    assert load_dataset("prepared", folder).train.image_shape == (20, 20, 3)


def test_images_in_memory_need_no_preparation(tmp_path):
    with pytest.raises(ValueError, match="The images of digits are in memory"):
        prepare_dataset(load_digits(), tmp_path / "p")
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"image_format": "png"}, "image_format"),
        ({"jpeg_quality": 101}, "jpeg_quality"),
        ({"max_bad_fraction": 2}, "max_bad_fraction"),
    ],
)
def test_what_cannot_be_asked_for(tree, tmp_path, options, text):
    with pytest.raises(ValueError, match=text):
        prepare_dataset(load(tree), tmp_path / "p", **options)
    assert not (tmp_path / "p").exists()


def test_what_a_prepared_data_set_cannot_be_asked_for(tree, tmp_path):
    folder = tmp_path / "p"
    with pytest.raises(ValueError, match="The data set prepared needs data_dir"):
        load_dataset("prepared")
    with pytest.raises(FileNotFoundError, match=r"in .*images: it has no prepared\.js"):
        load_dataset("prepared", tree)
    prepare_dataset(load(tree), folder)
    for options, text in (
        ({"resize": 256}, r"p was prepared with resize=36\. Received: resize=256\. "),
        ({"num_classes": 50}, "prepared with num_classes=3. Received: num_classes=50"),
        ({"image_size": 37}, "image_size=37, resize=36"),
    ):
        with pytest.raises(ValueError, match=text):
            load_dataset("prepared", folder, **options)


def test_a_damaged_folder(tree, tmp_path):
    folder = tmp_path / "p"
    prepare_dataset(load(tree), folder)
    test, train = sorted(folder.glob("*.tfrecord"))
    content = train.read_bytes()
    for damaged, text in (
        (content[:-9], "cut short"),
        (test.read_bytes(), "has 6 records, where prepared.json says 20"),
    ):
        train.write_bytes(damaged)
        with pytest.raises(ValueError, match=text):
            load_dataset("prepared", folder)
    train.write_bytes(content)
    description = folder / "prepared.json"
    values = json.loads(description.read_text())
    for change, text in (
        ({"version": 2}, "does not describe prepared images of this version"),
        ({"splits": {"../train": [20]}}, "does not describe prepared images"),
        ({"num_examples": "9"}, "does not describe prepared images"),
        ({"std": [1.0, None, "1"]}, "does not describe prepared images"),
        ({"mean": 0.5}, "does not describe prepared images"),
        ({"more": 1}, "does not describe prepared images"),
        ({"class_names": ["a", "b"]}, "a label that is not from 0 to 1"),
        ({"num_examples": 100}, "an id that is not from 0 to 99"),
        ({"splits": {"test": [6]}}, "has no training examples"),
    ):
        description.write_text(json.dumps({**values, **change}))
        with pytest.raises(ValueError, match=text):
            load_dataset("prepared", folder)
    description.write_text("no JSON")
    with pytest.raises(ValueError, match="does not describe prepared images"):
        load_dataset("prepared", folder)


def test_a_full_disk_is_said(tree, tmp_path, monkeypatch):
    import tensorflow as tf

    def full(self, record):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tf.io.TFRecordWriter, "write", full)
        with pytest.raises(
            OSError, match=r"00001\.tfrecord could not be written: No s"
        ):
            prepare_dataset(load(tree), tmp_path / "p")
    assert os.listdir(tmp_path / "p") == ["prepared.json"]


def test_the_whole_resized_image_is_what_crops_are_cut_from():
    data = encoded(np.random.default_rng(0).integers(0, 256, (50, 81, 3), "u1"), "PNG")
    whole = np.asarray(decoding.decode_resized(data, 30))
    # 81 * 30 / 50 is 48.6.
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(image.resize((48, 30), BILINEAR))
    np.testing.assert_array_equal(whole, expected)
