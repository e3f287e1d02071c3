import itertools
from pathlib import Path

import data_trees
import numpy as np
import pytest

from sop_keras.data.datasets import clothing1m
from sop_keras.data.datasets.clothing1m import load_clothing1m

SIZES = {"noisy_train": 40, "clean_train": 4, "clean_val": 8, "clean_test": 12}


def splits_of(dataset):
    return {
        "noisy_train": dataset.train,
        "clean_val": dataset.validation,
        "clean_test": dataset.test,
    }


def check_splits(dataset, written):
    """Each id has the file, and the label, that its line in the key list has."""
    for name, examples in splits_of(dataset).items():
        part = written[name]
        assert examples.ids.tolist() == list(range(SIZES[name]))
        np.testing.assert_array_equal(examples.labels, part.labels)
        assert examples.clean_labels is None
        for i, file in enumerate(part.files):
            assert examples.images.read(i) == data_trees.content(file)


@pytest.fixture
def images():
    return data_trees.tiny_cifar10()


@pytest.fixture
def tree(tmp_path, images):
    """A folder in the published layout."""
    data_trees.write_clothing1m(tmp_path, *images, SIZES)
    return tmp_path


def edit(file, change):
    lines = file.read_bytes().split(b"\n")
    file.write_bytes(b"\n".join(change(lines)))


def test_the_published_layout(tmp_path, images):
    written = data_trees.write_clothing1m(tmp_path, *images, SIZES)
    dataset = load_clothing1m(tmp_path, expect_full_size=False)
    check_splits(dataset, written)
    assert dataset.name == "clothing1m"
    assert dataset.num_examples == 40
    assert dataset.class_names == data_trees.CLOTHING1M_CLASSES
    assert dataset.mean == (0.6959, 0.6537, 0.6371)
    assert dataset.labels_have_errors
    assert dataset.std == (0.3113, 0.3192, 0.3214)
    assert list(dataset.tests) == ["test"]
    # The paper's sizes (A.4), and others.
    assert dataset.train.image_shape == (224, 224, 3)
    assert dataset.test.images.resize == 256
    dataset = load_clothing1m(
        tmp_path, resize=72, image_size=64, expect_full_size=False
    )
    for examples in splits_of(dataset).values():
        assert (examples.images.resize, examples.images.image_size) == (72, 64)


def test_images_and_labels_belong_together(tmp_path, images):
    # Seen from the pixels: the real image in the file, and what it really shows.
    pixels, labels = images
    data_trees.write_clothing1m(tmp_path, pixels, labels, SIZES)
    dataset = load_clothing1m(tmp_path, expect_full_size=False)
    shown = {
        name: [
            labels[data_trees.original_of(examples.images.read(i), pixels)]
            for i in range(len(examples))
        ]
        for name, examples in splits_of(dataset).items()
    }
    assert shown["clean_val"] == dataset.validation.labels.tolist()
    assert shown["clean_test"] == dataset.test.labels.tolist()
    wrong = np.mean(shown["noisy_train"] != dataset.train.labels)
    # 40% drawn anew, a tenth of them right: 36% of 40 labels, by 3 deviations.
    assert 0.13 < wrong < 0.59


@pytest.mark.parametrize(
    ("annotations", "in_tree", "in_lists"),
    list(itertools.product([False, True], repeat=3)),
)
def test_levels_that_copies_have_or_lack(
    annotations, in_tree, in_lists, tmp_path, images
):
    written = data_trees.write_clothing1m(
        tmp_path,
        *images,
        SIZES,
        annotations=annotations,
        images_in_tree=in_tree,
        images_in_lists=in_lists,
    )
    check_splits(load_clothing1m(tmp_path, expect_full_size=False), written)


@pytest.mark.parametrize("folder", ["clothing1m", "Clothing1M"])
def test_the_folder_that_holds_the_data_set(folder, tmp_path, images):
    written = data_trees.write_clothing1m(tmp_path / folder, *images, SIZES)
    check_splits(load_clothing1m(str(tmp_path), expect_full_size=False), written)


