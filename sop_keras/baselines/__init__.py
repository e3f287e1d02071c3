"""Methods that SOP is compared with, on the same examples, ids and batches."""

from sop_keras.baselines.cross_entropy import CrossEntropyModel

__all__ = ["CrossEntropyModel"]
