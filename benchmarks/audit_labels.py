"""The labels that audits are measured on: CIFAR-10's, people's and drawn ones."""

from __future__ import annotations

import numpy as np

RATE = 0.4
SETTINGS = ("worst", "random1", "aggregate", "symmetric", "asymmetric")
UNSEEN = ("random2", "random3")
"""Labels of people that no constant of audits was chosen on."""


def labels_of(setting: str, seed: int, data_dir: str) -> tuple[np.ndarray, np.ndarray]:
    """Given and clean labels, in the order of ids."""
    from sop_keras.data.datasets.by_name import load_dataset
    from sop_keras.label_noise.asymmetric import CIFAR10_CLASS_MAP, asymmetric
    from sop_keras.label_noise.symmetric import symmetric

    is_drawn = setting in ("symmetric", "asymmetric")
    label_set = "clean" if is_drawn else setting
    train = load_dataset("cifar10n", data_dir, label_set=label_set).train
    order = np.argsort(train.ids)
    given, clean = train.labels[order], train.clean_labels[order]
    if setting == "symmetric":
        given = symmetric(clean, RATE, 10, seed).labels
    if setting == "asymmetric":
        given = asymmetric(clean, RATE, CIFAR10_CLASS_MAP, seed).labels
    return given, clean
