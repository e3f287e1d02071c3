"""Operations on whole batches of images, random ones keyed by (seed, epoch, id)."""

from sop_keras.augment.standardize import standardize
from sop_keras.augment.weak import pad_crop_flip

__all__ = ["pad_crop_flip", "standardize"]
