"""Data sets with stable ids, and the batches made of them."""

from sop_keras.data.batches import (
    evaluation_batches,
    steps_per_epoch,
    training_batches,
)
from sop_keras.data.cifar import load_cifar10, load_cifar100
from sop_keras.data.digits import load_digits
from sop_keras.data.source import Examples, Source
from sop_keras.data.sources import load_source
from sop_keras.data.split import keyed_subset, validation_ids

__all__ = [
    "Examples",
    "Source",
    "evaluation_batches",
    "keyed_subset",
    "load_cifar10",
    "load_cifar100",
    "load_digits",
    "load_source",
    "steps_per_epoch",
    "training_batches",
    "validation_ids",
]
