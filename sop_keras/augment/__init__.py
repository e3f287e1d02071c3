"""Operations on whole batches of images, random ones keyed by (seed, epoch, id)."""

from sop_keras.augment.keras_layer import (
    KerasAugmentation,
    keras_cv_randaugment,
    keras_randaugment,
)
from sop_keras.augment.layers import UDA, AutoAugment, Weak
from sop_keras.augment.standardize import standardize
from sop_keras.augment.two_views import TwoViews
from sop_keras.augment.weak import pad_crop_flip

__all__ = [
    "UDA",
    "AutoAugment",
    "KerasAugmentation",
    "TwoViews",
    "Weak",
    "keras_cv_randaugment",
    "keras_randaugment",
    "pad_crop_flip",
    "standardize",
]
