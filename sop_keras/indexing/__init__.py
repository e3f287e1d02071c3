"""Every training example's id: given once, checked before it is used."""

from sop_keras.indexing.with_index import with_index

__all__ = ["with_index"]
