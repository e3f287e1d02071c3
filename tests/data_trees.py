"""Folder trees in the published layouts of the large data sets, of small real images.

Every function is given a folder, real images with their true labels, the sizes of the
data set's parts and a seed; writes JPEG files of mixed sizes and lists as the data
set's authors give them out; and returns, for each part, what it wrote. Options make
the variants that copies in circulation have.
"""

from __future__ import annotations

import codecs
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

TINY_CIFAR10 = Path(__file__).parent / "golden" / "cifar10_tiny.npz"
SIDES = (60, 140)

CLOTHING1M_CLASSES = (
    *("T-Shirt", "Shirt", "Knitwear", "Chiffon", "Sweater", "Hoodie", "Windbreaker"),
    *("Jacket", "Down Coat", "Suit", "Shawl", "Dress", "Vest", "Underwear"),
)


@dataclass(frozen=True)
class Part:
    """What was written of one part of a data set, in the order of its list.

    Args:
        files: the images' files; inside TFDS' records, their names alone.
        labels: the labels in the lists, shape `(n,)`.
        true_labels: those of the real images in the files, shape `(n,)`.
        originals: places of the real images, shape `(n,)`.
    """

    files: tuple[bytes, ...]
    labels: np.ndarray
    true_labels: np.ndarray
    originals: np.ndarray


@dataclass(frozen=True)
class ListStyle:
    """How the lines of a list are written."""

    line_end: bytes = b"\n"
    after_label: bytes = b""
    after_last_line: bytes = b""
    byte_order_mark: bool = False

    def write(self, file: Path, lines: Iterable[bytes]) -> None:
        """Writes the list, in a folder that is made where it lacks."""
        file.parent.mkdir(parents=True, exist_ok=True)
        text = b"".join(line + self.after_label + self.line_end for line in lines)
        mark = codecs.BOM_UTF8 if self.byte_order_mark else b""
        file.write_bytes(mark + text + self.after_last_line)


PLAIN = ListStyle()
# All that editors and other systems do to a list at once.
HANDLED = ListStyle(b"\r\n", b"  ", b" \r\n\r\n", byte_order_mark=True)


def tiny_cifar10() -> tuple[np.ndarray, np.ndarray]:
    """300 real CIFAR-10 images, uint8 (300, 32, 32, 3), and their labels, (300,)."""
    with np.load(TINY_CIFAR10) as file:
        images = np.concatenate([file["x_train"], file["x_test"]])
        return images, np.concatenate([file["y_train"], file["y_test"]])


def wnids(num_classes: int, seed: int | None = None) -> tuple[str, ...]:
    """Wnids in ascending order, as ImageNet has them; shuffled if there is a seed."""
    ascending = [f"n{1_440_764 + 1_237 * i:08d}" for i in range(num_classes)]
    if seed is not None:
        np.random.default_rng(seed).shuffle(ascending)
    return tuple(ascending)


def write_clothing1m(
    folder: Path,
    images: np.ndarray,
    labels: np.ndarray,
    sizes: Mapping[str, int],
    seed: int = 0,
    *,
    noise: float = 0.4,
    annotations: bool = False,
    images_in_tree: bool = True,
    images_in_lists: bool = True,
    names_are_text: bool = True,
    style: ListStyle = PLAIN,
) -> dict[str, Part]:
    """Clothing1M in `folder`.

    Args:
        folder: the data set's folder.
        images: uint8, shape `(n, 32, 32, 3)`.
        labels: true labels from 0 to 13, shape `(n,)`.
        sizes: how many images `noisy_train`, `clean_train`, `clean_val` and
            `clean_test` have.
        seed: of all that is drawn.
        noise: the share of the labels of `noisy_train` that are drawn anew.
        annotations: whether the lists are in a folder of their own.
        images_in_tree: whether the tree has the level `images`.
        images_in_lists: whether the paths in the lists have it.
        names_are_text: whether the files' names are UTF-8.
        style: of the lists.
    """
    rng = np.random.default_rng(seed)
    writer = _Writer(images, labels, rng)
    tree = folder / "images" if images_in_tree else folder
    parts, names = {}, {}
    for part, size in sizes.items():
        picked = writer.pick(size, noise if part == "noisy_train" else 0.0)
        names[part] = _clothing1m_names(size, names_are_text, rng)
        parts[part] = writer.write(tree, names[part], *picked)

    lists = folder / "annotations" if annotations else folder
    prefix = b"images/" if images_in_lists else b""
    for part, keys in names.items():
        style.write(lists / f"{part}_key_list.txt", [prefix + name for name in keys])
    clean = _labelled(
        (names[part], parts[part].labels) for part in parts if part != "noisy_train"
    )
    noisy = _labelled([(names["noisy_train"], parts["noisy_train"].labels)])
    # Some images with a clean label have a noisy one too, here always another.
    noisy += _labelled(
        [(names["clean_test"], (parts["clean_test"].labels + 1) % 14)],
    )
    for name, lines in (("clean_label_kv", clean), ("noisy_label_kv", noisy)):
        # In an order of their own, as published.
        shuffled = [prefix + lines[i] for i in rng.permutation(len(lines))]
        style.write(lists / f"{name}.txt", shuffled)
    english = [name.encode() for name in CLOTHING1M_CLASSES]
    style.write(lists / "category_names_eng.txt", english)
    chinese = [f"类别{i}".encode() for i in range(len(CLOTHING1M_CLASSES))]
    style.write(lists / "category_names_chn.txt", chinese)
    return parts


