"""The human labels of CIFAR-10N and CIFAR-100N (J. Wei et al., ICLR 2022).

Three forms hold them: the published `.pt` files, `.npz` files with the same entries,
and the data sets `cifar10_n` and `cifar100_n` that TensorFlow Datasets (TFDS) prepares.
The first two are in the original order of CIFAR's images; TFDS' examples carry ids.
"""

from __future__ import annotations

import contextlib
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sop_keras.data.datasets.cifar import SPLIT_SIZES
from sop_keras.data.datasets.restricted_pickle import PickledArrays
from sop_keras.files.untrusted import open_untrusted

NUM_LABELS = SPLIT_SIZES["train"]

# The published arrays are 2.4 MB together; a file of more is another one, or a trap.
MAX_UNPACKED_BYTES = 32 * 1024 * 1024

# In percentage points. One label more or less is 0.002 of them.
RATE_TOLERANCE = 0.005

# Below the folder that is looked in.
SUBFOLDERS = ("", "cifar_n", "data")


@dataclass(frozen=True)
class LabelSet:
    """One of the sets of human labels of a data set.

    Args:
        entry: its name in the published file.
        noise_percent: how many of 100 of its labels are wrong, as published.
        tfds_feature: its name in TFDS' data set.
    """

    entry: str
    noise_percent: float
    tfds_feature: str


@dataclass(frozen=True)
class PublishedLabels:
    """What is known of a data set's human labels before a file is opened.

    Args:
        name: the data set's, for people.
        num_classes: the number of classes.
        npz_name: the file name looked for, of the `.npz`.
        pt_name: that of the published `.pt`.
        tfds_name: the name of TFDS' data set.
        label_sets: the sets of labels under the names that users give them.
    """

    name: str
    num_classes: int
    npz_name: str
    pt_name: str
    tfds_name: str
    label_sets: Mapping[str, LabelSet]

    @property
    def where_to_get(self) -> str:
        """A sentence about where the published file is, and its licence."""
        return (
            f"The published file is {self.pt_name} in the folder `data` of the GitHub "
            "repository UCSC-REAL/cifar-10-100n (licence CC BY-NC 4.0: not for "
            "commercial use)."
        )


CIFAR10N = PublishedLabels(
    name="CIFAR-10N",
    num_classes=10,
    npz_name="cifar10n.npz",
    pt_name="CIFAR-10_human.pt",
    tfds_name="cifar10_n",
    label_sets={
        "aggregate": LabelSet("aggre_label", 9.010, "aggre_label"),
        "random1": LabelSet("random_label1", 17.234, "random_label1"),
        "random2": LabelSet("random_label2", 18.122, "random_label2"),
        "random3": LabelSet("random_label3", 17.640, "random_label3"),
        "worst": LabelSet("worse_label", 40.208, "worse_label"),
    },
)

CIFAR100N = PublishedLabels(
    name="CIFAR-100N",
    num_classes=100,
    npz_name="cifar100n.npz",
    pt_name="CIFAR-100_human.pt",
    tfds_name="cifar100_n",
    label_sets={"noisy": LabelSet("noisy_label", 40.200, "noise_label")},
)


