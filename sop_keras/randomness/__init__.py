"""Randomness that can be repeated: keyed by (seed, epoch, id), or saved."""

from sop_keras.randomness.ids import checked_ids
from sop_keras.randomness.keyed import random_bits, random_integers, uniform
from sop_keras.randomness.keyed_tensors import (
    random_bits_tensor,
    random_integers_tensor,
    uniform_tensor,
)

__all__ = [
    "checked_ids",
    "random_bits",
    "random_bits_tensor",
    "random_integers",
    "random_integers_tensor",
    "uniform",
    "uniform_tensor",
]
