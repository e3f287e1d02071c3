"""CIFAR-10N and CIFAR-100N: CIFAR's images under labels that people gave them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from sop_keras.data.datasets.cifar import load_cifar10, load_cifar100
from sop_keras.data.datasets.dataset import Dataset
from sop_keras.data.datasets.human_labels import (
    CIFAR10N,
    CIFAR100N,
    PublishedLabels,
    load_human_labels,
)
from sop_keras.validation import check_choice_of


def load_cifar10n(
    data_dir: str | os.PathLike[str] | None = None,
    *,
    label_set: str = "worst",
    human_labels: str | os.PathLike[str] | None = None,
) -> Dataset:
    """CIFAR-10N (J. Wei et al., ICLR 2022): CIFAR-10 as crowd workers labelled it.

    Three people labelled each training image. `"random1"` to `"random3"` are one
    person's label each (17.234, 18.122 and 17.640% wrong), `"aggregate"` is what most
    of the three said (9.010%), and `"worst"` a wrong one of the three where there is
    one (40.208%). `"clean"` is CIFAR-10's own label, for which no human labels have to
    be there. The test labels are CIFAR-10's own.

    Args:
        data_dir: the folder that holds `cifar10/3.0.2/`, as `load_cifar10`. Defaults
            to TFDS' own.
        label_set: one of `"aggregate"`, `"random1"`, `"random2"`, `"random3"`,
            `"worst"` and `"clean"`. Defaults to `"worst"`.
        human_labels: a `.npz` or the published `CIFAR-10_human.pt`, or the folder of
            one of them. Defaults to `None`: `data_dir` and its parent are looked in,
            as `load_human_labels` says.

    Returns:
        A data set as `load_cifar10`'s, whose training examples have the human labels as
        `labels` and CIFAR-10's own as `clean_labels`, joined by id.

    Raises:
        ImportError: if tensorflow-datasets is not installed.
        FileNotFoundError: if the images or the labels are missing; the text says what
            to do.
        ValueError: if `label_set` is another one, or the images or labels are not the
            published ones or not in the same order.
    """
    return _load("cifar10n", load_cifar10, CIFAR10N, data_dir, label_set, human_labels)


def load_cifar100n(
    data_dir: str | os.PathLike[str] | None = None,
    *,
    label_set: str = "noisy",
    human_labels: str | os.PathLike[str] | None = None,
) -> Dataset:
    """CIFAR-100N: one crowd worker's fine label each; otherwise as `load_cifar10n`.

    Args:
        data_dir: the folder that holds `cifar100/3.0.2/`. Defaults to TFDS' own.
        label_set: `"noisy"` (40.200% wrong) or `"clean"`. Defaults to `"noisy"`.
        human_labels: as `load_cifar10n`; the published file is `CIFAR-100_human.pt`.

    Returns:
        A data set as `load_cifar100`'s, with labels as `load_cifar10n`'s.

    Raises:
        ImportError: as `load_cifar10n`.
        FileNotFoundError: as `load_cifar10n`.
        ValueError: as `load_cifar10n`.
    """
    return _load(
        "cifar100n", load_cifar100, CIFAR100N, data_dir, label_set, human_labels
    )


def _load(
    name: str,
    load_images: Callable[[str | os.PathLike[str] | None], Dataset],
    published: PublishedLabels,
    data_dir: str | os.PathLike[str] | None,
    label_set: str,
    human_labels: str | os.PathLike[str] | None,
) -> Dataset:
    known = (*published.label_sets, "clean")
    meaning = f"the labels of {published.name}"
    check_choice_of("label_set", label_set, known, meaning=meaning)
    # First the images: their loader says so if tensorflow-datasets is not installed.
    dataset = replace(load_images(data_dir), name=name)
    train = dataset.train
    if label_set == "clean" and human_labels is None:
        return replace(dataset, train=replace(train, clean_labels=train.labels))
    labels = load_human_labels(published, data_dir, human_labels)
    num_other = np.count_nonzero(labels["clean"][train.ids] != train.labels)
    if num_other > 0:
        raise ValueError(
            f"The clean labels beside the human labels of {published.name} must be "
            "those of the images, by id. Received: another class for "
            f"{num_other} of {len(train)} images, so the labels are in another order. "
            f"{published.where_to_get}"
        )
    given_labels = labels[label_set][train.ids]
    return replace(
        dataset, train=replace(train, labels=given_labels, clean_labels=train.labels)
    )
