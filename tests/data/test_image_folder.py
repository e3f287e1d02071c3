import os
import re
from pathlib import Path

import numpy as np
import pytest

from sop_keras.data.datasets.image_folder import load_image_folder
from sop_keras.data.images.encoded_images import IMAGENET_MEAN, IMAGENET_STD


def write(root, *names):
    """Files whose content is their name from `root` on, as text or as bytes."""
    for name in names:
        name = os.fsencode(name)
        file = os.path.join(os.fsencode(root), name)
        os.makedirs(os.path.dirname(file), exist_ok=True)
        with open(file, "wb") as stream:
            stream.write(name)


def contents(examples):
    return [examples.images.read(i) for i in range(len(examples))]


def test_one_folder_a_class_and_no_test_set(tmp_path):
    # Bytes in order: "-" 2d, "/" 2f, "B" 42, "a" 61, "b" 62; so a-b/ before a/.
    write(tmp_path, "b/1.jpg", "a/z.PNG", "a/y/deep/2.Jpeg", "a-b/3.gif", "B/4.webp")
    dataset = load_image_folder(tmp_path)
    assert (dataset.name, dataset.num_examples) == ("image_folder", 5)
    assert dataset.class_names == ("B", "a", "a-b", "b")
    assert contents(dataset.train) == [
        *(b"B/4.webp", b"a-b/3.gif", b"a/y/deep/2.Jpeg", b"a/z.PNG", b"b/1.jpg")
    ]
    assert dataset.train.labels.tolist() == [0, 2, 1, 1, 3]
    assert dataset.train.ids.tolist() == [0, 1, 2, 3, 4]
    assert dataset.train.images.shape == (5, 224, 224, 3)
    assert dataset.train.clean_labels is None
    assert (dataset.test, dataset.validation) == (None, None)
    assert (dataset.mean, dataset.std) == (IMAGENET_MEAN, IMAGENET_STD)


@pytest.mark.parametrize(
    ("folders", "test", "validation"),
    [
        ((), None, None),
        (("test",), "test", None),
        (("val",), "val", None),
        (("test", "val"), "test", "val"),
        (("Test", "VALID"), "Test", "VALID"),
        (("testing", "Validation"), "testing", "Validation"),
        (("valid",), "valid", None),
    ],
)
@pytest.mark.parametrize("train", ["train", "TRAIN", "Training"])
def test_which_folder_is_what(folders, test, validation, train, tmp_path):
    write(tmp_path, f"{train}/cat/1.jpg", f"{train}/ape/2.jpg", f"{train}/dog/3.jpg")
    for folder in folders:
        # In another order than in the training set, where dogs are class 2.
        write(tmp_path, f"{folder}/dog/{folder}.jpg", f"{folder}/ape/b{folder}.jpg")
    dataset = load_image_folder(tmp_path, resize=64, image_size=48)
    assert dataset.class_names == ("ape", "cat", "dog")
    assert dataset.num_examples == 3
    assert contents(dataset.train) == [
        f"{train}/{name}".encode() for name in ("ape/2.jpg", "cat/1.jpg", "dog/3.jpg")
    ]
    for name, part in ((test, dataset.test), (validation, dataset.validation)):
        if name is None:
            assert part is None
        else:
            assert contents(part) == [
                f"{name}/ape/b{name}.jpg".encode(),
                f"{name}/dog/{name}.jpg".encode(),
            ]
            assert part.labels.tolist() == [0, 2]
            assert part.ids.tolist() == [0, 1]
            assert part.image_shape == (48, 48, 3)


def test_jpeg_files_of_all_endings(tmp_path):
    names = ["1.jfif", "2.JFIF", "3.jpe", "4.pjpeg", "5.pjp"]
    write(tmp_path, "dog/1.jpg", *(f"cat/{name}" for name in names))
    found = load_image_folder(tmp_path).train.images.names.tolist()
    assert found == [*(f"cat/{name}".encode() for name in names), b"dog/1.jpg"]


def test_classes_in_train_may_be_called_like_splits(tmp_path):
    write(tmp_path, "train/test/1.jpg", "train/Training/2.jpg", "train/valid/3.jpg")
    assert load_image_folder(tmp_path).class_names == ("Training", "test", "valid")