def test_lists_and_names_from_other_systems(tmp_path, images):
    written = data_trees.write_clothing1m(
        tmp_path, *images, SIZES, names_are_text=False, style=data_trees.HANDLED
    )
    dataset = load_clothing1m(tmp_path, expect_full_size=False)
    check_splits(dataset, written)
    assert dataset.class_names == data_trees.CLOTHING1M_CLASSES
    assert r"\xe9\xff" in dataset.train.images.name(0)


def test_the_published_sizes(tree, monkeypatch):
    with pytest.raises(ValueError, match="--noexpect_full_size") as error:
        load_clothing1m(tree)
    assert str(error.value).startswith(
        "Clothing1M has 1,000,000 training, 14,313 validation, 10,526 test images. "
        "Received: 40 training, 8 validation, 12 test."
    )
    sizes = {"training": 40, "validation": 8, "test": 12}
    monkeypatch.setattr(clothing1m, "FULL_SIZES", sizes)
    assert load_clothing1m(tree).num_examples == 40


def test_everything_that_is_missing_is_said_at_once(tree):
    for name in ("noisy_label_kv.txt", "clean_val_key_list.txt"):
        (tree / name).unlink()
    (tree / "images").rename(tree / "Images")
    with pytest.raises(FileNotFoundError) as error:
        load_clothing1m(tree)
    text = str(error.value)
    assert (
        f"clothing1m: missing in {tree}:\n"
        "  noisy_label_kv.txt (noisy_label_kv.txt or annotations/noisy_label_kv.txt)\n"
        "  clean_val_key_list.txt (clean_val_key_list.txt or "
        "annotations/clean_val_key_list.txt)\n"
        "  images/ (images/ or 0/ or 1/ or"
    ) in text
    assert f"{tree} has: Images, category_names_chn.txt," in text
    assert "on request" in text


def test_no_data_set_at_all(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        load_clothing1m(tmp_path)
    text = str(error.value)
    places = (tmp_path, tmp_path / "clothing1m", tmp_path / "Clothing1M")
    assert f"missing in {' and in '.join(map(str, places))}:" in text
    assert text.count("\n  ") == 7
    assert f"{tmp_path} is empty." in text


@pytest.mark.parametrize(
    ("name", "change", "text"),
    [
        (
            "noisy_train_key_list.txt",
            lambda lines: [*lines[:20], lines[4], *lines[20:]],
            r"noisy_train_key_list\.txt .* in line 5 and again in line 21 \(1 lines",
        ),
        (
            "clean_test_key_list.txt",
            lambda lines: [*lines[:2], b"images/0/00/none.jpg", *lines[2:]],
            r"1 of the 13 paths in .*clean_test_key_list\.txt have no label in "
            r".*clean_label_kv\.txt; the first is in line 3: '0/00/none\.jpg'",
        ),
        (
            "noisy_label_kv.txt",
            lambda lines: [*lines[:9], lines[9].split()[0] + b" 14", *lines[10:]],
            r"label in line 10 of .*noisy_label_kv\.txt must be from 0 to 13.* 14'",
        ),
        (
            "clean_label_kv.txt",
            lambda lines: [lines[0].split()[0], *lines[1:]],
            r"Line 1 of .*clean_label_kv\.txt must be a path, a space and an integer",
        ),
        (
            "category_names_eng.txt",
            lambda lines: lines[:13],
            "names of the 14 classes, one a line. Received: 13 lines",
        ),
    ],
)
def test_lists_with_an_error(name, change, text, tree):
    edit(tree / name, change)
    with pytest.raises(ValueError, match=text):
        load_clothing1m(tree, expect_full_size=False)


def test_nothing_is_decoded_and_no_image_is_looked_at(tree):
    for file in Path(tree).rglob("*.jpg"):
        file.unlink()
    assert len(load_clothing1m(tree, expect_full_size=False).train) == 40
