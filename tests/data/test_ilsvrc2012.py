import sys

import data_trees
import numpy as np
import pytest

from sop_keras.data.datasets.ilsvrc2012 import (
    find_validation_folder,
    load_ilsvrc2012_validation,
)

# The ten classes of the real images, in the ascending order of TFDS and ImageNet.
SYNSETS = data_trees.wnids(10)
# Eight of them, as a network may have been taught them: in another order, and with
# one that has no image at all.
TAUGHT = (*(SYNSETS[i] for i in (7, 2, 9, 4, 0, 3, 8, 5)), "n09999999")
SIZE = 60


def load(folder, wnids=TAUGHT, **options):
    options = {"resize": 40, "image_size": 32, "expect_full_size": False, **options}
    return load_ilsvrc2012_validation(folder, wnids, **options)


def check_mapping(examples):
    """What an image shows, by its pixels, is what the wnid of its label says."""
    images, labels = data_trees.tiny_cifar10()
    for i, label in enumerate(examples.labels):
        original = data_trees.original_of(examples.images.read(i), images)
        assert TAUGHT[label] == SYNSETS[labels[original]]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("folders")
    part = data_trees.write_imagenet_val(
        root / "imagenet" / "val", *data_trees.tiny_cifar10(), SIZE, synsets=SYNSETS
    )
    return root, part


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    root = tmp_path_factory.mktemp("prepared")
    part = data_trees.write_imagenet_tfds(
        root, *data_trees.tiny_cifar10(), SIZE, synsets=SYNSETS
    )
    return root, part


@pytest.mark.parametrize("place", [".", "imagenet", "imagenet/val"])
def test_a_folder_a_class(place, folders):
    root, part = folders
    examples = load(root / place)
    # By hand: the class of each file is its folder, its place the number in its name.
    wnids = [file.split(b"/")[-2].decode() for file in part.files]
    kept = [i for i, wnid in enumerate(wnids) if wnid in TAUGHT]
    assert 0 < len(kept) < SIZE
    assert [examples.images.name(i) for i in range(len(examples))] == [
        part.files[i].decode() for i in kept
    ]
    assert examples.labels.tolist() == [TAUGHT.index(wnids[i]) for i in kept]
    assert examples.ids.tolist() == list(range(len(kept)))
    assert examples.image_shape == (32, 32, 3)
    assert examples.images.resize == 40
    check_mapping(examples)


@pytest.mark.parametrize("place", [".", "imagenet2012/5.1.0"])
def test_prepared_by_tfds(place, prepared):
    root, part = prepared
    examples = load(root / place)
    check_mapping(examples)
    counts = np.bincount(part.labels, minlength=10)
    taught_counts = [counts[SYNSETS.index(wnid)] for wnid in TAUGHT[:-1]] + [0]
    assert np.bincount(examples.labels, minlength=9).tolist() == taught_counts
    # Ids are places in the records, those left out counted.
    assert examples.ids.tolist() == sorted(set(examples.ids))
    left_out = set(range(SIZE)) - set(examples.ids.tolist())
    assert len(left_out) == counts[1] + counts[6]
    whole = load(root, SYNSETS)
    assert whole.ids.tolist() == list(range(SIZE))
    assert whole.images.read(examples.ids[3]) == examples.images.read(3)
    assert examples.image_shape == (32, 32, 3)
    assert examples.images.resize == 40


def test_fifty_images_a_class(tmp_path):
    for number, wnid in enumerate(TAUGHT):
        folder = tmp_path / "val" / wnid
        folder.mkdir(parents=True)
        for i in range(50):
            # Both endings are in use; what else is in a folder does not count.
            ending = "JPEG" if i % 2 else "jpg"
            (folder / f"ILSVRC2012_val_{50 * number + i:08d}.{ending}").touch()
        (folder / "._ILSVRC2012_val_00000001.JPEG").touch()
        (folder / "Thumbs.db").touch()
    examples = load(tmp_path, expect_full_size=True)
    assert examples.labels.tolist() == np.repeat(np.arange(9), 50).tolist()

    (tmp_path / "val" / TAUGHT[3] / "ILSVRC2012_val_00000151.JPEG").unlink()
    (tmp_path / "val" / TAUGHT[8]).rename(tmp_path / "val" / "n00000001")
    with pytest.raises(ValueError, match="--noexpect_full_size") as error:
        load(tmp_path, expect_full_size=True)
    assert f"2 of 9: 49 of {TAUGHT[3]}, 0 of n09999999." in str(error.value)


def test_more_classes_with_another_number_than_are_shown(folders):
    root, _ = folders
    wnids = data_trees.wnids(30)
    text = r"another number of 30 of 30: .*\d of n\d{8} and 20 more\."
    with pytest.raises(ValueError, match=text):
        load(root, wnids, expect_full_size=True)


def test_a_folder_that_is_not_one(tmp_path):
    (tmp_path / "val" / "tench").mkdir(parents=True)
    (tmp_path / "imagenet").symlink_to(tmp_path / "imagenet")  # leads to itself
    with pytest.raises(FileNotFoundError) as error:
        load(tmp_path)
    assert str(error.value).startswith(
        "No validation set of ILSVRC2012. Looked for:\n"
        f"  {tmp_path}/val/n01440764/*.JPEG, a folder a class\n"
        f"  {tmp_path}/imagenet/val/n01440764/*.JPEG, a folder a class\n"
        f"  {tmp_path}/n01440764/*.JPEG, a folder a class\n"
        f"  {tmp_path}/imagenet2012/5.1.0/features.json, of tensorflow-datasets\n"
        f"  {tmp_path}/features.json, of tensorflow-datasets\n"
    )
    assert "--imagenet_dir=none" in str(error.value)


def test_the_first_place_that_has_one(folders, prepared, tmp_path):
    in_folders = folders[0] / "imagenet" / "val"
    in_tfds = prepared[0] / "imagenet2012" / "5.1.0"
    assert find_validation_folder([tmp_path, folders[0], prepared[0]]) == in_folders
    assert find_validation_folder([tmp_path, prepared[0], folders[0]]) == in_tfds


def test_no_image_of_these_classes(folders):
    with pytest.raises(ValueError, match="no image of the 1 classes n09999999"):
        load(folders[0], ("n09999999",))


def test_without_tensorflow_datasets(prepared, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match="pip install tensorflow-datasets"):
        load(prepared[0])
