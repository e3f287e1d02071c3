"""What files of prepared images have lost is written when they are prepared again."""

import struct

import numpy as np
import pytest
from encoded_images import encoded, random_pixels

from sop_keras.data.datasets import prepare as prepare_module
from sop_keras.data.datasets.by_name import load_dataset
from sop_keras.data.datasets.prepare import prepare_dataset

SECOND = "train-00001-of-00003.tfrecord"


@pytest.fixture
def original(tmp_path, monkeypatch):
    """Twelve images in two classes; a file has five of them."""
    monkeypatch.setattr(prepare_module, "_IMAGES_A_FILE", 5)
    for number in range(12):
        path = tmp_path / "images" / "ab"[number // 6] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(random_pixels(9, 8), "PNG"))
    return tmp_path / "images"


def prepared(original, folder):
    """How many images of the training set are stored."""
    dataset = load_dataset("image_folder", original, resize=8, image_size=8)
    return prepare_dataset(dataset, folder, max_bad_fraction=0.2).counts["train"]


def files_in(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def record_ends(content):
    """Where the records of a TFRecord file end, from its start on.

    A record is its length as 8 bytes, 4 bytes of checksum, its data, and 4 more.
    """
    ends = [0]
    while ends[-1] < len(content):
        (length,) = struct.unpack_from("<Q", content, ends[-1])
        ends.append(ends[-1] + 16 + length)
    return ends


@pytest.mark.parametrize(
    ("num_left", "more_bytes"), [(0, 0), (2, 0), (4, 0), (3, 9)], ids=str
)
def test_a_file_that_was_cut_is_written_anew(
    num_left, more_bytes, original, tmp_path, caplog
):
    folder = tmp_path / "p"
    assert prepared(original, folder) == 12
    whole = files_in(folder)
    ends = record_ends(whole[SECOND])
    assert len(ends) == 1 + 5
    (folder / SECOND).write_bytes(whole[SECOND][: ends[num_left] + more_bytes])
    inode = (folder / "train-00000-of-00003.tfrecord").stat().st_ino
    caplog.clear()
    assert prepared(original, folder) == 12
    assert files_in(folder) == whole
    assert (folder / "train-00000-of-00003.tfrecord").stat().st_ino == inode
    (text,) = [one.getMessage() for one in caplog.records if SECOND in one.getMessage()]
    assert "is written anew" in text
    assert more_bytes or f"{SECOND} has {num_left} of 5 images, fewer than" in text


def test_what_no_list_says_is_bad_is_read_again(original, tmp_path):
    (original / "b" / "07.png").write_bytes(b"")
    folder = tmp_path / "p"
    assert prepared(original, folder) == 11
    whole = files_in(folder)
    (folder / "bad_images.csv").unlink()
    assert prepared(original, folder) == 11
    assert files_in(folder) == whole  # with the reason, too
    assert b"train,7," in whole["bad_images.csv"]


def test_what_is_listed_and_was_mended_since_is_not_lost(original, tmp_path):
    bad = original / "b" / "09.png"  # the last of its file
    content = bad.read_bytes()
    bad.write_bytes(b"")
    folder = tmp_path / "p"
    assert prepared(original, folder) == 11
    bad.write_bytes(content)
    (folder / SECOND).unlink()
    assert prepared(original, folder) == 12
    whole = files_in(folder)
    (folder / SECOND).write_bytes(whole[SECOND][: record_ends(whole[SECOND])[4]])
    assert prepared(original, folder) == 12
    assert files_in(folder) == whole
    dataset = load_dataset("prepared", folder)
    np.testing.assert_array_equal(dataset.train.ids, np.arange(12))