def load_human_labels(
    published: PublishedLabels,
    data_dir: str | os.PathLike[str] | None = None,
    human_labels: str | os.PathLike[str] | None = None,
) -> dict[str, np.ndarray]:
    """All sets of labels of a data set, checked to be the published ones.

    Without `human_labels`, `data_dir` and then its parent are looked in for the `.npz`
    and the `.pt`, each in the folder itself, in `cifar_n/` and in `data/`; then
    `data_dir` for TFDS' prepared data set. The first that is there is read.

    Args:
        published: `CIFAR10N` or `CIFAR100N`.
        data_dir: the folder of prepared TFDS data sets. Defaults to TFDS' own.
        human_labels: the `.npz` or `.pt` file, or a folder to look for them in, in the
            same way. Defaults to `None`: the search above.

    Returns:
        The sets under their names (the keys of `published.label_sets`), and the clean
        labels under `"clean"`: int64 arrays of shape `(50000,)`, values in
        `[0, num_classes)`. Place i belongs to the image with id i.

    Raises:
        ImportError: without `human_labels`, if tensorflow-datasets is not installed.
        FileNotFoundError: if there are no labels; the text has all that was looked
            for, and where the published file is.
        ValueError: if a file cannot be read or does not hold the published labels.
    """
    if human_labels is not None:
        path = _given_file(published, Path(human_labels))
        return _from_file(published, path)
    import tensorflow_datasets as tfds

    folder = None if data_dir is None else os.fspath(data_dir)
    builder = tfds.builder(published.tfds_name, data_dir=folder)
    # What it is prepared in is data_dir/NAME/VERSION; an absolute path has a parent.
    root = Path(os.path.abspath(builder.data_dir)).parents[1]
    candidates = _candidates(published, root) + _candidates(published, root.parent)
    for path in candidates:
        if path.is_file():
            return _from_file(published, path)
    if builder.is_prepared():
        return _from_tfds(published, builder)
    prepared = f"{builder.data_dir} (prepared by TFDS)"
    raise _not_found(published, [*map(str, candidates), prepared])


def _candidates(published: PublishedLabels, folder: Path) -> list[Path]:
    names = (published.npz_name, published.pt_name)
    return [folder / subfolder / name for subfolder in SUBFOLDERS for name in names]


def _given_file(published: PublishedLabels, path: Path) -> Path:
    if not path.is_dir():
        if not path.exists():
            raise _not_found(published, [str(path)])
        return path
    candidates = _candidates(published, path)
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise _not_found(published, [str(candidate) for candidate in candidates])


def _not_found(published: PublishedLabels, looked_for: list[str]) -> FileNotFoundError:
    return FileNotFoundError(
        f"There are no human labels of {published.name}. Looked for:\n  "
        + "\n  ".join(looked_for)
        + f"\n{published.where_to_get} Put it into one of these places, or give its "
        "path as `human_labels`."
    )


def _from_file(published: PublishedLabels, path: Path) -> dict[str, np.ndarray]:
    with _clear_file_errors(published, path), _opened(path) as entries:
        names = {"clean": "clean_label"}
        names |= {name: each.entry for name, each in published.label_sets.items()}
        missing = [entry for entry in names.values() if entry not in entries]
        if missing:
            raise ValueError(
                f"It must have the entries {', '.join(names.values())}. Received: "
                f"{', '.join(entries)}."
            )
        # An npz gives bytes for a member that is no array.
        labels = {name: np.asarray(entries[entry]) for name, entry in names.items()}
    return _checked(published, labels, str(path))


@contextlib.contextmanager
def _clear_file_errors(published: PublishedLabels, path: Path) -> Iterator[None]:
    """Say of everything that is wrong with the file's format which file it is."""
    try:
        yield
    # A RuntimeError is an archive under a password or in a rare compression.
    except (ValueError, EOFError, MemoryError, RuntimeError, zlib.error) as error:
        raise ValueError(
            f"{path} cannot be read as human labels of {published.name}. {error} "
            f"{published.where_to_get}"
        ) from error


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Mapping[str, np.ndarray]]:
    """The entries of a `.npz` or `.pt` file, each unpacked when it is asked for."""
    suffix = path.suffix.lower()
    if suffix not in (".npz", ".pt"):
        raise ValueError(f"It must be a .npz or a .pt file. Received: {path.name}.")
    # What a zip archive adds to its members is far less than they have themselves.
    with open_untrusted(path, 2 * MAX_UNPACKED_BYTES) as file:
        yield from _entries(file, suffix)


