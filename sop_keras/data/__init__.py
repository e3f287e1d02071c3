"""Data sets with stable ids, and the batches made of them."""

from sop_keras.data.bad_images import BadImages, TooManyBadImagesError
from sop_keras.data.batch_ids import batch_ids
from sop_keras.data.batch_parts import BatchParts
from sop_keras.data.batches import (
    evaluation_batches,
    steps_per_epoch,
    training_batches,
)
from sop_keras.data.cifar import load_cifar10, load_cifar100
from sop_keras.data.cifar_n import load_cifar10n, load_cifar100n
from sop_keras.data.clothing1m import load_clothing1m
from sop_keras.data.digits import load_digits
from sop_keras.data.encoded_images import EncodedImages, ImageFiles
from sop_keras.data.epoch_order import num_in_epoch
from sop_keras.data.image_folder import load_image_folder
from sop_keras.data.manifest import load_manifest
from sop_keras.data.source import Examples, Source
from sop_keras.data.sources import DataFiles, load_source
from sop_keras.data.split import keyed_subset, validation_ids
from sop_keras.data.tfds_source import load_tfds
from sop_keras.data.webvision import load_webvision

__all__ = [
    "BadImages",
    "BatchParts",
    "DataFiles",
    "EncodedImages",
    "Examples",
    "ImageFiles",
    "Source",
    "TooManyBadImagesError",
    "batch_ids",
    "evaluation_batches",
    "keyed_subset",
    "load_cifar10",
    "load_cifar10n",
    "load_cifar100",
    "load_cifar100n",
    "load_clothing1m",
    "load_digits",
    "load_image_folder",
    "load_manifest",
    "load_source",
    "load_tfds",
    "load_webvision",
    "num_in_epoch",
    "steps_per_epoch",
    "training_batches",
    "validation_ids",
]
