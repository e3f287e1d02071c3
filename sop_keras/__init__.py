"""Robust training under label noise by over-parameterisation (SOP), for Keras 3."""

from sop_keras.indexing import with_index
from sop_keras.sop import SOPModel

__version__ = "0.1.0"

__all__ = ["SOPModel", "with_index"]