def write_webvision(
    folder: Path,
    images: np.ndarray,
    labels: np.ndarray,
    sizes: Mapping[str, int],
    seed: int = 0,
    *,
    synsets: Sequence[str] | None = None,
    noise: float = 0.3,
    searches_in_lists: bool = True,
    names_are_text: bool = True,
    style: ListStyle = PLAIN,
) -> dict[str, Part]:
    """WebVision 1.0 in `folder`.

    Args:
        folder: the data set's folder.
        images: uint8, shape `(n, 32, 32, 3)`.
        labels: true labels, shape `(n,)`, each a place in `synsets`.
        sizes: how many images `google`, `flickr` and `val` have.
        seed: of all that is drawn.
        synsets: the wnids in the order of `synsets.txt`. Defaults to 1,000, ascending.
        noise: the share of the labels of `google` and `flickr` that are drawn anew.
        searches_in_lists: whether the training paths have their `google/`, `flickr/`.
        names_are_text: whether the files' names are UTF-8.
        style: of the lists.
    """
    rng = np.random.default_rng(seed)
    writer = _Writer(images, labels, rng)
    info = folder / "info"
    synsets = wnids(1000) if synsets is None else synsets
    parts, all_lines = {}, []
    for search in ("google", "flickr"):
        originals, listed = writer.pick(sizes[search], noise)
        names = [
            b"q%04d/%s.jpg" % (label + 1, _search_name(names_are_text, rng))
            for label in listed
        ]
        parts[search] = writer.write(folder / search, names, originals, listed)
        prefix = f"{search}/".encode() if searches_in_lists else b""
        lines = _labelled([([prefix + name for name in names], listed)])
        style.write(info / f"train_filelist_{search}.txt", lines)
        all_lines += lines
    style.write(info / "train_filelist_all.txt", all_lines)

    names = [b"val%06d.jpg" % (i + 1) for i in range(sizes["val"])]
    originals, listed = writer.pick(sizes["val"], 0.0)
    parts["val"] = writer.write(folder / "val_images_256", names, originals, listed)
    style.write(info / "val_filelist.txt", _labelled([(names, listed)]))
    style.write(info / "test_filelist.txt", [b"test%06d.jpg" % i for i in range(1, 9)])
    style.write(
        info / "synsets.txt",
        [f"{wnid} thing {i}, such thing".encode() for i, wnid in enumerate(synsets)],
    )
    queries = range(1, len(synsets) + 1)
    style.write(info / "queries_google.txt", [b"%d thing" % i for i in queries])
    style.write(info / "queries_synsets_map.txt", [b"%d %d" % (i, i) for i in queries])
    return parts


def write_imagenet_val(
    folder: Path,
    images: np.ndarray,
    labels: np.ndarray,
    size: int,
    seed: int = 0,
    *,
    synsets: Sequence[str],
) -> Part:
    """ILSVRC2012's validation set, in `folder/<wnid>/*.JPEG`.

    Args:
        folder: the folder of the classes' folders, most often `.../val`.
        images: uint8, shape `(n, 32, 32, 3)`.
        labels: true labels, shape `(n,)`.
        size: how many images.
        seed: of all that is drawn.
        synsets: the wnid of each label.
    """
    writer = _Writer(images, labels, np.random.default_rng(seed))
    originals, listed = writer.pick(size, 0.0)
    names = [
        b"%s/ILSVRC2012_val_%08d.JPEG" % (synsets[label].encode(), i + 1)
        for i, label in enumerate(listed)
    ]
    for wnid in synsets:
        (folder / wnid).mkdir(parents=True)
    return writer.write(folder, names, originals, listed)


