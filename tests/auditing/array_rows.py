"""Features in an array, that say how many rows were taken at a time."""

import numpy as np


class ArrayRows:
    """What `Embedded` offers, of an array.

    Attributes:
        most_taken: rows, in one call.
    """

    def __init__(self, array):
        self.array = np.asarray(array, np.float32)
        self.num_features = self.array.shape[1]
        self.most_taken = 0

    def __len__(self):
        return len(self.array)

    def take(self, positions):
        self.most_taken = max(self.most_taken, len(positions))
        return self.array[positions]
