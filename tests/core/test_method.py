import numpy as np

from sop_keras.core.batch import mean_loss


def test_a_batch_mean_divides_by_the_number_of_examples():
    # (1 * 2 + 4 * 0.5) / 2, not by the weights' sum of 2.5.
    weights = np.float32([[2.0], [0.5]])
    found = mean_loss(np.float32([1.0, 4.0]), weights)
    assert float(found) == 2.0
    assert float(mean_loss(np.float32([1.0, 4.0]))) == 2.5
