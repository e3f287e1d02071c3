"""Randomness that can be repeated: keyed by (seed, epoch, id), or saved."""