def _entries(file: BinaryIO, suffix: str) -> Iterator[Mapping[str, np.ndarray]]:
    try:
        with zipfile.ZipFile(file) as archive:
            _check_unpacked_size(archive)
            if suffix == ".pt":
                yield PickledArrays(_pickle_of(archive))
                return
        file.seek(0)
        with np.load(file, allow_pickle=False) as arrays:
            yield arrays
    except zipfile.BadZipFile as error:
        file.seek(0)
        start = file.read(16)
        raise ValueError(
            "It must be a whole zip archive: download it again if it is cut short or a "
            "web page. What torch.save wrote before torch 1.6 is none; save it again "
            f"with a later torch. Received: {error}; the file begins with {start!r}."
        ) from error


def _check_unpacked_size(archive: zipfile.ZipFile) -> None:
    # zipfile unpacks no more of a member than its entry says.
    size = sum(member.file_size for member in archive.infolist())
    if size > MAX_UNPACKED_BYTES:
        raise ValueError(
            f"It must unpack to at most {MAX_UNPACKED_BYTES} bytes; the published "
            f"labels are far smaller. Received: {size} bytes."
        )


def _pickle_of(archive: zipfile.ZipFile) -> bytes:
    members = archive.namelist()
    pickles = [name for name in members if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError(
            "It must have one member */data.pkl, as the files of torch.save do. "
            f"Received: {', '.join(members[:10])}."
        )
    return archive.read(pickles[0])


def _from_tfds(published: PublishedLabels, builder: Any) -> dict[str, np.ndarray]:
    """The labels of TFDS' prepared data set, in the order of its ids."""
    import tensorflow_datasets as tfds

    features = {"clean": "label"}
    features |= {name: each.tfds_feature for name, each in published.label_sets.items()}
    # Only these are parsed: the images stay encoded and unread.
    decoders = tfds.decode.PartialDecoding(
        dict.fromkeys(["id", *features.values()], True)
    )
    whole = builder.as_dataset(split="train", batch_size=-1, decoders=decoders)
    ids = np.array(list(whole["id"].numpy()), dtype=np.bytes_)
    # Five digits each: the order of the texts is the order of the numbers.
    order = np.argsort(ids, kind="stable")
    expected = np.array([f"train_{i:05d}" for i in range(NUM_LABELS)], np.bytes_)
    if not np.array_equal(ids[order], expected):
        raise ValueError(
            f"{builder.data_dir} must have every id from train_00000 to "
            f"train_{NUM_LABELS - 1:05d} once. Received: {len(ids)} ids, "
            f"{len(np.intersect1d(ids, expected))} of these {NUM_LABELS} among them. "
            "Delete the prepared data set and prepare it again."
        )
    labels = {name: whole[key].numpy()[order] for name, key in features.items()}
    return _checked(published, labels, str(builder.data_dir))


def _checked(
    published: PublishedLabels, labels: dict[str, np.ndarray], origin: str
) -> dict[str, np.ndarray]:
    """The labels as int64, after checking that they are the published ones.

    Raises:
        ValueError: if a set has another shape or type, a label is out of range or a
            rate of wrong labels is not the published one.
    """

    def not_published(name: str, expected: str, received: str) -> ValueError:
        return ValueError(
            f"{origin} is not the published {published.name}: its labels `{name}` must "
            f"be {expected}. Received: {received}. {published.where_to_get}"
        )

    for name, array in labels.items():
        if array.dtype.kind not in "iu" or array.shape != (NUM_LABELS,):
            raise not_published(
                name,
                f"integers of shape ({NUM_LABELS},)",
                f"{array.dtype} of shape {array.shape}",
            )
        if array.min() < 0 or array.max() >= published.num_classes:
            raise not_published(
                name,
                f"from 0 to {published.num_classes - 1}",
                f"{array.min()} to {array.max()}",
            )
    for name, label_set in published.label_sets.items():
        measured = 100 * np.count_nonzero(labels[name] != labels["clean"]) / NUM_LABELS
        if abs(measured - label_set.noise_percent) > RATE_TOLERANCE:
            raise not_published(
                name, f"wrong in {label_set.noise_percent:.3f}%", f"{measured:.3f}%"
            )
    return {name: array.astype(np.int64) for name, array in labels.items()}
