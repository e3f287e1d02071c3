"""WebVision 1.0: photographs that web searches gave for ImageNet's 1,000 classes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from sop_keras.data.datasets.dataset import Dataset, Examples
from sop_keras.data.datasets.file_lists import (
    check_full_size,
    find_layout,
    printable,
    read_labelled_names,
    read_lines,
)
from sop_keras.data.datasets.ilsvrc2012 import (
    WNID,
    find_validation_folder,
    load_ilsvrc2012_validation,
)
from sop_keras.data.images.encoded_images import IMAGENET_MEAN, IMAGENET_STD, ImageFiles

MAX_CLASSES = 1000
FULL_SIZES = {50: 65_944, 1000: 2_439_574}
VALIDATION_PER_CLASS = 50

_SYNSETS = "info/synsets.txt"
_VALIDATION_LIST = "info/val_filelist.txt"
_VALIDATION_IMAGES = "val_images_256/"
_ADVICE = (
    "WebVision 1.0 is at data.vision.ee.ethz.ch/cvl/webvision: unpack the labels "
    "(info.tar, the folder info), google_resized_256.tar, for 1,000 classes "
    "flickr_resized_256.tar, and val_images_256.tar into one folder, and rename what "
    "has another name."
)


def load_webvision(
    data_dir: str | os.PathLike[str],
    *,
    num_classes: int = 50,
    imagenet_dir: str | os.PathLike[str] | None = None,
    resize: int = 256,
    image_size: int = 227,
    expect_full_size: bool = True,
) -> Dataset:
    """WebVision 1.0 (W. Li et al., 2017), of which 50 classes are mini WebVision.

    The training examples are the lines of `train_filelist_google.txt` with a label
    under `num_classes`, in their order; for all 1,000 classes, all its lines and after
    them those of `train_filelist_flickr.txt`. An example's id is its place among them,
    from 0; a test example's is the place of its line in its list.

    Args:
        data_dir: the folder of the data set, or the one that holds it as `webvision`.
            The paths in the training lists may lack their `google/` or `flickr/`.
        num_classes: how many classes, from 1 to 1000, the first ones in `synsets.txt`.
            Defaults to `50`.
        imagenet_dir: where the validation set of ILSVRC2012 is, in one of the layouts
            of `load_ilsvrc2012_validation`; `"none"` does without it. Defaults to
            `None`: it is looked for in `data_dir` and in the folder that this is in.
        resize: the length of the shorter side, in pixels, before a crop is cut out.
            Defaults to `256`.
        image_size: the side of the crop, in pixels. Defaults to `227`.
        expect_full_size: whether there must be 65,944 training examples of 50 classes
            and 2,439,574 of 1,000, and 50 images of each class in both validation sets.
            Defaults to `True`.

    Returns:
        A data set, none of its images decoded. `test` is WebVision's own validation
        set, which nothing is chosen by; `more_tests` has that of ILSVRC2012 as
        `"ilsvrc12"`.

    Raises:
        FileNotFoundError: if files or folders are missing; the text has all of them.
        ImportError: if tensorflow-datasets is needed and not installed.
        ValueError: if `num_classes` is out of range, or a list is malformed, has a
            label out of range, or does not have the published size, or the validation
            list has an image twice.
    """
    if not 1 <= num_classes <= MAX_CLASSES:
        raise ValueError(
            f"`num_classes` must be from 1 to {MAX_CLASSES}. Received: "
            f"num_classes={num_classes}."
        )
    searches = ("google", "flickr") if num_classes == MAX_CLASSES else ("google",)
    paths = _find(data_dir, searches)
    wnids, class_names = _read_synsets(paths[_SYNSETS])
    if len(wnids) < num_classes:
        raise ValueError(
            f"{paths[_SYNSETS]} has {len(wnids)} classes, fewer than "
            f"num_classes={num_classes}. Get it again, or ask for fewer."
        )
    train = _read_train(paths, searches, len(wnids), num_classes, resize, image_size)
    test = _read_test(paths, len(wnids), num_classes, resize, image_size)
    if expect_full_size:
        check_full_size(
            f"WebVision with {num_classes} classes",
            {"training": len(train), "validation": len(test)},
            {
                "training": FULL_SIZES.get(num_classes, len(train)),
                "validation": VALIDATION_PER_CLASS * num_classes,
            },
        )
    more_tests = {}
    if imagenet_dir != "none":
        places = [imagenet_dir] if imagenet_dir else _around(data_dir)
        more_tests["ilsvrc12"] = load_ilsvrc2012_validation(
            find_validation_folder(places),
            wnids[:num_classes],
            resize=resize,
            image_size=image_size,
            expect_full_size=expect_full_size,
        )
    return Dataset(
        name="webvision",
        class_names=class_names[:num_classes],
        num_examples=len(train),
        train=train,
        test=test,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        more_tests=more_tests,
        labels_have_errors=True,
    )


def _list_name(search: str) -> str:
    return f"info/train_filelist_{search}.txt"


def _find(
    data_dir: str | os.PathLike[str], searches: tuple[str, ...]
) -> dict[str, Path]:
    lists = [_list_name(search) for search in searches]
    folders = [f"{search}/" for search in searches]
    parts = (_SYNSETS, *lists, _VALIDATION_LIST, *folders, _VALIDATION_IMAGES)
    layout = {part: (part,) for part in parts}
    return find_layout("webvision", data_dir, ("webvision",), layout, _ADVICE)


def _around(data_dir: str | os.PathLike[str]) -> list[Path]:
    folder = Path(data_dir).absolute()
    return [folder, folder.parent]


def _read_synsets(file: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The wnid and the name of each class, in label order."""
    wnids: dict[str, int] = {}
    class_names = []
    for number, line in enumerate(read_lines(file), start=1):
        wnid, _, name = line.partition(b" ")
        if not WNID.fullmatch(wnid):
            raise ValueError(
                f"Line {number} of {file} must begin with a wnid such as n01440764. "
                f"Received: {printable(line)!r}."
            )
        first = wnids.setdefault(wnid.decode(), number)
        if first != number:
            raise ValueError(
                f"{file} has the wnid {wnid.decode()} in lines {first} and {number}. "
                "Each class has its own. Get it again."
            )
        class_names.append(printable(name.strip()) or wnid.decode())
    return tuple(wnids), tuple(class_names)