def test_files_that_are_no_images(tmp_path, caplog):
    write(tmp_path, "cat/1.jpg", "cat/.hidden.jpg", "cat/.git/2.jpg", ".cache/3.jpg")
    write(tmp_path, ".DS_Store", "cat/deep/b.txt", "cat/a.csv", "readme", "cat/jpg")
    write(tmp_path, "dog/1.jpg")
    dataset = load_image_folder(tmp_path)
    assert dataset.class_names == ("cat", "dog")
    assert contents(dataset.train) == [b"cat/1.jpg", b"dog/1.jpg"]
    assert f"{tmp_path}: left out 4 files that do not end in .jpg .jpeg" in caplog.text
    assert ": cat/a.csv, cat/deep/b.txt, cat/jpg, readme\n" in caplog.text


def test_thumbnails_that_programs_leave_are_no_examples(tmp_path):
    write(tmp_path, "a/1.jpg", "b/2.jpg", "a/@eaDir/1.jpg/SYNOPHOTO_THUMB_M.jpg")
    write(tmp_path, "__MACOSX/a/1.jpg")
    dataset = load_image_folder(tmp_path)
    assert dataset.class_names == ("a", "b")
    assert len(dataset.train) == 2


def test_a_warning_shows_a_few_files(tmp_path, caplog):
    write(tmp_path, "cat/1.jpg", "dog/1.jpg", *(f"cat/{i}.txt" for i in range(7)))
    load_image_folder(tmp_path)
    shown = "cat/0.txt, cat/1.txt, cat/2.txt, cat/3.txt, cat/4.txt and 2 more\n"
    assert "left out 7 files that do not end in .jpg" in caplog.text
    assert shown in caplog.text


def test_folders_beside_train(tmp_path, caplog):
    write(tmp_path, "train/cat/1.jpg", "labels/1.txt", "vals/cat/2.jpg", "readme.txt")
    write(tmp_path, "train/dog/1.jpg")
    dataset = load_image_folder(tmp_path)
    assert dataset.test is None
    assert "only test and val are read, not: labels, vals\n" in caplog.text


def test_names_that_are_not_text(tmp_path):
    write(tmp_path, b"caf\xe9/\xff.jpg", b"caf\xe9/a.jpg", "日本/1.jpg")
    dataset = load_image_folder(tmp_path)
    assert dataset.class_names == ("caf\\xe9", "日本")
    assert contents(dataset.train) == [
        *(b"caf\xe9/a.jpg", b"caf\xe9/\xff.jpg", "日本/1.jpg".encode())
    ]
    assert dataset.train.images.name(1) == f"{tmp_path}/caf\\xe9/\\xff.jpg"


def test_links_are_followed(tmp_path):
    write(tmp_path / "elsewhere", "dogs/1.jpg", "more/2.jpg", "3.jpg")
    root = tmp_path / "root"
    write(root, "cat/4.jpg")
    (root / "dog").symlink_to(tmp_path / "elsewhere" / "dogs")
    (root / "cat" / "more").symlink_to(Path("../../elsewhere/more"))
    (root / "cat" / "linked.jpg").symlink_to(tmp_path / "elsewhere" / "3.jpg")
    dataset = load_image_folder(root)
    assert dataset.class_names == ("cat", "dog")
    assert contents(dataset.train) == [
        b"cat/4.jpg",
        b"3.jpg",
        b"more/2.jpg",
        b"dogs/1.jpg",
    ]
    assert dataset.train.labels.tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("target", [".", "..", "../..", "../../..", "deep", "loop"])
def test_links_that_lead_back(target, tmp_path):
    """To itself, up to a folder of other classes, or to a folder visited already."""
    write(tmp_path, "train/cat/deep/1.jpg", "train/dog/2.jpg", "test/cat/3.jpg")
    (tmp_path / "train" / "cat" / "loop").symlink_to(target)
    (tmp_path / "train" / "cat" / "deep" / "up").symlink_to("..")
    dataset = load_image_folder(tmp_path)
    assert contents(dataset.train) == [b"train/cat/deep/1.jpg", b"train/dog/2.jpg"]
    assert dataset.train.labels.tolist() == [0, 1]


def test_a_link_back_out_of_a_linked_training_set(tmp_path):
    write(tmp_path, "disk/cat/1.jpg", "disk/dog/1.jpg", "root/test/cat/2.jpg")
    (tmp_path / "root" / "train").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "cat" / "up").symlink_to(tmp_path / "root")
    dataset = load_image_folder(tmp_path / "root")
    assert contents(dataset.train) == [b"disk/cat/1.jpg", b"disk/dog/1.jpg"]


