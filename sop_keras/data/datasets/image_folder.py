"""Images in folders, one folder a class."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from pathlib import Path
from typing import NoReturn

import numpy as np

from sop_keras.data.datasets.dataset import Dataset, Examples
from sop_keras.data.datasets.file_lists import printable
from sop_keras.data.images.encoded_images import IMAGENET_MEAN, IMAGENET_STD, ImageFiles
from sop_keras.files.shown_text import shown

logger = logging.getLogger(__name__)

_ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp"),  # what browsers save too
    *(".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"),
)
_BYTE_ENDINGS = tuple(ending.encode() for ending in _ENDINGS)

# What else people call the folder of a split; in any case.
_SPLITS = {
    "train": (b"train", b"training"),
    "test": (b"test", b"testing"),
    "val": (b"val", b"valid", b"validation"),
}

_NUM_SHOWN = 5
# Folders of thumbnails and the like that programs leave beside the images.
_OF_PROGRAMS = (b"@eaDir", b"__MACOSX")

_LAYOUT = (
    "Expected one folder of images for each class, as in train/cat/1.jpg and "
    "test/cat/2.jpg, or just cat/1.jpg where there is no test set."
)


def load_image_folder(
    data_dir: str | os.PathLike[str], *, resize: int = 256, image_size: int = 224
) -> Dataset:
    """Images whose folders say their classes.

        data_dir/train/<class>/**/*.jpg     the training set
        data_dir/test/<class>/**/*.jpg      the test set
        data_dir/val/<class>/**/*.jpg       the validation set

    In any case (`Train`), and also called `training`, `testing`, `valid` and
    `validation`. With only one of `test` and `val`, that one is the test set. Where
    there is no folder `train`, the classes lie in `data_dir` itself, and there is no
    test set:

        data_dir/<class>/**/*.jpg

    Classes are the folders' names, sorted by their bytes. Images are the files that end
    in .jpg, .jpeg, .jpe, .jfif, .pjpeg, .pjp, .png, .bmp, .gif, .webp, .tif or .tiff,
    in any case, however deep they lie. Links are followed, those that lead back up are
    not; no folder is visited twice for one class. What begins with a dot is passed
    over, and other files are left out with a warning.

    An id is the place of the image's path, from the folder of the classes on, among all
    of them sorted by their bytes. It is stable as long as the files are: **a file more
    or less renumbers those behind it**. A manifest with ids does not have that problem.

    Args:
        data_dir: the folder.
        resize: the length of the shorter side, in pixels, before a crop is cut out.
            Defaults to `256`.
        image_size: the side of the crop, at most `resize`. Defaults to `224`.

    Returns:
        A data set called `image_folder`, with ImageNet's `mean` and `std`.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if there are fewer than two class folders, two folders of one split,
            one of the training set is empty, the test set has a class more, there are
            images outside of class folders, or a size is out of range.
    """
    root = Path(data_dir)
    if not root.is_dir():
        raise FileNotFoundError(
            f"There is no folder {root}. Give the folder of your images. {_LAYOUT}"
        )
    splits = _splits(root)
    if "train" in splits:
        _check_beside_splits(root, splits)
        root = splits.pop("train")
    elif splits:
        _refuse_without_train(root, splits)
    files = _files_by_class(root)
    _check_training_files(root, files)
    classes = {name: label for label, name in enumerate(sorted(files))}

    train = _examples(root, files, classes, resize, image_size)
    tests = {}
    for name, folder in splits.items():
        files = _files_by_class(folder)
        _check_test_files(folder, files, classes)
        tests[name] = _examples(folder, files, classes, resize, image_size)
    _check_several(root, classes)
    validation = tests.get("val")
    return Dataset(
        name="image_folder",
        class_names=tuple(printable(name) for name in classes),
        num_examples=len(train),
        train=train,
        test=tests.get("test", validation),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        validation=validation if "test" in tests else None,
    )


def _splits(root: Path) -> dict[str, Path]:
    """The folders of splits that are there, by the split's own name.

    Raises:
        ValueError: if a split has two.
    """
    folders, _ = _entries(root)
    found = {}
    for split, names in _SPLITS.items():
        of_split = sorted(name for name in folders if name.lower() in names)
        if len(of_split) > 1:
            raise ValueError(
                f"{root} has {len(of_split)} folders for one split: "
                f"{_listed(of_split)}. Which of them is `{split}`? Rename or remove "
                "the others."
            )
        if of_split:
            found[split] = root / os.fsdecode(of_split[0])
    return found


def _examples(
    folder: Path,
    files: dict[bytes, list[bytes]],
    classes: dict[bytes, int],
    resize: int,
    image_size: int,
) -> Examples:
    names = np.array(sorted(name for group in files.values() for name in group))
    labels = [classes[name.split(b"/", 1)[0]] for name in names.tolist()]
    return Examples(
        ids=np.arange(len(names)),
        images=ImageFiles(folder, names, resize, image_size),
        labels=np.array(labels, np.int64),
    )


def _files_by_class(folder: Path) -> dict[bytes, list[bytes]]:
    """The paths of the images from `folder` on, by class.

    Raises:
        ValueError: if there are images in `folder` itself.
    """
    folders, loose = _entries(folder)
    _check_no_images(folder, loose)
    top = os.fsencode(folder)
    # Those above the folder where it really is, and those that a link to it lies in.
    real = folder.resolve()
    parents = (real, *real.parents, *folder.absolute().parents)
    above = {_identity(path) for path in parents}
    files, others = {}, loose
    for name in folders:
        found = _files_below(top, name, above)
        files[name] = [path for path in found if _is_image(path)]
        others += [path for path in found if not _is_image(path)]
    if others:
        logger.warning(
            "%s: left out %d files that do not end in %s: %s",
            folder,
            len(others),
            " ".join(_ENDINGS),
            _listed(others),
        )
    return files


def _entries(folder: Path) -> tuple[list[bytes], list[bytes]]:
    """The names of the folders and of the files in a folder.

    Hidden ones are left out, and what programs leave beside images.
    """
    # Bytes all along: a file's name need not be valid text.
    top = os.fsencode(folder)
    folders: list[bytes] = []
    files: list[bytes] = []
    for name in os.listdir(top):
        if not name.startswith(b".") and name not in _OF_PROGRAMS:
            is_folder = os.path.isdir(os.path.join(top, name))
            (folders if is_folder else files).append(name)
    return folders, files


def _files_below(top: bytes, start: bytes, above: set[tuple[int, int]]) -> list[bytes]:
    """The paths, from `top` on, of all files in the folder `start` of it.

    Args:
        top: a folder.
        start: the name of a folder in it.
        above: the identities of `top` and all folders above it, which links must not
            lead back to: they hold other classes.
    """
    found = []
    start_path = os.path.join(top, start)
    visited = {*above, _identity(start_path)}
    if len(visited) == len(above):  # the class is itself a link that leads back up
        return []
    walk = os.walk(start_path, onerror=_raise, followlinks=True)
    for folder, folder_names, file_names in walk:
        # What is left in this list is visited next.
        unvisited = []
        for name in sorted(folder_names):
            identity = _identity(os.path.join(folder, name))
            is_own = not name.startswith(b".") and name not in _OF_PROGRAMS
            if is_own and identity not in visited:
                visited.add(identity)
                unvisited.append(name)
        folder_names[:] = unvisited
        below = os.path.relpath(folder, top)
        found += [
            os.path.join(below, name)
            for name in file_names
            if not name.startswith(b".")
        ]
    return found


def _identity(folder: bytes | Path) -> tuple[int, int]:
    """What tells a folder from all others, whatever path leads to it."""
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _raise(error: OSError) -> NoReturn:
    # Left alone, os.walk passes over a folder that it cannot list.
    raise error


def _is_image(name: bytes) -> bool:
    return name.lower().endswith(_BYTE_ENDINGS)


def _check_beside_splits(root: Path, splits: dict[str, Path]) -> None:
    """Check what lies beside the folder `train`."""
    folders, files = _entries(root)
    _check_no_images(root, files)
    if others := set(folders) - {os.fsencode(path.name) for path in splits.values()}:
        logger.warning(
            "%s has a folder %s; beside it only test and val are read, not: %s",
            root,
            splits["train"].name,
            _listed(others),
        )


def _refuse_without_train(root: Path, splits: dict[str, Path]) -> NoReturn:
    _check_no_images(root, _entries(root)[1])
    names = _listed([os.fsencode(path.name) for path in splits.values()])
    raise ValueError(
        f"{root} has {names} and no `train`. {_LAYOUT} Name the folder of the training "
        "classes `train`; if these are classes themselves, move all classes into a "
        "folder `train`."
    )


def _check_no_images(folder: Path, files: list[bytes]) -> None:
    if images := [name for name in files if _is_image(name)]:
        raise ValueError(
            f"{folder} has images of no class: {_listed(images)}. {_LAYOUT} Move them "
            "into the folder of their class; if `train` is a class, move all classes "
            "into a folder `train`."
        )


def _check_training_files(folder: Path, files: dict[bytes, list[bytes]]) -> None:
    if not files:
        raise ValueError(f"{folder} has no folders. {_LAYOUT}")
    if empty := [name for name, paths in files.items() if not paths]:
        raise ValueError(
            f"{folder} has classes without images: {_listed(empty)}. Remove their "
            f"folders or add images (files that end in {' '.join(_ENDINGS)}; a link to "
            "a folder above has none)."
        )


def _check_several(folder: Path, classes: Collection[bytes]) -> None:
    if len(classes) == 1:
        raise ValueError(
            f"{folder} has one folder, {_listed(classes)}: one class, where a "
            f"classifier needs two. {_LAYOUT} If the classes are folders in "
            f"{_listed(classes)}, give that folder."
        )


def _check_test_files(
    folder: Path, files: dict[bytes, list[bytes]], classes: dict[bytes, int]
) -> None:
    if extra := sorted(set(files) - set(classes)):
        raise ValueError(
            f"{folder} has classes that the training set does not have: "
            f"{_listed(extra)}. The training set has: {_listed(classes)}. Rename "
            "or remove them."
        )
    if not any(files.values()):
        raise ValueError(f"{folder} has no images. {_LAYOUT} Or remove it.")


def _listed(names: Collection[bytes]) -> str:
    """The first few names, and how many more there are."""
    listed = ", ".join(map(shown, sorted(names)[:_NUM_SHOWN]))
    more = len(names) - _NUM_SHOWN
    return f"{listed} and {more} more" if more > 0 else listed