def _read_train(
    paths: dict[str, Path],
    searches: tuple[str, ...],
    num_labels: int,
    num_classes: int,
    resize: int,
    image_size: int,
) -> Examples:
    all_names, all_labels = [], []
    for search in searches:
        prefix = f"{search}/".encode()
        # What searches found: an image listed twice is two examples with an id each.
        names, labels = read_labelled_names(
            paths[_list_name(search)], num_labels, prefix, distinct=False
        )
        kept = labels < num_classes
        all_names.append(np.char.add(prefix, names[kept]))
        all_labels.append(labels[kept])
    names, labels = np.concatenate(all_names), np.concatenate(all_labels)
    if not len(names):
        raise ValueError(
            f"{paths[_list_name('google')]} has no label under {num_classes}."
        )
    images = ImageFiles(paths["google/"].parent, names, resize, image_size)
    return Examples(np.arange(len(names)), images, labels)


def _read_test(
    paths: dict[str, Path],
    num_labels: int,
    num_classes: int,
    resize: int,
    image_size: int,
) -> Examples:
    file = paths[_VALIDATION_LIST]
    names, labels = read_labelled_names(file, num_labels, _VALIDATION_IMAGES.encode())
    ids = np.flatnonzero(labels < num_classes)
    if not len(ids):
        raise ValueError(f"{file} has no label under {num_classes}.")
    images = ImageFiles(paths[_VALIDATION_IMAGES], names[ids], resize, image_size)
    return Examples(ids, images, labels[ids])
