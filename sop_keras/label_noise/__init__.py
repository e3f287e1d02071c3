"""Synthetic label noise, drawn for each example from a seed and its id alone."""

from sop_keras.label_noise.asymmetric import (
    CIFAR10_CLASS_MAP,
    asymmetric,
    cifar100_class_map,
)
from sop_keras.label_noise.noisy_labels import NoisyLabels
from sop_keras.label_noise.symmetric import symmetric

__all__ = [
    "CIFAR10_CLASS_MAP",
    "NoisyLabels",
    "asymmetric",
    "cifar100_class_map",
    "symmetric",
]
