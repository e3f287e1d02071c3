"""Losses of the paper's rivals for any Keras model: `losses.GCE(q=0.7)` and the like.

They are `keras.losses.Loss` classes for `compile`: saved with a model, with reduction
and sample weights as Keras has them. `methods.GCE` and its like train by the same
mathematics.
"""

from sop_keras.losses.forward import Forward
from sop_keras.losses.gce import GCE
from sop_keras.losses.symmetric_cross_entropy import SymmetricCrossEntropy

__all__ = ["GCE", "Forward", "SymmetricCrossEntropy"]