def test_one_folder_under_two_names_counts_once(tmp_path):
    write(tmp_path, "cat/b/1.jpg", "dog/2.jpg")
    for name in "fcaed":
        (tmp_path / "cat" / name).symlink_to("b")
    (tmp_path / "other").symlink_to("dog")
    dataset = load_image_folder(tmp_path)
    # Once for each class, under its first name.
    names = dataset.train.images.names.tolist()
    assert names == [b"cat/a/1.jpg", b"dog/2.jpg", b"other/2.jpg"]
    assert contents(dataset.train) == [b"cat/b/1.jpg", b"dog/2.jpg", b"dog/2.jpg"]
    assert dataset.train.labels.tolist() == [0, 1, 2]


def test_a_folder_that_cannot_be_listed(tmp_path, monkeypatch):
    write(tmp_path, "cat/1.jpg", "cat/closed/2.jpg")
    listed = os.scandir

    def scandir(folder):
        if os.fsencode(folder).endswith(b"closed"):
            raise PermissionError(13, "Permission denied", folder)
        return listed(folder)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        with pytest.raises(PermissionError, match="closed"):
            load_image_folder(tmp_path)


def test_no_such_folder(tmp_path):
    text = re.escape(f"no folder {tmp_path}/nothing. Give the folder of your images.")
    with pytest.raises(FileNotFoundError, match=text):
        load_image_folder(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (
            ["readme.txt"],
            "has no folders. Expected one folder of images for each class",
        ),
        (["train/.keep"], "/train has no folders. Expected"),
        (["1.jpg", "cat/2.jpg"], r"has images of no class: 1\.jpg\. .*Move them into"),
        (["train/1.jpg", "cat/2.jpg"], r"/train has images of no class: 1\.jpg\."),
        (["train/cat/1.jpg", "2.png"], r"has images of no class: 2\.png\."),
        (
            ["test/cat/1.jpg", "val/cat/1.jpg"],
            "has test, val and no `train`. .*Name the",
        ),
        (
            ["Validation/1.jpg", "cat/1.jpg"],
            "has Validation and no `train`. .*move all",
        ),
        (
            ["train/cat/1.jpg", "Training/cat/1.jpg"],
            "2 folders for one split: Training",
        ),
        (
            ["train/cat/1.jpg", "val/cat/1.jpg", "valid/cat/1.jpg"],
            "2 folders for one split: val, valid. Which of them is `val`?",
        ),
        (["cat/1.jpg", "dog/a.txt"], r"has classes without images: dog\. Remove"),
        (
            ["cat/1.jpg", *(f"{i}/.keep" for i in range(7))],
            "without images: 0, 1, 2, 3, 4 and 2 more. Remove",
        ),
        (
            ["train/cat/1.jpg", "test/cat/2.jpg", "test/dgo/3.jpg"],
            "/test has classes that the training set does not have: dgo. The training "
            "set has: cat. Rename",
        ),
        (["train/cat/1.jpg", "val/cat/a.txt"], "/val has no images. .* Or remove it."),
    ],
)
def test_trees_of_another_kind(names, text, tmp_path):
    write(tmp_path, *names)
    with pytest.raises(ValueError, match=text):
        load_image_folder(tmp_path)


def test_a_class_that_is_a_link_upwards(tmp_path):
    write(tmp_path, "cat/1.jpg")
    (tmp_path / "loop").symlink_to(".")
    text = "without images: loop.* a link to a folder above has none"
    with pytest.raises(ValueError, match=text):
        load_image_folder(tmp_path)


def test_sizes_out_of_range(tmp_path):
    write(tmp_path, "cat/1.jpg")
    with pytest.raises(ValueError, match="image_size=300, resize=256"):
        load_image_folder(tmp_path, image_size=300)


def test_many_files(tmp_path):
    """Names are bytes, whose order is not that of numbers: 10 is before 2."""
    write(tmp_path, "d/1.jpg", *(f"c/{i}.jpg" for i in range(300)))
    names = load_image_folder(tmp_path).train.images.names
    assert names.dtype == np.dtype("S9")
    expected = sorted(f"c/{i}.jpg".encode() for i in range(300))
    assert names.tolist() == [*expected, b"d/1.jpg"]


@pytest.mark.parametrize("top", ["", "train/"])
def test_one_class_is_named(top, tmp_path):
    write(tmp_path, f"{top}animals/cat/1.jpg", f"{top}animals/dog/1.jpg")
    message = f"{tmp_path}/{top}".rstrip("/") + " has one folder, animals: one class, w"
    with pytest.raises(ValueError, match=f"{message}.*folders in animals, give that"):
        load_image_folder(tmp_path)
    # As it says.
    classes = load_image_folder(tmp_path / top / "animals").class_names
    assert classes == ("cat", "dog")
