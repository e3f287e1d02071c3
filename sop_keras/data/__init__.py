"""Data sets with stable ids, and the batches made of them."""