def write_imagenet_tfds(
    folder: Path,
    images: np.ndarray,
    labels: np.ndarray,
    size: int,
    seed: int = 0,
    *,
    synsets: Sequence[str],
) -> Part:
    """The same as TFDS prepares it, `folder/imagenet2012/5.1.0`, with that split alone.

    Args:
        folder: the folder of prepared data sets.
        images: uint8, shape `(n, 32, 32, 3)`.
        labels: true labels, shape `(n,)`.
        size: how many images.
        seed: of all that is drawn.
        synsets: the wnid of each label. TFDS numbers them in ascending order.
    """
    import tensorflow_datasets as tfds

    writer = _Writer(images, labels, np.random.default_rng(seed))
    originals, listed = writer.pick(size, 0.0)
    names = [f"ILSVRC2012_val_{i + 1:08d}.JPEG" for i in range(size)]
    # TFDS stores the examples in the order of a hash of these keys, as it does there.
    keys_and_examples = [
        (
            name,
            {
                "image": writer.encoded(original),
                "label": synsets[label],
                "file_name": name,
            },
        )
        for name, original, label in zip(names, originals, listed, strict=True)
    ]
    tfds.dataset_builders.store_as_tfds_dataset(
        name="imagenet2012",
        version="5.1.0",
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(encoding_format="jpeg"),
                "label": tfds.features.ClassLabel(names=sorted(synsets)),
                "file_name": tfds.features.Text(),
            }
        ),
        split_datasets={"validation": keys_and_examples},
        data_dir=folder,
    )
    files = tuple(name.encode() for name in names)
    return Part(files, listed, labels[originals], originals)


def content(file: bytes) -> bytes:
    """What is in a file."""
    with open(file, "rb") as stream:
        return stream.read()


def original_of(encoded: bytes, images: np.ndarray) -> int:
    """The place of the real image that an encoded one was made of."""
    with Image.open(io.BytesIO(encoded)) as image:
        small = np.asarray(image.resize((32, 32), Image.Resampling.BOX), np.float32)
    return int(np.abs(images - small).mean(axis=(1, 2, 3)).argmin())


def _clothing1m_names(
    size: int, names_are_text: bool, rng: np.random.Generator
) -> list[bytes]:
    mark = b"" if names_are_text else b"\xe9\xff"
    numbers = rng.choice(10**9, (size, 2), replace=False)
    return [
        b"%d/%02d/%s%d,%d.jpg" % (a % 10, a // 10 % 100, mark, a, b) for a, b in numbers
    ]


def _search_name(names_are_text: bool, rng: np.random.Generator) -> bytes:
    letters = bytes(rng.choice(list(b"ABCDEFGHabcdefgh0123456789-_"), 14).tolist())
    return letters if names_are_text else letters + b"\xe9\xff"


def _labelled(parts: Iterable[tuple[Sequence[bytes], np.ndarray]]) -> list[bytes]:
    return [
        b"%s %d" % (name, label)
        for names, labels in parts
        for name, label in zip(names, labels, strict=True)
    ]


@dataclass(frozen=True)
class _Writer:
    """Draws real images, and writes them as JPEG files of mixed sizes."""

    images: np.ndarray
    labels: np.ndarray
    rng: np.random.Generator

    def pick(self, size: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
        """Places of real images, each as often as any other, and labels to list."""
        rounds = -(-size // len(self.images))
        orders = [self.rng.permutation(len(self.images)) for _ in range(rounds)]
        originals = np.concatenate(orders)[:size]
        redrawn = self.rng.choice(np.unique(self.labels), size)
        is_redrawn = self.rng.random(size) < noise
        return originals, np.where(is_redrawn, redrawn, self.labels[originals])

    def encoded(self, original: int) -> bytes:
        """A real image as a JPEG file of a size that is drawn."""
        width, height = self.rng.integers(*SIDES, 2, endpoint=True).tolist()
        stream = io.BytesIO()
        image = Image.fromarray(self.images[original]).resize((width, height))
        image.save(stream, "JPEG", quality=95)
        return stream.getvalue()

    def write(
        self,
        folder: Path,
        names: Sequence[bytes],
        originals: np.ndarray,
        listed: np.ndarray,
    ) -> Part:
        """Writes a part whose files have these names, from `folder`."""
        files = tuple(os.path.join(os.fsencode(folder), name) for name in names)
        for file, original in zip(files, originals, strict=True):
            os.makedirs(os.path.dirname(file), exist_ok=True)
            with open(file, "wb") as stream:
                stream.write(self.encoded(original))
        return Part(files, listed, self.labels[originals], originals)
