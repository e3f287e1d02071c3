"""What the cells of the safety grid train on: digits, CIFAR-10, CIFAR-100.

All real images; nothing in them is simulated but the wrong labels.

- `digits`: 1,437 images of 8x8 pixels, of which 10 classes, or 2: even and odd. Tested
  on the other 360; for 200 examples, on all others.
- `cifar10`: 10,000 training and 4,000 test images, as many of each class, their size
  halved to 16x16 (means of 2x2 pixels), which makes a cnn four times as cheap. Of 10
  classes, or 2: vehicles and animals.
- `cifar100`: the same of 100 classes.

An imbalance 1:r leaves the last class 1/r of the examples of another; test sets stay
whole. Noise comes after that, with the library's own draws.

`linear` is a linear classifier on features that no label has been used for:

- digits: 256 random Fourier features of the pixels, of a Gaussian kernel as wide as the
  median distance of two images (Rahimi and Recht, 2007);
- CIFAR: the 32x32 images through 192 of their own patches of 6x6 pixels, drawn at
  random, both normalised and whitened; rectified at 0.25, both signs, and averaged over
  the four quarters (Coates, Lee and Ng, 2011, with patches in place of K-means); then
  whitened to the first 256 principal components.

Either is scaled to a mean square of 1. They are computed once and kept as a file.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safety_cells import Cell

from sop_keras.data.datasets.cifar import load_cifar10, load_cifar100
from sop_keras.data.datasets.dataset import Dataset
from sop_keras.data.datasets.digits import load_digits
from sop_keras.label_noise.asymmetric import (
    CIFAR10_CLASS_MAP,
    asymmetric,
    cifar100_class_map,
)
from sop_keras.label_noise.symmetric import symmetric

NUM_TRAIN, NUM_TEST = 10_000, 4_000
VEHICLES = (0, 1, 8, 9)
# Digits that are taken for each other: 1 and 7, 3 and 8, 4 and 9, 5 and 6.
DIGITS_CLASS_MAP = (0, 7, 2, 8, 9, 6, 5, 1, 3, 4)

_PATCH, _NUM_PATCHES, _NUM_FEATURES = 6, 192, 256

Pool = dict[str, np.ndarray]


@dataclass(frozen=True)
class CellData:
    """The data of a cell, for one seed.

    Args:
        x_train: float32, images or features of N examples, standardised.
        labels: the given labels, int64, `(N,)`.
        clean_labels: the true ones, likewise.
        x_test: likewise.
        test_labels: true labels, of classes that are not made rare.
    """

    x_train: np.ndarray
    labels: np.ndarray
    clean_labels: np.ndarray
    x_test: np.ndarray
    test_labels: np.ndarray


def load_pool(name: str, cache: Path, data_dirs: dict[str, str]) -> Pool:
    """All that the cells of a data set take theirs from.

    Args:
        name: `"digits"`, `"cifar10"` or `"cifar100"`.
        cache: the folder where what was made is kept, as NAME.npz.
        data_dirs: TFDS' folders of the last two, by name.

    Returns:
        `x_train`, `x_test` (standardised float32 images), `features_train`,
        `features_test` (float32, 256 columns), `y_train`, `y_test` (int64).
    """
    path = cache / f"{name}.npz"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        made = _digits() if name == "digits" else _cifar(name, data_dirs[name])
        # Whole or not there: other processes may be making it, too.
        part = cache / f"{name}.{os.getpid()}.npz"
        np.savez(part, **made)
        part.replace(path)
    with np.load(path) as file:
        return dict(file)


def cell_data(cell: Cell, seed: int, pool: Pool) -> CellData:
    """Draw the examples of a cell and make some of their labels wrong."""
    groups = {name: _classes(cell, pool[f"y_{name}"]) for name in ("train", "test")}
    order = np.random.default_rng(seed).permutation(len(groups["train"]))
    ids = order[: cell.num_examples]
    if cell.imbalance > 1:
        others, last = cell.class_sizes
        sizes = [others] * (cell.num_classes - 1) + [last]
        ordered = groups["train"][order]
        ids = np.concatenate(
            [order[ordered == label][:size] for label, size in enumerate(sizes)]
        )
    clean = groups["train"][ids]
    inputs = "features" if cell.backbone == "linear" else "x"
    x, x_test = pool[f"{inputs}_train"], pool[f"{inputs}_test"]
    test_labels = groups["test"]
    if cell.num_examples == 200:
        rest = np.setdiff1d(np.arange(len(x)), ids)
        x_test = np.concatenate([x_test, x[rest]])
        test_labels = np.concatenate([test_labels, groups["train"][rest]])
    labels = _noisy(cell, clean, ids, seed)
    return CellData(x[ids], labels, clean, x_test, test_labels)


def _noisy(cell: Cell, clean: np.ndarray, ids: np.ndarray, seed: int) -> np.ndarray:
    kind, rate = cell.noise
    if kind == "symmetric":
        return symmetric(clean, rate, cell.num_classes, seed, ids=ids).labels
    if kind == "asymmetric":
        return asymmetric(clean, rate, _class_map(cell), seed, ids=ids).labels
    return clean


def _class_map(cell: Cell) -> tuple[int, ...]:
    if cell.num_classes == 2:
        return (0, 0)
    if cell.dataset == "digits":
        return DIGITS_CLASS_MAP
    return CIFAR10_CLASS_MAP if cell.num_classes == 10 else cifar100_class_map()


def _classes(cell: Cell, labels: np.ndarray) -> np.ndarray:
    if cell.num_classes != 2:
        return labels
    if cell.dataset == "digits":
        return labels % 2
    # The vehicles, which are less, are the class that an imbalance makes rare.
    return np.isin(labels, VEHICLES).astype(np.int64)


def _digits() -> Pool:
    dataset = load_digits()
    made = {"y_train": dataset.train.labels, "y_test": dataset.test.labels}
    train, test = (
        _standardised(images, dataset)
        for images in (dataset.train.images, dataset.test.images)
    )
    flat, flat_test = train.reshape(len(train), -1), test.reshape(len(test), -1)
    rng = np.random.default_rng(0)
    distances = np.linalg.norm(flat[:700] - flat[700:1400], axis=1)
    frequencies = rng.normal(size=(flat.shape[1], _NUM_FEATURES))
    frequencies = (frequencies / np.median(distances)).astype(np.float32)
    phases = rng.uniform(0, 2 * np.pi, _NUM_FEATURES).astype(np.float32)
    features, features_test = (
        np.sqrt(np.float32(2)) * np.cos(x @ frequencies + phases)
        for x in (flat, flat_test)
    )
    return {
        **made,
        "x_train": train,
        "x_test": test,
        "features_train": features,
        "features_test": features_test,
    }


def _cifar(name: str, data_dir: str) -> Pool:
    dataset = {"cifar10": load_cifar10, "cifar100": load_cifar100}[name](data_dir)
    made = {}
    images = []
    for split, number in (("train", NUM_TRAIN), ("test", NUM_TEST)):
        examples = getattr(dataset, split)
        of_a_class = number // len(dataset.class_names)
        order = np.random.default_rng(0).permutation(len(examples))
        ordered = examples.labels[order]
        ids = np.sort(
            np.concatenate(
                [
                    order[ordered == label][:of_a_class]
                    for label in range(len(dataset.class_names))
                ]
            )
        )
        whole = _standardised(examples.images[ids], dataset)
        images.append(whole)
        made[f"y_{split}"] = examples.labels[ids]
        made[f"x_{split}"] = whole.reshape(number, 16, 2, 16, 2, 3).mean((2, 4))
    train, test = _patch_features(*images)
    return {**made, "features_train": train, "features_test": test}


def _standardised(images: np.ndarray, dataset: Dataset) -> np.ndarray:
    mean, std = (np.array(one, np.float32) for one in (dataset.mean, dataset.std))
    return ((images / np.float32(255) - mean) / std).astype(np.float32)


def _patch_features(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, ...]:
    """256 features of images `(n, 32, 32, 3)`, as the module says."""
    rng = np.random.default_rng(0)
    images = rng.integers(len(train), size=50_000)
    rows, columns = rng.integers(32 - _PATCH + 1, size=(2, 50_000))
    sample = np.stack(
        [
            train[i, r : r + _PATCH, c : c + _PATCH].ravel()
            for i, r, c in zip(images, rows, columns, strict=True)
        ]
    )
    sample = _normalised(sample)
    mean = sample.mean(0)
    values, vectors = np.linalg.eigh(np.cov(sample - mean, rowvar=False))
    whiten = ((vectors / np.sqrt(values + 0.1)) @ vectors.T).astype(np.float32)
    patches = (sample[:_NUM_PATCHES] - mean) @ whiten
    patches /= np.linalg.norm(patches, axis=1, keepdims=True)
    filters = whiten @ patches.T
    offset = mean @ filters
    pooled = [
        np.concatenate(
            [_pooled(x[start : start + 50], filters, offset) for start in starts]
        )
        for x, starts in ((x, range(0, len(x), 50)) for x in (train, test))
    ]
    centre = pooled[0].mean(0)
    values, vectors = np.linalg.eigh(np.cov(pooled[0] - centre, rowvar=False))
    first = slice(-_NUM_FEATURES, None)
    project = (vectors[:, first] / np.sqrt(values[first])).astype(np.float32)
    train, test = ((one - centre) @ project for one in pooled)
    return train.astype(np.float32), test.astype(np.float32)


def _normalised(patches: np.ndarray) -> np.ndarray:
    """Each of mean 0 and, where it has any contrast, deviation 1."""
    centred = patches - patches.mean(-1, keepdims=True)
    return centred / np.sqrt(centred.var(-1, keepdims=True) + 0.05)


def _pooled(images: np.ndarray, filters: np.ndarray, offset: np.ndarray) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(images, (_PATCH, _PATCH), (1, 2))
    side = windows.shape[1]
    # Of (n, side, side, 3, 6, 6), pixels before channels, as the patches are.
    windows = windows.transpose(0, 1, 2, 4, 5, 3)
    patches = _normalised(windows.reshape(len(images), side, side, -1))
    said = patches @ filters - offset
    halves = (slice(0, side // 2), slice(side // 2, None))
    return np.concatenate(
        [
            np.maximum(sign * said[:, rows, columns] - 0.25, 0).mean((1, 2))
            for rows in halves
            for columns in halves
            for sign in (1, -1)
        ],
        axis=-1,
    )
