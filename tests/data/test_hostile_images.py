"""Image folders of strangers: what hangs, has no end or is too large is left out."""

import logging
import os
import pickle

import keras
import numpy as np
import pandas as pd
import pytest
from encoded_images import encoded, random_pixels

from sop_keras.data.batches.crop_loader import CropLoader
from sop_keras.data.batches.pipelines import evaluation_batches
from sop_keras.data.datasets.by_name import DataFiles, load_dataset
from sop_keras.data.datasets.dataset import Dataset, Examples
from sop_keras.data.images import encoded_images
from sop_keras.data.images.bad_images import BadImages
from sop_keras.data.images.decoding import decode_crops
from sop_keras.data.images.encoded_images import ImageFiles
from sop_keras.files.untrusted import FileTooLargeError
from sop_keras.label_issues.find import COLUMNS
from sop_keras.report.gallery import gallery_rows
from sop_keras.report.run_labels import RunLabels
from sop_keras.training.evaluation import evaluate_split


@pytest.fixture
def folder(tmp_path):
    """Six PNGs, their names beginning with good."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(6):
        data = encoded(random_pixels(20, 30, seed=number), "PNG")
        (folder / f"good{number}.png").write_bytes(data)
    return folder


def examples_of(folder):
    names = np.array(sorted(os.fsencode(path.name) for path in folder.iterdir()))
    images = ImageFiles(folder, names, resize=16, image_size=16)
    return Examples(np.arange(len(names)), images, np.zeros(len(names), np.int64))


def left_out(folder):
    """The reasons by the names of those that are left out; the others are read."""
    examples = examples_of(folder)
    listed = folder.parent / "bad_images.csv"
    dataset = Dataset("own", ("a",), 99, examples, None, (0.5,) * 3, (0.2,) * 3)
    bad = BadImages(listed, 0.9)
    batches = evaluation_batches(examples, dataset, batch_size=4, bad_images=bad)
    num_read = sum(len(images) for images, _ in batches.as_numpy_iterator())
    rows = [line.split(",", 3) for line in listed.read_text("utf-8").splitlines()[1:]]
    assert num_read == len(examples) - len(rows)
    return {os.path.basename(row[2]): row[3].strip('"') for row in rows}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_and_devices_are_left_out(folder):
    os.mkfifo(folder / "pipe.jpg")
    (folder / "endless.png").symlink_to("/dev/zero")
    (folder / "link.png").symlink_to("good0.png")
    assert left_out(folder) == {
        "pipe.jpg": "a pipe, where a regular file must be",
        "endless.png": "a device, where a regular file must be",
    }


def test_a_sparse_file_of_40_gb_is_left_out(folder):
    with (folder / "sparse.jpg").open("wb") as file:
        try:
            file.truncate(40 * 10**9)
        except OSError:
            pytest.skip("this file system has no sparse files so large")
    assert left_out(folder) == {
        "sparse.jpg": "40,000,000,000 bytes, where at most 268,435,456 are read. Raise "
        "that limit with --max_image_bytes (max_image_bytes of DataFiles)"
    }


def test_the_limit_is_an_option_of_every_data_set(folder):
    (folder / "train" / "a").mkdir(parents=True)
    (folder / "train" / "b").mkdir()
    for number in range(6):
        target = folder / "train" / "ab"[number % 2] / f"{number}.png"
        (folder / f"good{number}.png").rename(target)
    size = (folder / "train" / "a" / "0.png").stat().st_size
    files = DataFiles(data_dir=str(folder), max_image_bytes=size - 1)
    images = load_dataset("image_folder", **files.options()).train.images
    # Parts of the images keep it.
    for some in (images, images[np.array([0, 2])], images[:2]):
        with pytest.raises(FileTooLargeError, match=f"at most {size - 1:,} are read"):
            some.read(0)
    files = DataFiles(data_dir=str(folder), max_image_bytes=size)
    assert load_dataset("image_folder", **files.options()).train.images.read(0)
    assert load_dataset("image_folder", folder).train.images.max_bytes == 2**28
    with pytest.raises(ValueError, match="max_image_bytes"):
        DataFiles(max_image_bytes=0)
    load_dataset("digits", max_image_bytes=5)  # which has no use for it


def test_a_shortage_of_memory_is_no_bad_image(folder, monkeypatch):
    def short(data, *args):
        if data == (folder / "good3.png").read_bytes():
            raise MemoryError
        return decode_crops(data, *args)

    monkeypatch.setattr("sop_keras.data.batches.crop_loader.decode_crops", short)
    bad = BadImages(folder / "bad_images.csv", 1.0)
    loader = CropLoader(
        *(examples_of(folder), "train", bad, [None]),
        lambda step: (0, np.arange(6)),
        never_empty=False,
        ahead=0,
    )
    with pytest.raises(MemoryError, match=r"not enough memory for .*good3\.png\. Free"):
        loader.load(0, 1)
    assert isinstance(bad.error, MemoryError)  # TensorFlow wraps what was raised
    assert bad.counts() == {}
    assert not (folder / "bad_images.csv").exists()


def test_a_shortage_of_memory_is_raised_through_tensorflow(folder, monkeypatch):
    def short(*args):
        raise MemoryError("Unable to allocate 5 bytes")

    monkeypatch.setattr("sop_keras.data.batches.crop_loader.decode_crops", short)
    examples = examples_of(folder)
    dataset = Dataset("own", ("a", "b"), 6, examples, examples, (0.5,) * 3, (0.2,) * 3)
    layers = [keras.Input((16, 16, 3)), keras.layers.Flatten(), keras.layers.Dense(2)]
    bad = BadImages(max_fraction=1.0)
    with pytest.raises(MemoryError, match=r"good\d\.png: Unable to allocate 5 bytes\."):
        evaluate_split(keras.Sequential(layers), dataset, "test", bad)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_report_says_which_image_became_a_pipe(folder):
    (folder / "good2.png").unlink()
    os.mkfifo(folder / "good2.png")
    issues = dict.fromkeys(COLUMNS, np.zeros(2)) | {"id": [1, 2]}
    labels = RunLabels(pd.DataFrame(issues), np.array([1, 2]), None, 2)
    good, pipe = gallery_rows(labels, examples_of(folder), 2)
    assert "image" in good
    assert pipe["problem"] == "a pipe, where a regular file must be"


# Images that are changed


def warnings_of(caplog):
    return [one.getMessage() for one in caplog.records if "changed" in one.message]


@pytest.mark.parametrize("what", ["size", "time"])
def test_an_image_that_is_replaced_is_told_of_once(folder, caplog, what):
    images = examples_of(folder).images
    part = images[np.array([1, 4])]
    with caplog.at_level(logging.WARNING):
        for position in (*range(6), *range(6)):
            images.read(position)
        part.read(0)
        assert warnings_of(caplog) == []
        path = folder / "good2.png"
        status = path.stat()
        if what == "size":
            path.write_bytes((folder / "good1.png").read_bytes() + b"more")
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        else:
            path.write_bytes(path.read_bytes())
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1000))
        images.read(2)
        images.read(2)
        (told,) = warnings_of(caplog)
        assert "good2.png was changed since it was first read" in told
        # Of these images it is said once, of parts of them as well.
        os.utime(folder / "good4.png", ns=(0, 0))
        part.read(1)
        images.read(4)
        assert warnings_of(caplog) == [told]


def test_what_is_remembered_of_an_image_takes_8_bytes(folder):
    images = examples_of(folder).images
    assert images._stamps.nbytes == 8 * 6
    copy = pickle.loads(pickle.dumps(images))
    assert copy.read(3) == images.read(3)


def test_stamps_are_never_those_of_a_file_that_was_not_read():
    class Status:
        st_mtime_ns = st_size = 0

    assert encoded_images._stamp(Status) > 0
    Status.st_mtime_ns = -1  # before 1970
    assert 0 < encoded_images._stamp(Status) < 2**64
