import numpy as np
import pytest

from sop_keras.augment.keyed_views import keyed_views, view_seeds
from sop_keras.randomness.keyed import random_bits


def recorded(images, ids, epoch, seed):
    return images, ids, epoch, seed


@pytest.mark.parametrize("seed", [0, 7, np.uint64(2**64 - 1)])
def test_the_first_view_is_that_without_a_pair(seed):
    one = keyed_views([recorded], ["a"], [3, 5], 2, seed)
    pair = keyed_views([recorded, recorded], ["a", "b"], [3, 5], 2, seed)
    strong_seed = int(random_bits(seed, "strong_view"))
    assert one == (("a", [3, 5], 2, int(seed)),)
    assert pair == (*one, ("b", [3, 5], 2, strong_seed))
    assert strong_seed != int(seed)
    assert view_seeds(seed, 2) == (int(seed), strong_seed)
