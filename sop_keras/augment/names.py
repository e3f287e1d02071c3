"""The names of the augmentations, which can be checked before Keras is imported."""

from __future__ import annotations

# Where each is made: a function of the colour that Cutout paints with.
AUGMENTATIONS = {
    "weak": "sop_keras.augment.named:cropped_and_flipped",
    "shift_flip": "sop_keras.augment.named:shifted_and_flipped",
    "flip": "sop_keras.augment.named:flipped",
    "resized_crop": "sop_keras.augment.named:flipped",
    "none": "sop_keras.augment.named:left_alone",
    "uda": "sop_keras.augment.named:by_uda",
    "autoaugment": "sop_keras.augment.named:by_autoaugment",
    "keras_randaugment": "sop_keras.augment.named:by_keras",
    "keras_cv_randaugment": "sop_keras.augment.named:by_keras_cv",
}
"""What there is, by name."""

RESIZED_CROP = "resized_crop"
"""The one whose crops are drawn in size and shape where images are decoded."""


ALTERNATING = "shift_flip"
"""The one whose views hang on whether the epoch is even."""


def check_augmentation_name(name: str) -> None:
    """Check that there is an augmentation of this name.

    Raises:
        ValueError: if there is none; the text has the names.
    """
    if name not in AUGMENTATIONS:
        raise ValueError(
            f"There is no augmentation {name!r}. There are: {', '.join(AUGMENTATIONS)}."
        )
